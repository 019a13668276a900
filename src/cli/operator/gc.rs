//! `cnm-cni gc`: what crashes left on the host.

use std::process::ExitCode;
use std::time::Duration;

use super::lost_networks;
use super::short::short;
use crate::cli::client::{DockerArgs, Socket};
use crate::cli::output::{Listing, line};
use crate::cli::progress::Progress;
use crate::cli::seconds::{ANY, seconds};
use crate::cli::table::{Cell, Table};
use crate::docker::Wanted;
use crate::lifecycle::{Collection, Finding, Outcome};
use crate::server::control::COLLECT;

const HELP: &str = "\
Examples:
  cnm-cni gc                          # what is garbage, and why; all is kept
  cnm-cni gc --apply                  # remove it
  cnm-cni gc --grace 0                # also what is younger than ten minutes
  cnm-cni gc --format json | jq '.[] | select(.outcome.is == \"garbage\")'

Exit status: 0; 1 if something cannot be removed.

See also: 'cnm-cni orphans', 'cnm-cni pools'.";

/// Show what crashes left on the host, and remove it with --apply
///
/// Looks for attachments whose container is gone without a call from Docker, and for leases,
/// rules, interfaces and namespaces of attachments that are not on record. They are removed by
/// the chain's own DEL. A lease that names no owner, because host-local was killed as it wrote it, is
/// removed too. What is not proven to be this driver's, and what some namespace of the
/// host still uses, is left alone. The running driver does the same by itself every five minutes.
/// Also looks for networks that Docker removed while the driver was away: only this command asks Docker.
/// Exit status 1 if something cannot be removed.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// Remove what was found; without it, it is only shown
    #[arg(long)]
    apply: bool,

    /// Seconds that something must be old to count as garbage
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    #[arg(value_parser = seconds(ANY))]
    grace: Duration,

    /// Also run CNI's GC on the conflist of every Docker network: whatever is neither this driver's
    /// nor in libcni's cache is removed. Do this only if every other runtime that uses these
    /// conflists (containerd, CRI-O, podman) writes that cache, and attaches nothing meanwhile:
    /// the cache is written after ADD
    #[arg(long)]
    exclusive: bool,

    #[command(flatten)]
    listing: Listing,

    #[command(flatten)]
    socket: Socket,

    #[command(flatten)]
    docker: DockerArgs,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<ExitCode> {
    let wanted =
        Collection { apply: args.apply, grace: args.grace.as_secs(), exclusive: args.exclusive };
    let progress = Progress::of("collecting");
    let mut findings: Vec<Finding> = args.socket.ask(COLLECT, &wanted)?;
    findings.extend(lost_networks::found(&args.socket, &args.docker, outer, args.apply)?);
    drop(progress);
    let names = findings.iter().map(|finding| finding.what.clone());
    args.listing.print(&findings, names, || table(&findings), &below(&findings))?;
    let failed = findings.iter().any(|finding| matches!(finding.outcome, Outcome::Failed(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(["WHAT", "OUTCOME", "WHY"]);
    for finding in findings {
        let outcome = match &finding.outcome {
            Outcome::Removed => Cell::from("removed"),
            Outcome::Garbage => Cell::from("would be removed"),
            Outcome::Kept(why) => Cell::from(format!("kept: {}", short(why))),
            Outcome::Failed(why) => Cell::from(format!("cannot be removed: {}", short(why))).bad(),
        };
        table.row([finding.what.as_str().into(), outcome, finding.reason.as_str().into()]);
    }
    table
}

/// The traces of each finding, and what to do.
fn below(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "No garbage.\n".to_owned();
    }
    let mut text = String::new();
    for finding in findings.iter().filter(|finding| !finding.found.is_empty()) {
        text += &format!("\n{}", line(&format!("{}:", finding.what)));
        finding.found.iter().for_each(|found| text += &line(&format!("  {found}")));
    }
    if findings.iter().any(|finding| finding.outcome == Outcome::Garbage) {
        text += "\nNothing was touched; 'cnm-cni gc --apply' removes what would be removed.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Style;

    #[test]
    fn the_table_shows_what_was_done_and_to_what() {
        let finding = |outcome| Finding {
            what: "attachment a1".into(),
            reason: "it is not on record".into(),
            found: vec!["lease 10.22.0.5".into()],
            outcome,
        };
        let all = |outcomes: [Outcome; 2]| {
            let findings = outcomes.map(finding);
            let style = Style { width: Some(80), header: true, colour: false };
            table(&findings).text(style) + &below(&findings)
        };
        let text = all([Outcome::Garbage, Outcome::Kept("in use".into())]);
        assert!(text.contains("would be removed  it is not on record"), "{text}");
        assert!(text.contains("kept: in use"), "{text}");
        assert!(text.contains("attachment a1:\n  lease 10.22.0.5\n"), "{text}");
        assert!(text.ends_with("'cnm-cni gc --apply' removes what would be removed.\n"), "{text}");
        assert!(!below(&[finding(Outcome::Removed)]).contains("--apply"));
    }
}
