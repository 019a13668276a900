//! What two endpoints of one sandbox must not both tell Docker.
//!
//! A gateway outside of every subnet needs a route on the link. All pod networks have the same gateway,
//! 169.254.1.1. Docker adds this route exclusively, so the second network of a container would fail with
//! "file exists". So the second endpoint gets a wider route, 169.254.1.0/31, the third a /30. Each route
//! leads over its own link. So every link reaches the gateway, in whatever order Docker sets up the
//! endpoints, and when other endpoints leave.
//!
//! Docker looks up the link to a gateway to set its default route and to remove it again, and finds the
//! most specific route. [`super::Interfaces::align_default_route`] makes this the route of the endpoint
//! that has the default route.
//!
//! A plugin for source routing, such as `sbr`, takes the first free routing table from 100 on. In a staging
//! namespace this is always 100. So the table of the second endpoint gets another number in the container,
//! as in a pod.
//!
//! Docker refuses overlapping subnets with an error about routes and sandboxes. So they are refused here
//! first, with a clear error.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use crate::cnm::{EndpointId, JoinResponse, NetworkId};
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host::kernel_routes::own_rules;
use crate::lifecycle::record::{Attachment, Joined, Made, Netfilter, Settings};
use crate::netlink::{MAIN_TABLE, Route, Snapshot};
use crate::translate::{self, PORT_MAPPINGS};

/// What each endpoint that has joined a sandbox uses there.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    entries: Mutex<HashMap<EndpointId, Entry>>,
}

/// What one endpoint uses in its sandbox.
#[derive(Debug)]
struct Entry {
    sandbox: PathBuf,
    network: NetworkId,
    /// The destinations of its routes without a gateway.
    on_link: Vec<IpNet>,
    /// With prefix lengths.
    addresses: Vec<IpNet>,
    /// Routing tables that only this endpoint uses.
    tables: Vec<u32>,
    /// The settings that its chain has made.
    settings: Arc<Settings>,
    /// The rules that its chain has left.
    netfilter: Netfilter,
    /// Whether it can publish ports after ADD.
    adds_ports: bool,
}

impl<'a> Joined<'a> {
    /// What ADD left, as it can be in the container: with the routing tables' numbers there, and without IPv6
    /// if the user's settings turn it off.
    pub(crate) fn snapshot(self, users: &Settings) -> Cow<'a, Snapshot> {
        let snapshot = &self.made.snapshot;
        let ipv6_is_off = users.turn_ipv6_off();
        if self.joining.tables.is_empty() && !ipv6_is_off {
            return Cow::Borrowed(snapshot);
        }
        let mut there = snapshot.clone();
        if ipv6_is_off {
            there.addresses.retain(|address| address.net.addr().is_ipv4());
            there.routes.retain(|route| route.destination.addr().is_ipv4());
            there.neighbours.retain(|neighbour| neighbour.ip.is_ipv4());
        }
        let routes = there.routes.iter_mut().map(|route| &mut route.table);
        for table in routes.chain(there.rules.iter_mut().map(|rule| &mut rule.table)) {
            *table = self.in_sandbox(*table);
        }
        Cow::Owned(there)
    }

    /// The number in the container of one of the chain's routing tables.
    fn in_sandbox(self, table: u32) -> u32 {
        self.joining.tables.get(&table).copied().unwrap_or(table)
    }

    /// The answer to Join.
    pub(crate) fn answer(self) -> JoinResponse {
        self.answer_with(&self.made.users)
    }

    /// The answer to Join, as far as it can be in the container with these settings of the user's.
    pub(crate) fn answer_with(self, users: &Settings) -> JoinResponse {
        let Made { result, docker_addresses, .. } = self.made;
        let if_name = &self.parameters.if_name;
        let left = self.made.gateways_left();
        let mut answer =
            translate::join_answer(result, if_name, docker_addresses, &left, self.internal);
        if users.turn_ipv6_off() {
            answer.gateway_ipv6 = None;
            answer.static_routes.retain(|route| route.destination.addr().is_ipv4());
        }
        translate::widened(answer, self.joining.widened)
    }
}

impl Made {
    /// The routing tables that ADD made for this attachment alone: they have its routes, and its rules
    /// point to them.
    fn own_tables(&self) -> Vec<u32> {
        let snapshot = &self.snapshot;
        let mut tables: Vec<u32> = (own_rules(snapshot, &snapshot.link.name))
            .map(|rule| rule.table)
            .filter(|table| !SHARED_TABLES.contains(table))
            .filter(|table| snapshot.routes.iter().any(|route| route.table == *table))
            .collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// The gateways of the default routes that ADD left, in order of precedence.
    fn gateways_left(&self) -> Vec<IpAddr> {
        let routes = self.snapshot.routes.iter();
        let mut defaults: Vec<&Route> =
            routes.filter(|route| route.is_default() && route.table == MAIN_TABLE).collect();
        defaults.sort_by_key(|route| route.metric);
        defaults.into_iter().filter_map(Route::first_gateway).collect()
    }
}

impl Sandboxes {
    /// Restores the table from these attachments, after a start.
    pub(crate) fn of<'a>(attachments: impl Iterator<Item = &'a Attachment>) -> Self {
        let sandboxes = Self::default();
        attachments.filter_map(Attachment::joined).for_each(|joined| sandboxes.enter(joined));
        sandboxes
    }

    /// By how many bits an attachment's routes to its gateways have to be wider than host routes: by more
    /// than all others in the sandbox, so that Docker's route to the gateway does not change meanwhile.
    /// `live` are the sandbox's current routes.
    pub(crate) fn widening(&self, joined: Joined<'_>, live: &[Route]) -> u8 {
        let entries = self.entries();
        let used = others(&entries, joined).flat_map(|(_, other)| &other.on_link);
        let live = live.iter().filter(|route| route.gateway.is_none());
        let present: Vec<IpNet> =
            used.copied().chain(live.map(|route| route.destination)).collect();
        let widths = on_link(joined).into_iter().filter(is_host).flat_map(|ours| {
            let covering = present.iter().filter(move |other| covers(other, ours.addr()));
            covering.map(|other| other.max_prefix_len() - other.prefix_len() + 1)
        });
        widths.max().unwrap_or(0)
    }

    /// The new numbers of an attachment's routing tables in its sandbox, if another endpoint or somebody
    /// else uses their own numbers there. `live` are the sandbox's current routes.
    pub(crate) fn renumbering(&self, joined: Joined<'_>, live: &[Route]) -> BTreeMap<u32, u32> {
        let own = joined.made.own_tables();
        let entries = self.entries();
        let mut taken: HashSet<u32> = others(&entries, joined)
            .flat_map(|(_, other)| other.tables.iter().copied())
            .chain(live.iter().map(|route| route.table))
            .collect();
        let mut renumbered = BTreeMap::new();
        for table in own.iter().copied() {
            if taken.contains(&table) {
                let free = |number: &u32| {
                    !taken.contains(number)
                        && !own.contains(number)
                        && !SHARED_TABLES.contains(number)
                };
                // There are more numbers than routes that fit into memory.
                if let Some(number) = (table..u32::MAX).find(free) {
                    taken.insert(number);
                    renumbered.insert(table, number);
                }
            }
        }
        renumbered
    }

    /// Makes sure that no other endpoint of the sandbox has the attachment's subnets.
    ///
    /// # Errors
    /// Another endpoint has one; the error says which.
    pub(crate) fn check_overlap(&self, joined: Joined<'_>) -> Result<()> {
        let entries = self.entries();
        for ours in &joined.made.docker_addresses {
            for (_, other) in others(&entries, joined) {
                if let Some(theirs) = other.addresses.iter().find(|theirs| overlap(ours, theirs)) {
                    return Err(Error::Overlap {
                        ours: ours.trunc(),
                        network: joined.network.clone(),
                        theirs: theirs.trunc(),
                        other: other.network.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether the chain of another endpoint has set this value in the sandbox.
    pub(crate) fn is_anothers(&self, joined: Joined<'_>, setting: &str, value: &str) -> bool {
        let entries = self.entries();
        others(&entries, joined).any(|(_, other)| {
            other.settings.namespace.get(setting).is_some_and(|theirs| theirs == value)
        })
    }

    /// The rules that the chains of the other endpoints in the sandbox have left. A rule that names an
    /// interface is nobody else's.
    pub(crate) fn netfilter_beside(&self, joined: Joined<'_>) -> Vec<Netfilter> {
        others(&self.entries(), joined).map(|(_, other)| other.netfilter.clone()).collect()
    }

    /// The other endpoints of the attachment's sandbox that can publish ports after ADD.
    pub(crate) fn publishers_beside(&self, joined: Joined<'_>) -> Vec<EndpointId> {
        let entries = self.entries();
        let publishers = others(&entries, joined).filter(|(_, other)| other.adds_ports);
        publishers.map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// The other endpoints of the attachment's sandbox.
    pub(crate) fn beside(&self, joined: Joined<'_>) -> Vec<EndpointId> {
        others(&self.entries(), joined).map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// Whether there is another endpoint in the attachment's sandbox.
    pub(crate) fn is_shared(&self, joined: Joined<'_>) -> bool {
        others(&self.entries(), joined).next().is_some()
    }

    /// Stores what an attachment tells Docker.
    pub(crate) fn enter(&self, joined: Joined<'_>) {
        let tables = joined.made.own_tables().into_iter();
        let entry = Entry {
            sandbox: joined.sandbox().to_owned(),
            network: joined.network.clone(),
            on_link: on_link(joined),
            addresses: joined.made.docker_addresses.clone(),
            tables: tables.map(|table| joined.in_sandbox(table)).collect(),
            settings: Arc::clone(&joined.joining.settings),
            netfilter: joined.joining.netfilter.clone(),
            adds_ports: joined.list.adds(PORT_MAPPINGS) && !joined.internal,
        };
        self.entries().insert(joined.endpoint.clone(), entry);
    }

    /// Removes what an endpoint told Docker.
    pub(crate) fn leave(&self, endpoint: &EndpointId) {
        self.entries().remove(endpoint);
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<EndpointId, Entry>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the other endpoints of the attachment's sandbox told Docker.
fn others<'t>(
    entries: &'t HashMap<EndpointId, Entry>,
    joined: Joined<'t>,
) -> impl Iterator<Item = (&'t EndpointId, &'t Entry)> {
    entries.iter().filter(move |(other, entry)| {
        **other != joined.endpoint && entry.sandbox == joined.sandbox()
    })
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.trunc().addr()) || other.contains(&one.trunc().addr())
}

pub(super) fn on_link(joined: Joined<'_>) -> Vec<IpNet> {
    let routes = joined.answer().static_routes.into_iter();
    let routes = routes.filter(|route| route.next_hop.is_none());
    routes.map(|route| route.destination).collect()
}

/// The routing tables that everybody shares: unspecified, default, main and local.
const SHARED_TABLES: [u32; 4] = [0, 253, MAIN_TABLE, 255];

/// How many networks with the same gateway one container can have: a route is widened by fewer bits.
const MOST: u8 = 16;

fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// Whether a route leads to this gateway alone, or was widened from such a route.
pub(super) fn covers(net: &IpNet, gateway: IpAddr) -> bool {
    net.contains(&gateway) && net.max_prefix_len() - net.prefix_len() < MOST
}

#[cfg(test)]
mod tests;
