//! `cnm-cni net`: Docker's networks on this driver, and what they are made of.

use std::fmt::Write as _;

use serde::Serialize;

use super::candidates;
use super::known::{Known, Sources};
use crate::cli::output::{Format, Listing, line, write};
use crate::cli::table::{Cell, Table, or_none};
use crate::docker::Wanted;
use crate::lifecycle::inventory::{Conflist, Network, Phase};

const HELP: &str = "\
Columns:
  CONFLIST    the CNI configuration that its containers are attached by
  DEVICE      the bridge, or the interface below, that they are put on
  POOLS       the addresses that they are given
  CONTAINERS  how many are on it
  SPARES      with --format wide: how many attachments are ready for the next

Examples:
  cnm-cni net                         # all networks
  cnm-cni net web                     # one: file, plugins, bridge, options …
  cnm-cni net --format json | jq '.[] | {network_name, file}'

Exit status: 0; 1 if there is no such network.

See also: 'cnm-cni ls', 'cnm-cni pools', 'cnm-cni validate'.";

/// List Docker's networks on this driver, or tell what one is made of
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// A network: its name, or the beginning of its id; all without it
    #[arg(value_name = "NETWORK", add = candidates::networks())]
    network: Option<String>,

    #[command(flatten)]
    listing: Listing,

    #[command(flatten)]
    sources: Sources,
}

/// A network, as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct Row<'k> {
    /// Docker's name of it.
    network_name: Option<&'k str>,
    #[serde(flatten)]
    pub(super) network: &'k Network,
    file: Option<String>,
    plugins: &'k [String],
    ipam: Option<&'k str>,
    device: Option<&'k str>,
    /// Subnets, or the ranges in them for containers.
    pools: Vec<String>,
    /// The names of the containers on it; their endpoints' ids if the names are unknown.
    containers: Vec<String>,
    /// How many attachments are ready for the next ones.
    spares: usize,
    /// Whether the conflist still exists.
    pub(super) usable: bool,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<()> {
    let known = args.sources.ask(outer)?;
    let mut rows = rows(&known);
    if let Some(name) = &args.network {
        let wanted = known.wanted_networks(name)?;
        rows.retain(|row| wanted.iter().any(|it| it.network == row.network.network));
        if args.listing.format != Format::Json && !args.listing.is_quiet() {
            return write(&rows.iter().map(Row::details).collect::<Vec<_>>().join("\n"));
        }
    }
    let names = rows.iter().map(|row| row.name().to_owned());
    let below = match rows.is_empty() {
        true => "No network of this driver; 'docker network create -d cni …' makes one.\n",
        false => "",
    };
    args.listing.print(&rows, names, || table(&rows), below)
}

/// All networks, by their names.
pub(super) fn rows(known: &Known) -> Vec<Row<'_>> {
    let rows = known.inventory.networks.iter().map(|network| Row::of(known, network));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|one, other| one.name().cmp(other.name()));
    rows
}

impl<'k> Row<'k> {
    fn of(known: &'k Known, network: &'k Network) -> Self {
        let conflist: Option<&Conflist> = known.conflist(&network.conflist);
        let of_conflist = conflist.into_iter().flat_map(|it| &it.pools).map(|pool| {
            let whole = crate::translate::AddressPool::of_docker(pool.subnet);
            match (pool.first, pool.last) == (whole.first, whole.last) {
                true => pool.subnet.to_string(),
                false => format!("{} to {}", pool.first, pool.last),
            }
        });
        let of_docker = network.docker_pools.iter().map(ToString::to_string);
        let pools = match network.docker_pools.is_empty() {
            true => of_conflist.collect(),
            false => of_docker.collect(),
        };
        let on_it = known.inventory.attachments.iter();
        let on_it = on_it.filter(|it| it.network == network.network && it.removal.is_none());
        Self {
            network_name: known.names.networks.get(&network.network).map(String::as_str),
            network,
            file: conflist.and_then(|it| it.file.as_ref()).map(|file| file.display().to_string()),
            plugins: conflist.map(|it| it.plugins.as_slice()).unwrap_or_default(),
            ipam: conflist.and_then(|it| it.ipam.as_deref()),
            device: conflist.and_then(|it| it.device.as_deref()),
            pools,
            containers: on_it
                .map(|it| match known.names.container_of(&it.endpoint) {
                    Some(container) => container.name.clone(),
                    None => it.endpoint.short().to_owned(),
                })
                .collect(),
            spares: (known.inventory.spares.iter())
                .filter(|it| it.phase == Phase::Spare && it.network == network.network)
                .count(),
            usable: conflist.is_some(),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.network_name.unwrap_or_else(|| self.network.network.short())
    }

    /// All that is known about it.
    pub(super) fn details(&self) -> String {
        let mut text = line(self.name());
        let mut tell = |what: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", line(&format!("  {what:<11}{value}")));
        };
        let of = |file: &Option<String>| match (file, self.usable) {
            (Some(file), _) => file.clone(),
            (None, true) => "built in".to_owned(),
            (None, false) => "it is not there any more: see 'cnm-cni validate'".to_owned(),
        };
        tell("id", self.network.network.as_str());
        tell("conflist", &self.network.conflist);
        tell("file", &of(&self.file));
        tell("plugins", &self.plugins.join(" "));
        tell("IPAM", self.ipam.unwrap_or("-"));
        tell("device", self.device.unwrap_or("-"));
        tell("pools", &or_stroke(&self.pools));
        if self.network.internal {
            tell("internal", "yes");
        }
        if self.network.isolated {
            tell("isolated", "yes");
        }
        let options: Vec<_> =
            self.network.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
        tell("options", &or_stroke(&options));
        tell("containers", &or_stroke(&self.containers));
        tell("spares", &self.spares.to_string());
        text
    }
}

fn or_stroke(all: &[String]) -> String {
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

/// A line for each network.
pub(super) fn table(rows: &[Row<'_>]) -> Table {
    let mut table = Table::new(["NETWORK", "CONFLIST", "DEVICE", "POOLS", "CONTAINERS"])
        .and_wide(["ID", "FILE", "PLUGINS", "IPAM", "OPTIONS", "SPARES"]);
    for row in rows {
        let options = row.network.options.iter().map(|(key, value)| format!("{key}={value}"));
        table.row([
            row.name().into(),
            Cell::from(row.network.conflist.as_str()).bad_if(!row.usable),
            or_none(row.device),
            Cell::lines(row.pools.iter().cloned()),
            row.containers.len().to_string().into(),
            row.network.network.short().into(),
            or_none(row.file.as_ref()),
            or_none(row.usable.then(|| row.plugins.join(" "))),
            or_none(row.ipam),
            Cell::lines(options),
            row.spares.to_string().into(),
        ]);
    }
    table
}
