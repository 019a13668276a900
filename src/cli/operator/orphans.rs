//! `cnm-cni orphans`: attachments whose endpoint Docker has deleted, and that are not removed yet.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use super::candidates;
use super::docker::names_of;
use super::known::Records;
use super::names::Named;
use super::short::short;
use crate::cli::client::Socket;
use crate::cli::folders::UNREADABLE_RECORDS;
use crate::cli::output::{Format, line, print};
use crate::cli::table::{Cell, Table, or_none};
use crate::cli::time::age;
use crate::cnm::{EndpointId, NetworkId};
use crate::docker::Wanted;
use crate::lifecycle::{self, Orphan, Retried};
use crate::server::control::{FORGET_ORPHAN, RETRY_ORPHANS, Subject};

const HELP: &str = "\
Examples:
  cnm-cni orphans                     # what is not removed yet, and why
  cnm-cni orphans retry               # run DEL again, now
  cnm-cni orphans retry 0198c0de      # of one: its id, or its endpoint's
  cnm-cni orphans forget 0198c0de     # drop the record; the rest is yours
  cnm-cni orphans --format json | jq -r '.[] | [.attachment, .error] | @tsv'

Files: the driver's records in /var/lib/cnm-cni; the list does without a running driver.

Exit status: 0; 1 if the records cannot be read, or DEL has failed again.

See also: 'cnm-cni gc', 'cnm-cni show ATTACHMENT', which has the whole error.";

/// Show, retry or forget attachments whose removal has not succeeded yet
///
/// Docker forgets a container's endpoint at once; the plugins' DEL follows in the background.
/// A DEL that fails is tried again, after longer and longer pauses, for about a quarter of an
/// hour. After that, retry or forget it here. Until DEL has succeeded, the addresses and ports
/// stay taken.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = HELP)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: Records,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Show them; the driver need not be running (the same as no verb)
    List(Records),
    /// Run DEL now, for all or for one; exit status 1 if it fails again
    Retry {
        /// The beginning of an attachment's or an endpoint's id; none for all
        #[arg(add = candidates::orphans())]
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
        #[arg(add = candidates::orphans())]
        id: String,

        /// A line for people, or JSON: the orphan, as in the list
        #[arg(long, value_name = "FORMAT", default_value = "table")]
        format: Format,

        #[command(flatten)]
        socket: Socket,
    },
}

/// An orphan with its names, as JSON has it.
#[derive(Debug, Clone, Serialize)]
struct Row {
    #[serde(flatten)]
    names: Named,
    attachment: String,
    endpoint: EndpointId,
    network: NetworkId,
    spare: bool,
    conflist: String,
    addresses: Vec<IpAddr>,
    since: Timestamp,
    attempts: u32,
    given_up: bool,
    error: Option<String>,
}

impl Row {
    fn new(orphan: Orphan, names: Named) -> Self {
        let since = i64::try_from(orphan.since).ok();
        Self {
            names,
            attachment: orphan.attachment,
            endpoint: orphan.endpoint,
            network: orphan.network,
            spare: orphan.spare,
            conflist: orphan.conflist,
            addresses: orphan.addresses,
            // A record may contain any time.
            since: since.and_then(|it| Timestamp::from_second(it).ok()).unwrap_or_default(),
            attempts: orphan.attempts,
            given_up: orphan.given_up,
            error: orphan.error,
        }
    }
}

pub(in crate::cli) fn run(args: Args, outer: &Wanted) -> anyhow::Result<ExitCode> {
    match args.verb.unwrap_or(Verb::List(args.list)) {
        Verb::List(Records { state_dir, listing, docker }) => {
            let orphans = lifecycle::orphans(&state_dir).context(UNREADABLE_RECORDS)?;
            let names = names_of(&orphans, &docker, outer);
            let rows = orphans.into_iter().map(|orphan| {
                let names = names.of(&orphan.endpoint, &orphan.network);
                Row::new(orphan, names)
            });
            let rows: Vec<_> = rows.collect();
            let ids = rows.iter().map(|row| row.attachment.clone());
            let none = "No orphans: all that Docker let go of is removed.\n";
            let below = if rows.is_empty() { none } else { "" };
            listing.print(&rows, ids, || table(&rows, Timestamp::now()), below)?;
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
            print(format, &Row::new(orphan, Named::default()), forgotten)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn table(orphans: &[Row], now: Timestamp) -> Table {
    let head = ["ATTACHMENT", "NETWORK", "CONFLIST", "ADDRESSES", "AGE", "STATE"];
    let mut table = Table::new(head).and_wide(["ENDPOINT", "ERROR"]);
    for orphan in orphans {
        let of_whom = if orphan.spare { "a spare: " } else { "" };
        let state = match (&orphan.error, orphan.given_up) {
            (None, _) => "DEL under way".to_owned(),
            (Some(error), false) => {
                format!("failed {} times, tried again: {}", orphan.attempts, short(error))
            }
            (Some(error), true) => format!("given up: {}", short(error)),
        };
        let state = Cell::from(format!("{of_whom}{state}")).bad_if(orphan.error.is_some());
        table.row([
            // The first digits are enough as a name.
            orphan.attachment.chars().take(12).collect::<String>().into(),
            orphan.names.network(&orphan.network).into(),
            orphan.conflist.as_str().into(),
            Cell::lines(orphan.addresses.iter().map(ToString::to_string)),
            age(orphan.since, now).into(),
            state,
            orphan.endpoint.short().into(),
            or_none(orphan.error.as_ref()),
        ]);
    }
    table
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

fn forgotten(orphan: &Row) -> String {
    format!(
        "{} forgotten. Its plugins were not run: what conflist {:?} keeps on the host for container \
         id {} (leases, rules, interfaces) stays.\n",
        orphan.attachment, orphan.conflist, orphan.attachment
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Style;

    #[test]
    fn the_table_tells_how_the_removal_goes() {
        let going = Orphan {
            attachment: "c0ffee12345647899abcdef0123456ab".into(),
            endpoint: "e1".parse().unwrap(),
            network: "0123456789abcdef".parse().unwrap(),
            spare: false,
            conflist: "k8snet".into(),
            addresses: vec!["10.22.0.5".parse().unwrap()],
            since: 1_000,
            attempts: 0,
            given_up: false,
            error: None,
        };
        let failed = Orphan { attempts: 3, error: Some("no bridge".into()), ..going.clone() };
        let given_up = Orphan { attempts: 11, given_up: true, ..failed.clone() };
        let spare = Orphan { spare: true, ..going.clone() };
        let rows = [going, failed, given_up, spare].map(|it| Row::new(it, Named::default()));
        let now = Timestamp::from_second(8_300).unwrap();
        let style = Style { width: Some(80), header: true, colour: false };
        assert_eq!(
            table(&rows, now).text(style),
            "ATTACHMENT    NETWORK       CONFLIST  ADDRESSES  AGE  STATE\n\
             c0ffee123456  0123456789ab  k8snet    10.22.0.5  2h   DEL under way\n\
             c0ffee123456  0123456789ab  k8snet    10.22.0.5  2h   failed 3 times, tried\n\
             \x20                                                     again: no bridge\n\
             c0ffee123456  0123456789ab  k8snet    10.22.0.5  2h   given up: no bridge\n\
             c0ffee123456  0123456789ab  k8snet    10.22.0.5  2h   a spare: DEL under way\n"
        );
    }
}
