//! What the endpoints of one sandbox must not both tell Docker.
//!
//! A gateway outside of every subnet needs a route on the link, and pod networks all have the
//! same one, 169.254.1.1. Docker adds such a route exclusively: the second network of a container
//! would fail with "file exists". So the second endpoint is given a wider one, 169.254.1.0/31,
//! the third a /30. Each leads over its own link, so the gateway can be reached over that
//! one whichever endpoint Docker sets up first, and when the others go.
//!
//! Docker looks up by which link a gateway is reached, to set its default route and to remove
//! it again, and the narrowest route wins. [`super::Interfaces::align_default_route`] makes that the one of the
//! endpoint that holds the default route.
//!
//! A plugin that routes by source, as `sbr`, takes the first routing table that is free, from
//! 100 on. In its staging namespace that is 100, every time. So the second endpoint's gets another
//! number in the container, as it would have in a pod.
//!
//! Subnets that overlap Docker refuses, in words about routes and sandboxes. So they are
//! refused here, before Docker tries.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use crate::cnm::{EndpointId, JoinResponse, NetworkId};
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host::kernels::own_rules;
use crate::lifecycle::record::{Attachment, Joined, Made};
use crate::netlink::{MAIN_TABLE, Route, Snapshot};
use crate::sysctl::Sysctls;
use crate::translate::{self, PORT_MAPPINGS};

/// Which endpoint told Docker which routes on the link, in which sandbox.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    told: Mutex<HashMap<EndpointId, Told>>,
}

#[derive(Debug)]
struct Told {
    sandbox: PathBuf,
    network: NetworkId,
    on_link: Vec<IpNet>,
    /// With prefix lengths.
    addresses: Vec<IpNet>,
    /// Routing tables that are this endpoint's alone.
    tables: Vec<u32>,
    /// What its chain has set in the namespace.
    settings: Sysctls,
    /// Whether it can publish ports that ADD has not.
    adds_ports: bool,
}

impl<'a> Joined<'a> {
    /// What ADD left, with the numbers that routing tables have in the container.
    pub(crate) fn snapshot(self) -> Cow<'a, Snapshot> {
        let snapshot = &self.made.snapshot;
        if self.joining.tables.is_empty() {
            return Cow::Borrowed(snapshot);
        }
        let mut renumbered = snapshot.clone();
        let routes = renumbered.routes.iter_mut().map(|route| &mut route.table);
        for table in routes.chain(renumbered.rules.iter_mut().map(|rule| &mut rule.table)) {
            *table = self.in_sandbox(*table);
        }
        Cow::Owned(renumbered)
    }

    /// The number that a routing table of the chain's has in the container.
    fn in_sandbox(self, table: u32) -> u32 {
        self.joining.tables.get(&table).copied().unwrap_or(table)
    }

    /// The answer to Join.
    pub(crate) fn answer(self) -> JoinResponse {
        let Made { result, told, .. } = self.made;
        let if_name = &self.parameters.if_name;
        let left = self.made.gateways_left();
        let answer = translate::join_answer(result, if_name, told, &left, self.internal);
        translate::widened(answer, self.joining.widened)
    }
}

impl Made {
    /// The routing tables that ADD made for the attachment alone: it has routes in them, and
    /// rules that lead there.
    fn own_tables(&self) -> Vec<u32> {
        let snapshot = &self.snapshot;
        let mut tables: Vec<u32> = (own_rules(snapshot, &snapshot.link.name))
            .map(|rule| rule.table)
            .filter(|table| !EVERYBODYS.contains(table))
            .filter(|table| snapshot.routes.iter().any(|route| route.table == *table))
            .collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// The gateways of the default routes that ADD left, those that win first.
    fn gateways_left(&self) -> Vec<IpAddr> {
        let routes = self.snapshot.routes.iter();
        let mut defaults: Vec<&Route> =
            routes.filter(|route| route.is_default() && route.table == MAIN_TABLE).collect();
        defaults.sort_by_key(|route| route.metric);
        defaults.into_iter().filter_map(|route| route.gateway).collect()
    }
}

impl Sandboxes {
    /// What these attachments told, after a start.
    pub(crate) fn of<'a>(attachments: impl Iterator<Item = &'a Attachment>) -> Self {
        let sandboxes = Self::default();
        attachments.filter_map(Attachment::joined).for_each(|joined| sandboxes.enter(joined));
        sandboxes
    }

    /// By how many bits an attachment's routes to its gateways have to be wider than host
    /// routes: by more than all others in the sandbox, so that where Docker finds the way to
    /// the gateway does not change under it. `live` are the routes that are there.
    pub(crate) fn widening(&self, joined: Joined<'_>, live: &[Route]) -> u8 {
        let told = self.told();
        let told = others(&told, joined).flat_map(|other| &other.on_link);
        let live = live.iter().filter(|route| route.gateway.is_none());
        let present: Vec<IpNet> =
            told.copied().chain(live.map(|route| route.destination)).collect();
        let widths = on_link(joined).into_iter().filter(is_host).flat_map(|ours| {
            let covering = present.iter().filter(move |other| covers(other, ours.addr()));
            covering.map(|other| other.max_prefix_len() - other.prefix_len() + 1)
        });
        widths.max().unwrap_or(0)
    }

    /// The numbers that an attachment's routing tables have to get in its sandbox, because their
    /// own are another endpoint's there, or somebody's else. `live` are the routes that are there.
    pub(crate) fn renumbering(&self, joined: Joined<'_>, live: &[Route]) -> BTreeMap<u32, u32> {
        let own = joined.made.own_tables();
        let told = self.told();
        let mut taken: HashSet<u32> = others(&told, joined)
            .flat_map(|other| other.tables.iter().copied())
            .chain(live.iter().map(|route| route.table))
            .collect();
        let mut renumbered = BTreeMap::new();
        for table in own.iter().copied() {
            if taken.contains(&table) {
                let free = |number: &u32| {
                    !taken.contains(number) && !own.contains(number) && !EVERYBODYS.contains(number)
                };
                // There are more numbers than routes fit into memory.
                if let Some(number) = (table..u32::MAX).find(free) {
                    taken.insert(number);
                    renumbered.insert(table, number);
                }
            }
        }
        renumbered
    }

    /// Makes sure that an attachment's subnets are not also another endpoint's of its sandbox.
    ///
    /// # Errors
    /// They are; the error tells whose.
    pub(crate) fn check_overlap(&self, joined: Joined<'_>) -> Result<()> {
        let told = self.told();
        for ours in &joined.made.told {
            for other in others(&told, joined) {
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

    /// Whether the chain of another endpoint has given this value to a setting of the sandbox.
    pub(crate) fn is_anothers(&self, joined: Joined<'_>, setting: &str, value: &str) -> bool {
        let told = self.told();
        others(&told, joined)
            .any(|other| other.settings.get(setting).is_some_and(|theirs| theirs == value))
    }

    /// The other endpoints of the attachment's sandbox that can publish ports while they live.
    pub(crate) fn publishers_beside(&self, joined: Joined<'_>) -> Vec<EndpointId> {
        let told = self.told();
        let beside = told.iter().filter(|(endpoint, other)| {
            **endpoint != joined.endpoint && other.sandbox == joined.sandbox() && other.adds_ports
        });
        beside.map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// Whether there is another endpoint in the attachment's sandbox.
    pub(crate) fn is_shared(&self, joined: Joined<'_>) -> bool {
        others(&self.told(), joined).next().is_some()
    }

    /// Remembers what an attachment tells.
    pub(crate) fn enter(&self, joined: Joined<'_>) {
        let tables = joined.made.own_tables().into_iter();
        let told = Told {
            sandbox: joined.sandbox().to_owned(),
            network: joined.network.clone(),
            on_link: on_link(joined),
            addresses: joined.made.told.clone(),
            tables: tables.map(|table| joined.in_sandbox(table)).collect(),
            settings: joined.joining.settings.namespace.clone(),
            adds_ports: joined.list.adds(PORT_MAPPINGS) && !joined.internal,
        };
        self.told().insert(joined.endpoint.clone(), told);
    }

    /// Forgets what an endpoint told.
    pub(crate) fn leave(&self, endpoint: &EndpointId) {
        self.told().remove(endpoint);
    }

    fn told(&self) -> MutexGuard<'_, HashMap<EndpointId, Told>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the other endpoints of the attachment's sandbox told.
fn others<'t>(
    told: &'t HashMap<EndpointId, Told>,
    joined: Joined<'t>,
) -> impl Iterator<Item = &'t Told> {
    told.iter()
        .filter(move |(other, told)| **other != joined.endpoint && told.sandbox == joined.sandbox())
        .map(|(_, told)| told)
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.trunc().addr()) || other.contains(&one.trunc().addr())
}

pub(super) fn on_link(joined: Joined<'_>) -> Vec<IpNet> {
    let routes = joined.answer().static_routes.into_iter();
    let routes = routes.filter(|route| route.next_hop.is_none());
    routes.map(|route| route.destination).collect()
}

/// The routing tables that are nobody's own: unspecified, default, main and local.
const EVERYBODYS: [u32; 4] = [0, 253, MAIN_TABLE, 255];

/// So many networks with the same gateway can one container have; a subnet is no narrower.
const MOST: u8 = 16;

fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// Whether a route is one to this gateway, or was widened from one.
pub(super) fn covers(net: &IpNet, gateway: IpAddr) -> bool {
    net.contains(&gateway) && net.max_prefix_len() - net.prefix_len() < MOST
}

#[cfg(test)]
mod tests;
