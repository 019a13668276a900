//! `cnm-cni pools`: how full the pools of addresses are, and who has which address.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Serialize;

use super::candidates;
use super::known::{Known, Sources};
use super::names::Named;
use crate::cli::output::Listing;
use crate::cli::table::{Cell, Table, or_none};
use crate::cli::watch::Watch;
use crate::docker::Wanted;
use crate::lifecycle::inventory::{self, Attachment, Conflist, Held, Inventory, Owner};
use crate::translate::AddressPool;

const HELP: &str = "\
Columns:
  SIZE    how many addresses containers can be given
  USED    how many are taken, of which
  DOCKER  by Docker's containers on this driver
  OTHER   by other runtimes on the same conflist, as a kubelet's or podman;
          ? where only the IPAM plugin knows
  ORPHAN  by containers that are gone, or by nobody, if a plugin was killed as
          it wrote the lease: 'cnm-cni orphans' and 'cnm-cni gc' give them back
  SPARE   by attachments that are ready for the next containers; they give way
          to whoever needs an address
  FREE    how many are left

Examples:
  cnm-cni pools                       # every conflist that gives addresses
  cnm-cni pools k8s-pod-network       # who has which address of it
  cnm-cni pools k8s --format json | jq '.[] | select(.owner == \"other\")'

Files: /var/lib/cni/networks/CONFLIST, where host-local keeps its leases.

Exit status: 0; 1 if there is no such conflist.

See also: 'cnm-cni show ADDRESS', 'cnm-cni gc', 'cnm-cni orphans'.";

/// Show how full the pools of addresses are, or who has which address
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// A conflist: who has which address of it; how full all are without it
    #[arg(value_name = "CONFLIST", add = candidates::conflists())]
    conflist: Option<String>,

    #[command(flatten)]
    watch: Watch,

    #[command(flatten)]
    listing: Listing,

    #[command(flatten)]
    sources: Sources,
}

/// How full a pool is, as JSON has it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fill {
    pub(super) conflist: String,
    /// Docker's network, where its IPAM has the pool, or no other network is on the conflist.
    network_name: Option<String>,
    #[serde(flatten)]
    pub(super) pool: AddressPool,
    used: u64,
    docker: u64,
    /// None if only the IPAM plugin knows.
    others: Option<u64>,
    orphans: u64,
    spares: u64,
    pub(super) free: u64,
}

/// Who has an address, as JSON has it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Holder {
    pub(super) address: IpAddr,
    pub(super) owner: Owner,
    #[serde(flatten)]
    names: Named,
    /// The `CNI_CONTAINERID` that has it; empty if the lease names no owner.
    pub(super) cni_container_id: String,
    if_name: Option<String>,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<()> {
    args.watch.run(|| {
        let known = args.sources.ask(outer)?;
        let Some(name) = &args.conflist else {
            let fills = fills(&known);
            let names = fills.iter().map(|fill| fill.conflist.clone());
            let below = if fills.is_empty() { "No conflist tells its addresses.\n" } else { "" };
            return args.listing.print(&fills, names, || table(&fills), below);
        };
        let Some(conflist) = known.conflist(name) else {
            let all: Vec<_> = known.inventory.conflists.iter().map(|it| &*it.conflist).collect();
            anyhow::bail!("no conflist is called {name:?}; there are: {}", all.join(", "));
        };
        let holders = holders(&known, conflist);
        let names = holders.iter().map(|holder| holder.address.to_string());
        let below = if holders.is_empty() { "All of its addresses are free.\n" } else { "" };
        args.listing.print(&holders, names, || owners(&holders), below)
    })
}

/// How full each pool is: pools in conflists, and pools of Docker's IPAM.
pub(super) fn fills(known: &Known) -> Vec<Fill> {
    let Inventory { conflists, networks, .. } = &known.inventory;
    let fills = inventory::fills(conflists, networks, &held(known)).into_iter();
    fills
        .map(|fill| {
            let named = networks.iter().find(|it| Some(&it.network) == fill.network.as_ref());
            Fill {
                used: fill.used(),
                free: fill.free(),
                conflist: fill.conflist,
                network_name: named.map(|it| known.network_name(it).to_owned()),
                pool: fill.pool,
                docker: fill.docker,
                others: fill.others,
                orphans: fill.orphans,
                spares: fill.spares,
            }
        })
        .collect()
}

impl Fill {
    /// How many addresses are left for containers: spares give way.
    pub(super) fn left(&self) -> u64 {
        self.free + self.spares
    }

    /// Whether a new container may get no address, soon or already.
    pub(super) fn is_short(&self) -> bool {
        self.left().saturating_mul(10) < self.pool.size
    }
}

/// Who has which address of a conflist, in their order.
pub(super) fn holders(known: &Known, conflist: &Conflist) -> Vec<Holder> {
    let attachments = known.inventory.attachments.iter().chain(&known.inventory.spares);
    let by_id: HashMap<&str, &Attachment> =
        attachments.map(|it| (it.attachment.as_str(), it)).collect();
    let holders = inventory::holders(conflist, &held(known)).into_iter();
    holders
        .map(|holder| {
            let attachment = by_id.get(holder.container_id.as_str());
            Holder {
                address: holder.address,
                owner: holder.owner,
                names: attachment.map(|it| known.row(it).names).unwrap_or_default(),
                cni_container_id: holder.container_id,
                if_name: holder.if_name,
            }
        })
        .collect()
}

fn held(known: &Known) -> Vec<Held<'_>> {
    let Inventory { attachments, spares, .. } = &known.inventory;
    attachments.iter().chain(spares).map(Held::by).collect()
}

/// A line for each pool.
pub(super) fn table(fills: &[Fill]) -> Table {
    let head = ["CONFLIST", "POOL", "SIZE", "USED", "DOCKER", "OTHER", "ORPHAN", "SPARE", "FREE"];
    let mut table = Table::new(head).and_wide(["FIRST", "LAST", "GATEWAY", "NETWORK"]);
    for fill in fills {
        table.row([
            fill.conflist.as_str().into(),
            fill.pool.subnet.to_string().into(),
            count(fill.pool.size).into(),
            fill.used.to_string().into(),
            fill.docker.to_string().into(),
            fill.others.map_or("?".to_owned(), |it| it.to_string()).into(),
            fill.orphans.to_string().into(),
            fill.spares.to_string().into(),
            Cell::from(count(fill.free)).bad_if(fill.is_short()),
            fill.pool.first.to_string().into(),
            fill.pool.last.to_string().into(),
            or_none(fill.pool.gateway),
            or_none(fill.network_name.as_ref()),
        ]);
    }
    table
}

/// A number, in short form if it is as large as for IPv6.
fn count(number: u64) -> String {
    if number < 1 << 40 { number.to_string() } else { format!("2^{}", number.ilog2() + 1) }
}

/// A line for each address that somebody has.
pub(super) fn owners(holders: &[Holder]) -> Table {
    let mut table = Table::new(["ADDRESS", "OWNER", "CONTAINER", "NETWORK", "ID"])
        .and_wide(["CNI_CONTAINERID", "CNI_IFNAME"]);
    for holder in holders {
        let owner = match holder.owner {
            Owner::Docker => "docker",
            Owner::Spare => "spare",
            Owner::Orphan if holder.cni_container_id.is_empty() => "nobody",
            Owner::Orphan => "orphan",
            Owner::Other => "another runtime",
        };
        let id = Some(holder.cni_container_id.as_str()).filter(|id| !id.is_empty());
        table.row([
            holder.address.to_string().into(),
            Cell::from(owner).bad_if(holder.owner == Owner::Orphan),
            holder.names.container().into(),
            or_none(holder.names.network_name.as_ref()),
            or_none(id.map(|id| id.chars().take(12).collect::<String>())),
            or_none(id),
            or_none(holder.if_name.as_ref()),
        ]);
    }
    table
}
