//! What a container costs on a network of the driver, beside Docker's own bridge; and what other
//! runtimes take for the same conflist. See ../README.md.
//!
//! In test hosts, with the plugins, the rules and the addresses of real networks. Needs root.
//!
//! `BENCH=run,burst` runs these parts only, `BENCH_ON=28.5` on this Docker only, and `BENCH_TURNS=3` that often.

#![allow(clippy::print_stdout, reason = "the tables are the output")]

#[expect(dead_code, reason = "the tests need more of it")]
#[expect(clippy::print_stderr, clippy::unwrap_used, clippy::panic, reason = "it is the tests' own")]
#[path = "../../tests/it/e2e/host.rs"]
mod host;

#[path = "../shared/call.rs"]
mod call;
#[path = "../shared/measuring.rs"]
mod measuring;
#[path = "../shared/others.rs"]
mod others_of_host;

mod bursts;
mod growth;
mod many;
mod others;
mod own_part;
mod runs;
mod site;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};

use host::Suite;
use site::{Families, Site};

const PARTS: [&str; 5] = ["run", "burst", "many", "growth", "others"];

const DOCKERS: [(&str, Suite); 3] =
    [("20.10", Suite::Bookworm), ("26.1", Suite::Trixie), ("28.5", Suite::Forky)];

fn main() -> Result<ExitCode> {
    let parts = chosen("BENCH", &PARTS)?;
    let dockers = chosen("BENCH_ON", &DOCKERS.map(|(version, _)| version))?;
    let mut holds = true;
    for (version, suite) in DOCKERS.into_iter().filter(|(version, _)| dockers.contains(version)) {
        for families in Families::ALL {
            let parts: Vec<_> =
                families.parts().iter().filter(|part| parts.contains(part)).collect();
            if parts.is_empty() {
                continue;
            }
            println!("\nDocker {version}, {}", families.name());
            let site = Site::up(suite, &families.conflist()?, families)?;
            for part in parts {
                holds &= measure(part, &site)?;
            }
        }
    }
    if parts.contains(&"others") {
        others::measure()?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures one part, and prints its table. Returns whether its promise holds.
fn measure(part: &str, site: &Site) -> Result<bool> {
    match part {
        "run" => {
            runs::measure(site)?.print();
            return own_part::holds(site);
        }
        "burst" => bursts::measure(site)?.print(),
        "many" => many::measure(site)?.print(),
        "growth" => return growth::holds(site),
        _ => bail!("no part {part}"),
    }
    Ok(true)
}

/// Those of `all` that the variable names, or all of them.
fn chosen(variable: &str, all: &[&'static str]) -> Result<Vec<&'static str>> {
    let Ok(asked) = std::env::var(variable) else { return Ok(all.to_vec()) };
    let asked: Vec<&str> = asked.split([',', ' ']).filter(|it| !it.is_empty()).collect();
    if asked.is_empty() {
        return Ok(all.to_vec());
    }
    if let Some(unknown) = asked.iter().find(|it| !all.contains(it)) {
        bail!("{variable}={unknown}: there is only {}", all.join(", "));
    }
    Ok(all.iter().copied().filter(|it| asked.contains(it)).collect())
}
