//! `cnm-cni gc`: what crashes left on the host.

use std::process::ExitCode;
use std::time::Duration;

use super::client::Socket;
use super::output::{Format, columns, line, print};
use super::seconds::{ANY, seconds};
use crate::lifecycle::{Collection, Finding, Outcome};
use crate::server::control::COLLECT;

/// Show what crashes left on the host, and remove it with --apply
///
/// Looks for attachments whose container is gone without a call from Docker, and for leases,
/// rules, interfaces and namespaces of attachments that are not on record. They are removed by
/// the chain's own DEL. What is not proven to be this driver's, and what some namespace of the
/// host still uses, is left alone. The running driver does the same by itself every five minutes.
/// Exit status 1 if something cannot be removed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Remove what was found; without it, it is only shown
    #[arg(long)]
    apply: bool,

    /// Seconds that something must be old to count as garbage
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    #[arg(value_parser = seconds(ANY))]
    grace: Duration,

    /// Also run CNI's GC on the conflist of every Docker network: whatever is neither this driver's
    /// nor in libcni's cache is removed. Only where no other runtime (containerd, CRI-O, podman)
    /// uses these conflists without that cache, or attaches anything meanwhile: the cache is
    /// written after ADD
    #[arg(long)]
    exclusive: bool,

    /// A table for people, or JSON: an array with an object for each finding
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    #[command(flatten)]
    socket: Socket,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let wanted =
        Collection { apply: args.apply, grace: args.grace.as_secs(), exclusive: args.exclusive };
    let findings: Vec<Finding> = args.socket.ask(COLLECT, &wanted)?;
    print(args.format, &findings, |findings| table(findings))?;
    let failed = findings.iter().any(|finding| matches!(finding.outcome, Outcome::Failed(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "No garbage.\n".to_owned();
    }
    let rows = findings.iter().map(|finding| {
        let outcome = match &finding.outcome {
            Outcome::Removed => "removed".to_owned(),
            Outcome::Garbage => "would be removed".to_owned(),
            Outcome::Kept(why) => format!("kept: {why}"),
            Outcome::Failed(why) => format!("cannot be removed: {why}"),
        };
        [finding.what.clone(), outcome, finding.reason.clone()]
    });
    let mut text = columns(["WHAT", "OUTCOME", "WHY"], rows);
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

    #[test]
    fn the_table_shows_what_was_done_and_to_what() {
        let finding = |outcome| Finding {
            what: "attachment a1".into(),
            reason: "it is not on record".into(),
            found: vec!["lease 10.22.0.5".into()],
            outcome,
        };
        let text = table(&[finding(Outcome::Garbage), finding(Outcome::Kept("in use".into()))]);
        assert!(text.contains("would be removed  it is not on record"), "{text}");
        assert!(text.contains("kept: in use"), "{text}");
        assert!(text.contains("attachment a1:\n  lease 10.22.0.5\n"), "{text}");
        assert!(text.ends_with("'cnm-cni gc --apply' removes what would be removed.\n"), "{text}");
        assert!(!table(&[finding(Outcome::Removed)]).contains("--apply"));
    }
}
