//! How full the pools of addresses are, and who has which address.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Attachment, Conflist, Network, Phase};
use crate::cnm::NetworkId;
use crate::translate::{AddressPool, own_name};

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// A container of Docker's, on this driver.
    Docker,
    /// An attachment whose container is gone, or nobody: the lease names no owner.
    Orphan,
    /// A spare: an attachment that no container has yet.
    Spare,
    /// Another runtime.
    Other,
}

/// The addresses of an attachment.
#[derive(Debug, Clone)]
pub struct Held<'a> {
    /// The attachment: the `CNI_CONTAINERID` of its plugins.
    pub attachment: String,
    /// The `CNI_IFNAME` of its plugins.
    pub if_name: String,
    /// The conflist that attached it.
    pub conflist: &'a str,
    /// Docker's network.
    pub network: &'a NetworkId,
    /// Its addresses.
    pub addresses: &'a [IpNet],
    /// Whose they are.
    pub owner: Owner,
}

impl<'a> Held<'a> {
    /// What this attachment has.
    #[must_use]
    pub fn by(attachment: &'a Attachment) -> Self {
        Self {
            attachment: attachment.attachment.clone(),
            if_name: attachment.if_name.clone(),
            conflist: &attachment.conflist,
            network: &attachment.network,
            addresses: &attachment.addresses,
            owner: match attachment.phase {
                Phase::Deleting => Owner::Orphan,
                _ if attachment.spare => Owner::Spare,
                _ => Owner::Docker,
            },
        }
    }
}

/// An address that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The address.
    pub address: IpAddr,
    /// Who has it.
    pub owner: Owner,
    /// The `CNI_CONTAINERID` that has it; empty if the lease names no owner.
    pub container_id: String,
    /// The `CNI_IFNAME`, if it is known.
    pub if_name: Option<String>,
}

/// How full a pool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The conflist that gives the addresses.
    pub conflist: String,
    /// Docker's network, if its IPAM has the pool, or no other network is on the conflist.
    pub network: Option<NetworkId>,
    /// The pool.
    pub pool: AddressPool,
    /// How many Docker's containers have.
    pub docker: u64,
    /// How many other runtimes have; none if only the IPAM plugin knows.
    pub others: Option<u64>,
    /// How many orphans have, or nobody.
    pub orphans: u64,
    /// How many spares have.
    pub spares: u64,
}

impl Fill {
    /// How many are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.docker + self.others.unwrap_or(0) + self.orphans + self.spares
    }

    /// How many are left.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.pool.size.saturating_sub(self.used())
    }
}

/// How full each pool is: pools in conflists, and pools of Docker's IPAM.
#[must_use]
pub fn fills(conflists: &[Conflist], networks: &[Network], held: &[Held<'_>]) -> Vec<Fill> {
    let mut fills = Vec::new();
    for conflist in conflists {
        let holders = holders(conflist, held);
        // Others may be on the same conflist, if it is not the network's own.
        let mut own = networks.iter().filter(|it| own_name(&it.network) == conflist.conflist);
        let network = own.next().map(|it| it.network.clone());
        for pool in &conflist.pools {
            let of = |owner| {
                let held = |it: &&Holder| it.owner == owner && pool.has(it.address);
                holders.iter().filter(held).count() as u64
            };
            fills.push(Fill {
                conflist: conflist.conflist.clone(),
                network: network.clone(),
                pool: pool.clone(),
                docker: of(Owner::Docker),
                others: conflist.leases.is_some().then(|| of(Owner::Other)),
                orphans: of(Owner::Orphan),
                spares: of(Owner::Spare),
            });
        }
    }
    for network in networks {
        let of_network = conflists.iter().find(|it| it.conflist == network.conflist);
        if of_network.is_some_and(|conflist| !conflist.pools.is_empty()) {
            continue;
        }
        for subnet in &network.docker_pools {
            let pool = AddressPool::of_docker(*subnet);
            let of = |owner| {
                let on_network =
                    held.iter().filter(|it| *it.network == network.network && it.owner == owner);
                let addresses = on_network.flat_map(|it| it.addresses);
                addresses.filter(|it| pool.has(it.addr())).count() as u64
            };
            fills.push(Fill {
                conflist: network.conflist.clone(),
                network: Some(network.network.clone()),
                docker: of(Owner::Docker),
                // Docker gives these addresses, and only to its containers.
                others: Some(0),
                orphans: of(Owner::Orphan),
                spares: of(Owner::Spare),
                pool,
            });
        }
    }
    fills
}

/// Who has which address of a conflist, in the order of the addresses.
#[must_use]
pub fn holders(conflist: &Conflist, held: &[Held<'_>]) -> Vec<Holder> {
    let mut holders: Vec<Holder> = match &conflist.leases {
        Some(leases) => {
            let owners: HashMap<&str, Owner> =
                held.iter().map(|it| (it.attachment.as_str(), it.owner)).collect();
            let holders = leases.iter().map(|lease| Holder {
                address: lease.address,
                owner: match owners.get(lease.container_id.as_str()) {
                    Some(owner) => *owner,
                    // It names nobody, or is this driver's, but has no record: garbage.
                    None if lease.container_id.is_empty() => Owner::Orphan,
                    None if is_ours(&lease.container_id, lease.if_name.as_deref()) => Owner::Orphan,
                    None => Owner::Other,
                },
                container_id: lease.container_id.clone(),
                if_name: lease.if_name.clone(),
            });
            holders.collect()
        }
        None => {
            let of_conflist = held.iter().filter(|it| it.conflist == conflist.conflist);
            let holders = of_conflist.flat_map(|held| {
                held.addresses.iter().map(|address| Holder {
                    address: address.addr(),
                    owner: held.owner,
                    container_id: held.attachment.clone(),
                    if_name: Some(held.if_name.clone()),
                })
            });
            holders.collect()
        }
    };
    holders.sort_by_key(|holder| holder.address);
    holders
}

/// Whether a lease has an attachment's id and the interface's name that follows from it.
fn is_ours(container_id: &str, if_name: Option<&str>) -> bool {
    let end = container_id.get(container_id.len().saturating_sub(12)..).unwrap_or_default();
    if_name.and_then(|name| name.strip_prefix("cni")).is_some_and(|digits| digits == end)
}
