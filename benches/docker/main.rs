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
use site::Site;

const PARTS: [&str; 5] = ["run", "burst", "many", "growth", "others"];

/// With masquerade, addresses of both families, and published ports.
const BRIDGE: &str = include_str!("../../conflists/bridge.conflist");

const DOCKERS: [(&str, Suite); 3] =
    [("20.10", Suite::Bookworm), ("26.1", Suite::Trixie), ("28.5", Suite::Forky)];

fn main() -> Result<ExitCode> {
    let parts = chosen("BENCH", &PARTS)?;
    let dockers = chosen("BENCH_ON", &DOCKERS.map(|(version, _)| version))?;
    let mut holds = true;
    for (version, suite) in DOCKERS.into_iter().filter(|(version, _)| dockers.contains(version)) {
        if parts.iter().any(|part| *part != "others") {
            println!("\nDocker {version}");
            let site = Site::up(suite, BRIDGE)?;
            if parts.contains(&"run") {
                runs::measure(&site)?.print();
                holds &= own_part::holds(&site)?;
            }
            if parts.contains(&"burst") {
                bursts::measure(&site)?.print();
            }
            if parts.contains(&"many") {
                many::measure(&site)?.print();
            }
            if parts.contains(&"growth") {
                holds &= growth::holds(&site)?;
            }
        }
    }
    if parts.contains(&"others") {
        others::measure()?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
