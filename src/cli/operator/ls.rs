//! `cnm-cni ls`: every attachment, with its container.

use jiff::Timestamp;

use super::candidates;
use super::known::{Known, Row, Sources, host_link, ports};
use crate::cli::output::Listing;
use crate::cli::table::{Cell, Table, or_none};
use crate::cli::time::age;
use crate::cli::watch::Watch;
use crate::docker::Wanted;
use crate::lifecycle::inventory::Phase;

const HELP: &str = "\
Columns:
  CONTAINER   '(spare)' where none has it: an attachment made ahead of time
  INTERFACE   the host's end, for 'tcpdump -i'; 'cnm-cni show' has the other
  STATE       up; starting; removing, until the plugins' DEL has run; orphan,
              once DEL has failed
  AGE         since the plugins' ADD

Examples:
  cnm-cni ls                          # who has what
  cnm-cni ls --network web -q         # the containers on a network
  cnm-cni ls --orphans                # what is gone for Docker, and still there
  cnm-cni ls --spares                 # what is ready for the next containers
  cnm-cni ls -w                       # again and again, until Ctrl-C
  cnm-cni ls --format json | jq -r '.[] | [.container, .addresses[0]] | @tsv'

Files: the driver's socket and, where no driver answers, its records in /var/lib/cnm-cni.

Exit status: 0; 1 if neither the driver nor its records can be read.

See also: 'cnm-cni show', 'cnm-cni net', 'cnm-cni pools'.";

/// List what containers have on networks of this driver
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// Only those on this network: its name, or the beginning of its id
    #[arg(long, value_name = "NETWORK", add = candidates::networks())]
    network: Option<String>,

    /// Only those that Docker has let go of, and that are not removed yet
    #[arg(long)]
    orphans: bool,

    /// Only the spares: attachments that were made ahead of time, and that no container has yet
    #[arg(long, conflicts_with = "orphans")]
    spares: bool,

    #[command(flatten)]
    watch: Watch,

    #[command(flatten)]
    listing: Listing,

    #[command(flatten)]
    sources: Sources,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<()> {
    args.watch.run(|| {
        let known = args.sources.ask(outer)?;
        let rows = args.chosen(&known)?;
        let names = rows.iter().map(|row| {
            let name = row.names.container.as_ref();
            name.unwrap_or(&row.attachment.attachment).clone()
        });
        let below = if rows.is_empty() { args.none() } else { "" };
        args.listing.print(&rows, names, || table(&rows, Timestamp::now()), below)
    })
}

impl Args {
    fn chosen<'k>(&self, known: &'k Known) -> anyhow::Result<Vec<Row<'k>>> {
        let wanted = self.network.as_deref().map(|name| known.wanted_networks(name)).transpose()?;
        let all: Vec<Row<'k>> =
            if self.spares { known.spares().collect() } else { known.rows().collect() };
        let rows = all.into_iter().filter(|row| {
            let on_network = wanted.as_ref().is_none_or(|networks| {
                networks.iter().any(|network| network.network == row.attachment.network)
            });
            on_network && (!self.orphans || row.attachment.phase == Phase::Deleting)
        });
        Ok(rows.collect())
    }

    /// What is said if there is nothing to list.
    fn none(&self) -> &'static str {
        match (self.orphans, self.spares, self.network.is_some()) {
            (true, _, false) => "No orphans: all that Docker let go of is removed.\n",
            (true, _, true) => "No orphan is on this network.\n",
            (_, true, false) => "No network of this driver has a spare.\n",
            (_, true, true) => "This network has no spare.\n",
            (_, _, false) => "No container is on a network of this driver.\n",
            (_, _, true) => "No container is on this network.\n",
        }
    }
}

/// A line for each attachment.
pub(super) fn table(rows: &[Row<'_>], now: Timestamp) -> Table {
    let head =
        ["CONTAINER", "NETWORK", "CONFLIST", "INTERFACE", "ADDRESSES", "PORTS", "STATE", "AGE"];
    let mut table = Table::new(head).and_wide([
        "PROJECT",
        "SERVICE",
        "MAC",
        "GATEWAY",
        "ENDPOINT",
        "ATTACHMENT",
    ]);
    for Row { names, state, attachment } in rows {
        table.row([
            if attachment.spare { "(spare)" } else { names.container() }.into(),
            names.network(&attachment.network).into(),
            attachment.conflist.as_str().into(),
            or_none(host_link(attachment)),
            Cell::lines(attachment.addresses.iter().map(|it| it.addr().to_string())),
            Cell::ports(ports(attachment)),
            Cell::from(*state).bad_if(*state == "orphan"),
            or_none(attachment.made.map(|made| age(made, now))),
            or_none(names.project.as_ref()),
            or_none(names.service.as_ref()),
            or_none(attachment.mac.as_ref()),
            Cell::lines(attachment.gateways.iter().map(ToString::to_string)),
            attachment.endpoint.short().into(),
            attachment.attachment.as_str().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::operator::snapshots::sample;
    use crate::cli::table::Style;

    #[test]
    fn a_spare_is_listed_as_one_also_while_it_is_removed() {
        let mut known = sample();
        // The last one is being removed.
        known.inventory.attachments[2].spare = true;
        let rows: Vec<_> = known.rows().collect();
        let style = Style { width: Some(120), header: false, colour: false };
        let text = table(&rows, Timestamp::UNIX_EPOCH).text(style);
        let last = text.lines().find(|line| line.contains("10.22.0.19")).unwrap();
        assert!(last.starts_with("(spare)") && last.contains("orphan"), "{text}");
        assert_eq!(text.matches("(spare)").count(), 1, "{text}");
    }
}
