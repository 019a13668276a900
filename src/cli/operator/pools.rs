//! `cnm-cni pools`: how full the pools of addresses are, and who has which address.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Serialize;

use super::known::{Known, Sources};
use super::names::Named;
use crate::cli::output::Listing;
use crate::cli::table::{Cell, Table, or_none};
use crate::cli::watch::Watch;
use crate::docker::Wanted;
use crate::lifecycle::inventory::{Attachment, Conflist, Phase};
use crate::translate::AddressPool;

const HELP: &str = "\
Columns:
  SIZE     how many addresses containers can be given
  DOCKER   of Docker's containers on this driver
  OTHERS   of other runtimes on the same conflist: kubelet's, podman's; ? where only the IPAM plugin knows
  ORPHANS  of containers that are gone: 'cnm-cni orphans' and 'cnm-cni gc' give them back
  SPARES   of attachments that are ready for the next containers; they give way to whoever needs one
  FREE     what is left

Examples:
  cnm-cni pools                       # every conflist that gives addresses
  cnm-cni pools k8s-pod-network       # who has which address of it
  cnm-cni pools k8s-pod-network --format json | jq -r '.[] | select(.owner == \"other\") | .address'

Files: /var/lib/cni/networks/CONFLIST, where host-local keeps its leases.

Exit status: 0; 1 if there is no such conflist.

See also: 'cnm-cni show ADDRESS', 'cnm-cni gc', 'cnm-cni orphans'.";

/// Tell how full the pools of addresses are, or who has which address
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// A conflist: who has which address of it; how full all are without it
    #[arg(value_name = "CONFLIST")]
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
    /// `docker`, `spare`, `orphan` or `other`.
    pub(super) owner: &'static str,
    #[serde(flatten)]
    names: Named,
    /// The `CNI_CONTAINERID` that has it.
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
    let mut fills = Vec::new();
    for conflist in &known.inventory.conflists {
        let holders = holders(known, conflist);
        let network = known.own_network(&conflist.conflist).map(|it| known.network_name(it));
        for pool in &conflist.pools {
            let of = |owner| {
                let held = |it: &&Holder| it.owner == owner && pool.has(it.address);
                holders.iter().filter(held).count() as u64
            };
            let others = conflist.leases.is_some().then(|| of("other"));
            fills.push(Fill::new(
                &conflist.conflist,
                network.map(str::to_owned),
                pool,
                of("docker"),
                others,
                of("orphan"),
                of("spare"),
            ));
        }
    }
    for network in &known.inventory.networks {
        let tells = known.conflist(&network.conflist).is_some_and(|it| !it.pools.is_empty());
        for subnet in network.docker_pools.iter().filter(|_| !tells) {
            let pool = AddressPool::of_docker(*subnet);
            let of = |deleting: bool| {
                let on_network = known.inventory.attachments.iter().filter(|it| {
                    it.network == network.network && (it.phase == Phase::Deleting) == deleting
                });
                let addresses = on_network.flat_map(|it| &it.addresses);
                addresses.filter(|it| pool.has(it.addr())).count() as u64
            };
            let name = known.network_name(network).to_owned();
            // Docker gives these addresses, and only to its containers.
            let others = Some(0);
            // A spare would have an address that Docker does not know.
            let (docker, orphans, spares) = (of(false), of(true), 0);
            fills.push(Fill::new(
                &network.conflist,
                Some(name),
                &pool,
                docker,
                others,
                orphans,
                spares,
            ));
        }
    }
    fills
}

impl Fill {
    fn new(
        conflist: &str,
        network_name: Option<String>,
        pool: &AddressPool,
        docker: u64,
        others: Option<u64>,
        orphans: u64,
        spares: u64,
    ) -> Self {
        let used = docker + others.unwrap_or(0) + orphans + spares;
        let free = pool.size.saturating_sub(used);
        let (conflist, pool) = (conflist.to_owned(), pool.clone());
        Self { conflist, network_name, pool, used, docker, others, orphans, spares, free }
    }

    /// Whether a new container may get no address, soon or already.
    pub(super) fn is_short(&self) -> bool {
        (self.free + self.spares).saturating_mul(10) < self.pool.size
    }
}

/// Who has which address of a conflist, in their order.
pub(super) fn holders(known: &Known, conflist: &Conflist) -> Vec<Holder> {
    let all = || known.inventory.attachments.iter().chain(&known.inventory.spares);
    let by_id: HashMap<&str, &Attachment> = all().map(|it| (it.attachment.as_str(), it)).collect();
    let mut holders: Vec<Holder> = match &conflist.leases {
        Some(leases) => (leases.iter())
            .map(|lease| {
                let attachment = by_id.get(lease.container_id.as_str());
                let (owner, names) = match attachment {
                    Some(attachment) => (owner(attachment), known.row(attachment).names),
                    // It is this driver's, but has no record: garbage.
                    None if is_ours(&lease.container_id, lease.if_name.as_deref()) => {
                        ("orphan", Named::default())
                    }
                    None => ("other", Named::default()),
                };
                Holder {
                    address: lease.address,
                    owner,
                    names,
                    cni_container_id: lease.container_id.clone(),
                    if_name: lease.if_name.clone(),
                }
            })
            .collect(),
        None => {
            let of_conflist = all().filter(|it| it.conflist == conflist.conflist);
            let held = of_conflist.flat_map(|attachment| {
                attachment.addresses.iter().map(move |address| Holder {
                    address: address.addr(),
                    owner: owner(attachment),
                    names: known.row(attachment).names,
                    cni_container_id: attachment.attachment.clone(),
                    if_name: Some(attachment.if_name.clone()),
                })
            });
            held.collect()
        }
    };
    holders.sort_by_key(|holder| holder.address);
    holders
}

fn owner(attachment: &Attachment) -> &'static str {
    match attachment.phase {
        Phase::Deleting => "orphan",
        Phase::Spare => "spare",
        _ => "docker",
    }
}

/// Whether a lease has an attachment's id and the interface's name that follows from it.
fn is_ours(container_id: &str, if_name: Option<&str>) -> bool {
    let end = container_id.get(container_id.len().saturating_sub(12)..).unwrap_or_default();
    if_name.and_then(|name| name.strip_prefix("cni")).is_some_and(|digits| digits == end)
}

/// A line for each pool.
pub(super) fn table(fills: &[Fill]) -> Table {
    let head = ["CONFLIST", "POOL", "SIZE", "USED", "DOCKER", "OTHERS", "ORPHANS", "FREE"];
    let mut table = Table::new(head).and_wide(["SPARES", "FIRST", "LAST", "GATEWAY", "NETWORK"]);
    for fill in fills {
        table.row([
            fill.conflist.as_str().into(),
            fill.pool.subnet.to_string().into(),
            count(fill.pool.size).into(),
            fill.used.to_string().into(),
            fill.docker.to_string().into(),
            fill.others.map_or("?".to_owned(), |it| it.to_string()).into(),
            Cell::from(fill.orphans.to_string()),
            Cell::from(count(fill.free)).bad_if(fill.is_short()),
            fill.spares.to_string().into(),
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
            "other" => "another runtime",
            owner => owner,
        };
        table.row([
            holder.address.to_string().into(),
            Cell::from(owner).bad_if(owner == "orphan"),
            holder.names.container().into(),
            or_none(holder.names.network_name.as_ref()),
            holder.cni_container_id.chars().take(12).collect::<String>().into(),
            holder.cni_container_id.as_str().into(),
            or_none(holder.if_name.as_ref()),
        ]);
    }
    table
}
