//! How long each verb of the command line takes on a host with 1,000 attachments and as many containers, beside what
//! Docker's own lists take there. See README.md.
//!
//! In a test host, with a real Docker and a real driver. Needs root.

#![allow(clippy::print_stdout, reason = "the table is the output")]

#[path = "shared/call.rs"]
mod call;
#[expect(dead_code, reason = "the tests need more of it")]
#[expect(clippy::print_stderr, clippy::unwrap_used, clippy::panic, reason = "it is the tests' own")]
#[path = "../tests/it/e2e/host.rs"]
mod host;
#[path = "shared/measuring.rs"]
mod measuring;
#[path = "shared/others.rs"]
mod others;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use host::{Host, IMAGE, Suite};
use measuring::number_of_turns;
use others::Others;

/// How many attachments and containers there are.
const NUMBER: usize = 1000;
/// How often each verb is run; those that look at every attachment take longer, and are run less often.
const TURNS: usize = 15;
const TURNS_OF_LOOKS: usize = 3;

/// What has to hold, in ms: for a verb that tells what there is, and for each attachment that one looks at.
const MAX: f64 = 1_000.0;
const MAX_OF_A_LOOK: f64 = 15.0;

/// Docker's own lists.
const DOCKERS: [&str; 3] = ["docker ps -a", "docker network ls", "docker network inspect others"];

/// What tells what there is.
const VERBS: [&str; 22] = [
    "cnm-cni",
    "cnm-cni ls",
    "cnm-cni ls --format wide",
    "cnm-cni ls --format json",
    "cnm-cni net",
    "cnm-cni net others",
    "cnm-cni show 10.77.1.7",
    "cnm-cni show web",
    "cnm-cni pools",
    "cnm-cni pools others",
    "cnm-cni ports",
    "cnm-cni orphans",
    "cnm-cni gc",
    "cnm-cni events",
    "cnm-cni events --kind attach --since 2h",
    "cnm-cni graph",
    "cnm-cni graph --format html",
    "cnm-cni metrics",
    "cnm-cni validate",
    "cnm-cni doctor web",
    "cnm-cni check $(printf %064x 7)",
    "CNM_CNI_COMPLETE=bash _CLAP_COMPLETE_INDEX=2 cnm-cni -- cnm-cni show ''",
];

/// What looks into the namespace of each attachment; all but the first run its plugins' CHECK, too.
const LOOKS: [&str; 3] = ["cnm-cni show nosuch0", "cnm-cni check", "cnm-cni doctor"];

fn main() -> Result<ExitCode> {
    let host = Host::up(Suite::Forky);
    host.write("/etc/cni/net.d/20-others.conflist", others::CONFLIST);
    host.start_driver_without_spares();
    let others = Others::on(&host);
    host.run("web", "others", &[]);
    others.make_in_namespaces(&host, 1..NUMBER)?;
    // The names that Docker has to tell: containers that do not run. Some at a time: a command has a minute.
    let numbers: Vec<_> = (1..NUMBER).collect();
    for some in numbers.chunks(100) {
        let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
        let create = format!(
            "seq {first} {last} | xargs -P 4 -I N docker create --name other-N --network others \
             {IMAGE} >/dev/null"
        );
        host.exec(&["sh", "-ec", &create]);
    }
    let listed = host.exec(&["cnm-cni", "ls", "-q"]).lines().count();
    ensure!(listed == NUMBER, "{listed} attachments");

    println!("{NUMBER} attachments and containers; medians, ms\n");
    let mut holds = true;
    for command in DOCKERS {
        println!("{:>8.0}  {command}", measured(&host, command, TURNS)?);
    }
    for command in VERBS {
        let took = measured(&host, command, TURNS)?;
        holds &= took <= MAX;
        println!("{took:>8.0}  {command}");
    }
    for command in LOOKS {
        let took = measured(&host, command, TURNS_OF_LOOKS)?;
        let each = took / NUMBER as f64;
        holds &= each <= MAX_OF_A_LOOK;
        println!("{took:>8.0}  {command}: {each:.1} each");
    }
    let verdict = if holds { "ok" } else { "FAILED" };
    println!(
        "\n{verdict}: at most {MAX} ms, and {MAX_OF_A_LOOK} ms for each attachment that is looked at"
    );
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How long a command takes in the host, in ms: the median of so many turns, after one that warms up. It may
/// find a problem.
fn measured(host: &Host, command: &str, turns: usize) -> Result<f64> {
    let script = format!(
        "a=$(date +%s%N); {command} >/dev/null 2>/run/said || [ $? = 1 ] || {{ cat /run/said; exit 3; }}; \
         b=$(date +%s%N); echo $((b - a))"
    );
    let mut times = Vec::new();
    for turn in 0..=number_of_turns(turns) {
        let told = host.exec(&["bash", "-c", &script]);
        let ns: f64 = told.trim().parse().with_context(|| format!("{command}: {told}"))?;
        if turn > 0 {
            times.push(ns / 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().context("it was not run")
}
