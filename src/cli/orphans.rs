//! `cnm-cni orphans`: attachments that Docker has let go of and that are not removed yet.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Subcommand;

use super::client::Socket;
use super::folders::UNREADABLE_RECORDS;
use super::output::{Format, columns, line, print};
use crate::lifecycle::{self, Orphan, Retried};
use crate::server::control::{FORGET_ORPHAN, RETRY_ORPHANS, Subject};

/// Show, retry or forget attachments whose removal has not succeeded yet
///
/// Docker forgets a container's endpoint at once; the plugins' DEL follows in the background.
/// What fails is tried again, later and later, for about a quarter of an hour, and then left
/// to you. Until DEL has succeeded, the addresses and ports stay taken.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show them; the driver need not be running (the same as no verb)
    List(List),
    /// Run DEL now, for all or for one; exit status 1 if it fails again
    Retry {
        /// The beginning of an attachment's or an endpoint's id; none for all
        id: Option<String>,

        /// A line for each, or JSON: an array with an object for each orphan
        #[arg(long, value_name = "FORMAT", default_value = "table")]
        format: Format,

        #[command(flatten)]
        socket: Socket,
    },
    /// Drop the record of one, and let go of its ports; what its plugins keep on the host
    /// (leases, rules) stays, and is yours to remove
    Forget {
        /// The beginning of an attachment's or an endpoint's id
        id: String,

        /// A line for people, or JSON: the orphan, as in the list
        #[arg(long, value_name = "FORMAT", default_value = "table")]
        format: Format,

        #[command(flatten)]
        socket: Socket,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Folder of the driver's records, as for 'cnm-cni serve'
    #[arg(long, value_name = "DIR", env = "CNM_CNI_STATE_DIR", default_value = "/var/lib/cnm-cni")]
    state_dir: PathBuf,

    /// A table for people, or JSON: an array with an object for each orphan
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb.unwrap_or(Verb::List(args.list)) {
        Verb::List(List { state_dir, format }) => {
            let orphans = lifecycle::orphans(&state_dir).context(UNREADABLE_RECORDS)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            print(format, &orphans, |orphans| table(orphans, now.as_secs()))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Retry { id, format, socket } => {
            let id = id.unwrap_or_default();
            let retried: Vec<Retried> = socket.ask(RETRY_ORPHANS, &Subject { id })?;
            print(format, &retried, |retried| outcomes(retried))?;
            let failed = retried.iter().any(|retried| retried.error.is_some());
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Verb::Forget { id, format, socket } => {
            let orphan: Orphan = socket.ask(FORGET_ORPHAN, &Subject { id })?;
            print(format, &orphan, forgotten)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `now` is in seconds since 1970.
fn table(orphans: &[Orphan], now: u64) -> String {
    if orphans.is_empty() {
        return "No orphans: all that Docker let go of is removed.\n".to_owned();
    }
    let head = ["ATTACHMENT", "ENDPOINT", "CONFLIST", "ADDRESSES", "SINCE", "STATE"];
    let rows = orphans.iter().map(|orphan| {
        let addresses: Vec<_> = orphan.addresses.iter().map(ToString::to_string).collect();
        let state = match (&orphan.error, orphan.given_up) {
            (None, _) => "DEL under way".to_owned(),
            (Some(error), false) => {
                format!("failed {} times, tried again: {error}", orphan.attempts)
            }
            (Some(error), true) => format!("given up: {error}"),
        };
        [
            orphan.attachment.clone(),
            orphan.endpoint.short().to_owned(),
            orphan.conflist.clone(),
            addresses.join(","),
            // The clock may have been set back since, and a record may have any time.
            ago(now.saturating_sub(orphan.since)),
            state,
        ]
    });
    columns(head, rows)
}

/// A time in the largest unit that fits.
fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86400),
    }
}

fn outcomes(retried: &[Retried]) -> String {
    if retried.is_empty() {
        return "No orphans: nothing to do.\n".to_owned();
    }
    let lines = retried.iter().map(|Retried { attachment, error }| match error {
        None => line(&format!("{attachment} removed")),
        Some(error) => line(&format!("{attachment} still there: {error}")),
    });
    lines.collect()
}

fn forgotten(orphan: &Orphan) -> String {
    format!(
        "{} forgotten. Its plugins were not run: what conflist {:?} keeps on the host for container \
         id {} (leases, rules, interfaces) stays.\n",
        orphan.attachment, orphan.conflist, orphan.attachment
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_how_the_removal_goes() {
        let going = Orphan {
            attachment: "c0ffee12345647899abcdef0123456ab".into(),
            endpoint: "e1".parse().unwrap(),
            network: "0123456789abcdef".parse().unwrap(),
            conflist: "k8snet".into(),
            addresses: vec!["10.22.0.5".parse().unwrap()],
            since: 1_000,
            attempts: 0,
            given_up: false,
            error: None,
        };
        let failed = Orphan { attempts: 3, error: Some("no bridge".into()), ..going.clone() };
        let given_up = Orphan { attempts: 11, given_up: true, ..failed.clone() };
        let ages = [u64::MAX, 1_000].map(|since| Orphan { since, ..going.clone() });
        let text = table(&ages, 8_300);
        assert!(text.contains("0s ago") && text.contains("2h ago"), "{text}");
        assert!(table(&ages, u64::MAX).contains("d ago"));

        let text = table(&[going, failed, given_up], 8_300);
        let states: Vec<_> =
            text.lines().map(|line| line.split("  ").last().unwrap().trim()).collect();
        assert_eq!(
            states,
            [
                "STATE",
                "DEL under way",
                "failed 3 times, tried again: no bridge",
                "given up: no bridge"
            ]
        );
        assert!(text.contains("2h ago"), "{text}");
    }
}
