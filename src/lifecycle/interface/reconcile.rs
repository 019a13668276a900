//! The reconciler: what an interface and its namespace lack of what they should have, and
//! what they have too much of; told in words ([`Desired::changes`]), or put right
//! ([`Desired::reconcile`]).
//!
//! Three things are not its business. Default routes of the main table belong to Docker.
//! Link-local addresses, and the routes that come with an address, are the kernel's. And
//! whatever does not concern this interface is somebody else's.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::cnm::StaticRoute;
use crate::lifecycle::error::Result;
use crate::lifecycle::host::kernels::{
    comes_by_itself, is_kernels_route, is_link_local, own_rules,
};
use crate::lifecycle::record::Settings;
use crate::netlink::sysctl::{Scope, Sysctls};
use crate::netlink::{
    Address, Link, MAIN_TABLE, Mac, Neighbour, Netlink, Route, Rule, Snapshot, sysctl,
};

/// What an interface's namespace shall be like, and whose the default routes there are.
pub(crate) struct Desired<'d> {
    pub(crate) snapshot: &'d Snapshot,
    /// Those of the snapshot that the interface shall have.
    pub(crate) addresses: &'d [Address],
    pub(crate) settings: Option<&'d Settings>,
    /// Routes of Docker's making that may stay although ADD made none like them.
    pub(crate) told: &'d [StaticRoute],
    /// The gateways that Docker was told: it has to find the way to them in the main table.
    pub(crate) gateways: &'d [IpAddr],
    /// Routes that Docker has made, and that are to be there still.
    pub(crate) dockers: &'d [Route],
    /// The host routes on the link are another endpoint's: Docker was told wider ones.
    pub(crate) others_have_host_routes: bool,
    /// Whether the default routes of the main table are to be made too.
    pub(crate) default_routes: bool,
}

/// An interface where it stands.
pub(crate) struct Live<'l> {
    /// Path of its namespace.
    pub(crate) path: &'l Path,
    /// A handle on that.
    pub(crate) netlink: &'l Netlink,
    /// The interface.
    pub(crate) link: &'l Link,
}

/// One thing that is not as it should be, and so what to change.
#[derive(Debug)]
pub(crate) enum Change {
    /// All of a scope: each time the namespace is entered costs.
    Settings {
        scope: Scope,
        actual: Sysctls,
        wanted: Sysctls,
    },
    Mac {
        actual: Option<Mac>,
        wanted: Mac,
    },
    Mtu {
        actual: u32,
        wanted: u32,
    },
    Up,
    AddAddress(Address),
    RemoveAddress(Address),
    AddNeighbour(Neighbour),
    SetRoute(Route),
    /// Beside others to the same destination, and before them.
    PrependRoute(Route),
    RemoveRoute(Route),
    AddRule(Rule),
}

/// In this order: the MTU for IPv6 is a setting that the link's own bounds, settings decide
/// what the kernel makes of an interface that comes up, that gets routes, and a gateway has
/// to be on the link.
#[derive(Debug, Clone, Copy)]
enum Aspect {
    Attributes,
    Settings,
    State,
    Addresses,
    Neighbours,
    Routes,
    Rules,
}

const ASPECTS: [Aspect; 7] = [
    Aspect::Attributes,
    Aspect::Settings,
    Aspect::State,
    Aspect::Addresses,
    Aspect::Neighbours,
    Aspect::Routes,
    Aspect::Rules,
];

impl Desired<'_> {
    /// Puts everything right, up to the first change that the kernel refuses.
    pub(crate) async fn reconcile(&self, live: &Live<'_>) -> Result<()> {
        for aspect in ASPECTS {
            for change in self.changes_of(aspect, live).await? {
                change.make(live).await?;
            }
        }
        Ok(())
    }

    /// Everything that is to be put right; changes nothing.
    pub(crate) async fn changes(&self, live: &Live<'_>) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for aspect in ASPECTS {
            changes.extend(self.changes_of(aspect, live).await?);
        }
        Ok(changes)
    }

    async fn changes_of(&self, aspect: Aspect, live: &Live<'_>) -> Result<Vec<Change>> {
        match aspect {
            Aspect::Attributes => Ok(self.attributes(live.link)),
            Aspect::Settings => self.settings(live).await,
            Aspect::State => Ok(self.state(live.link)),
            Aspect::Addresses => self.addresses(live).await,
            Aspect::Neighbours => self.neighbours(live).await,
            Aspect::Routes => self.routes(live).await,
            Aspect::Rules => self.rules(live).await,
        }
    }

    async fn settings(&self, live: &Live<'_>) -> Result<Vec<Change>> {
        let Some(settings) = self.settings else { return Ok(Vec::new()) };
        let mut changes = Vec::new();
        for (scope, settings) in [
            (Scope::Namespace, &settings.namespace),
            (Scope::Link(live.link.name.clone()), &settings.link),
        ] {
            if settings.is_empty() {
                continue;
            }
            let actual = sysctl::read_again(live.path, &scope, settings).await?;
            let mut wanted = settings.clone();
            wanted.retain(|setting, value| actual.get(setting) != Some(value));
            if !wanted.is_empty() {
                changes.push(Change::Settings { scope, actual, wanted });
            }
        }
        Ok(changes)
    }

    /// What the container, or udev in the host's namespace, may have set otherwise.
    fn attributes(&self, link: &Link) -> Vec<Change> {
        let wanted = &self.snapshot.link;
        let mac = wanted.mac.filter(|mac| link.mac != Some(*mac));
        let mtu = (link.mtu != wanted.mtu).then_some(wanted.mtu);
        (mac.map(|wanted| Change::Mac { actual: link.mac, wanted }).into_iter())
            .chain(mtu.map(|wanted| Change::Mtu { actual: link.mtu, wanted }))
            .collect()
    }

    fn state(&self, link: &Link) -> Vec<Change> {
        (self.snapshot.link.up && !link.up).then_some(Change::Up).into_iter().collect()
    }

    async fn addresses(&self, live: &Live<'_>) -> Result<Vec<Change>> {
        let actual = live.netlink.addresses(live.link.index).await?;
        let desired: Vec<&Address> =
            (self.addresses.iter()).filter(|address| !is_link_local(&address.net)).collect();
        let missing = desired.iter().filter(|wanted| !actual.iter().any(|it| bears(it, wanted)));
        let surplus = actual.iter().filter(|present| {
            // One more of these is what the user gave Docker by --link-local-ip. And what
            // expires is a router's, or some client's in the container.
            let users = matches!(present.net, IpNet::V4(net) if net.addr().is_link_local());
            let leased = present.lifetime.is_some();
            let wanted = desired.iter().any(|wanted| wanted.net == present.net);
            !users && !leased && !wanted && !is_link_local(&present.net)
        });
        let missing = missing.map(|address| Change::AddAddress((*address).clone()));
        Ok(missing.chain(surplus.cloned().map(Change::RemoveAddress)).collect())
    }

    async fn neighbours(&self, live: &Live<'_>) -> Result<Vec<Change>> {
        let actual = live.netlink.neighbours(live.link.index).await?;
        let missing = self.snapshot.neighbours.iter().filter(|one| !actual.contains(one));
        Ok(missing.cloned().map(Change::AddNeighbour).collect())
    }

    async fn routes(&self, live: &Live<'_>) -> Result<Vec<Change>> {
        let Live { netlink, link, .. } = live;
        let actual = netlink.routes(link.index).await?;
        let mut desired: Vec<Route> = (self.snapshot.routes.iter())
            .filter(|route| self.settles(route))
            .filter(|route| !(self.others_have_host_routes && is_host_route(route)))
            .map(|route| Route { link: Some(link.index), ..route.clone() })
            .collect();
        // Of several to one IPv4 destination the first counts, and is put before the others. Those of
        // IPv6 are one route over several gateways, whichever comes first.
        desired.reverse();
        // A gateway is reachable only once there is a route to it.
        desired.sort_by_key(|route| route.gateway.is_some());
        let has_company = |route: &Route| {
            desired.iter().filter(|desired| same_route(desired, route)).nth(1).is_some()
        };
        let mut changes: Vec<Change> = (desired.iter())
            .filter(|route| !is_kernels_route(route) && !actual.contains(route))
            .map(|route| match has_company(route) {
                true => Change::PrependRoute(route.clone()),
                false => Change::SetRoute(route.clone()),
            })
            .collect();
        for route in actual.iter().filter(|route| self.settles(route)) {
            let wanted = desired.iter().any(|desired| same_route(desired, route));
            let told = self.told.iter().any(|told| told.destination == route.destination);
            if !wanted && !told && !self.is_way_to_gateway(route, &desired) {
                changes.push(Change::RemoveRoute(route.clone()));
            }
        }
        if !self.dockers.is_empty() {
            // A default route counts wherever it leads: a container may choose another way.
            let all = netlink.all_routes().await?;
            let leads = |route: &Route, wanted: &Route| {
                (route.table, route.destination) == (MAIN_TABLE, wanted.destination)
                    && (wanted.is_default() || route.link == wanted.link)
            };
            let lost = self
                .dockers
                .iter()
                .filter(|wanted| !all.iter().chain(&desired).any(|route| leads(route, wanted)));
            changes.extend(lost.cloned().map(Change::SetRoute));
        }
        Ok(changes)
    }

    async fn rules(&self, live: &Live<'_>) -> Result<Vec<Change>> {
        let desired: Vec<Rule> = own_rules(self.snapshot, &live.link.name).collect();
        if desired.is_empty() {
            return Ok(Vec::new());
        }
        let actual = live.netlink.rules().await?;
        let missing = desired.into_iter().filter(|rule| !actual.contains(rule));
        Ok(missing.map(Change::AddRule).collect())
    }

    /// Whether a route is neither Docker's, nor part of what the kernel does by itself.
    fn settles(&self, route: &Route) -> bool {
        let main = route.table == MAIN_TABLE;
        let dockers = route.is_default() && main && !self.default_routes;
        // Where the chain gave no IPv6 address, Docker turns IPv6 off.
        let link_local = is_link_local(&route.destination) && (main || !self.has_ipv6());
        !dockers && !link_local && !comes_by_itself(route)
    }

    /// Whether Docker reaches a gateway by this route alone. `sbr` takes it away; Docker then
    /// could neither set a default route, nor take it back for another network.
    fn is_way_to_gateway(&self, route: &Route, desired: &[Route]) -> bool {
        let leads = |route: &Route, gateway: &IpAddr| {
            route.table == MAIN_TABLE && !route.is_default() && route.destination.contains(gateway)
        };
        self.gateways.iter().any(|gateway| {
            leads(route, gateway) && !desired.iter().any(|desired| leads(desired, gateway))
        })
    }

    fn has_ipv6(&self) -> bool {
        let mut addresses = self.snapshot.addresses.iter();
        addresses.any(|address| address.net.addr().is_ipv6() && !is_link_local(&address.net))
    }
}

impl Change {
    async fn make(&self, live: &Live<'_>) -> Result<()> {
        let Live { path, netlink, link } = *live;
        match self {
            Self::Settings { scope, wanted, .. } => sysctl::write(path, scope, wanted).await?,
            Self::Mac { wanted, .. } => netlink.set_mac(link.index, *wanted).await?,
            Self::Mtu { wanted, .. } => netlink.set_mtu(link.index, *wanted).await?,
            Self::Up => netlink.set_up(link.index).await?,
            Self::AddAddress(address) => netlink.add_address(link.index, address).await?,
            Self::RemoveAddress(address) => netlink.remove_address(link.index, address).await?,
            Self::AddNeighbour(neighbour) => netlink.add_neighbour(link.index, neighbour).await?,
            Self::SetRoute(route) => netlink.replace_route(route).await?,
            Self::PrependRoute(route) => netlink.prepend_route(route).await?,
            Self::RemoveRoute(route) => netlink.remove_route(route).await?,
            Self::AddRule(rule) => netlink.add_rule(rule).await?,
        }
        Ok(())
    }
}

/// What is the matter, as it is told to an operator: a line for each thing.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings { scope, actual, wanted } => {
                for (position, (setting, wanted)) in wanted.iter().enumerate() {
                    let end = if position == 0 { "" } else { "\n" };
                    let name = sysctl::name(scope, setting);
                    let actual = actual.get(setting).map_or("not there", String::as_str);
                    write!(f, "{end}sysctl {name} is {actual}, not {wanted}")?;
                }
                Ok(())
            }
            Self::Mac { actual: Some(actual), wanted } => {
                write!(f, "MAC is {actual}, not {wanted}")
            }
            Self::Mac { actual: None, wanted } => write!(f, "MAC is not {wanted}"),
            Self::Mtu { actual, wanted } => write!(f, "MTU is {actual}, not {wanted}"),
            Self::Up => f.write_str("interface is down"),
            Self::AddAddress(address) => write!(f, "address {} is missing", address.net),
            Self::RemoveAddress(address) => {
                write!(f, "address {} was not given by ADD", address.net)
            }
            Self::AddNeighbour(neighbour) => {
                write!(f, "neighbour {} at {} is missing", neighbour.ip, neighbour.mac)
            }
            Self::SetRoute(route) | Self::PrependRoute(route) => {
                write!(f, "route {} is missing", InWords(route))
            }
            Self::RemoveRoute(route) => write!(f, "route {} was not made by ADD", InWords(route)),
            Self::AddRule(rule) => {
                write!(f, "rule {}", rule.priority)?;
                if let Some(from) = rule.from {
                    write!(f, " from {from}")?;
                }
                if let Some(to) = rule.to {
                    write!(f, " to {to}")?;
                }
                write!(f, " to table {} is missing", rule.table)
            }
        }
    }
}

struct InWords<'r>(&'r Route);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(route) = self;
        match route.is_default() {
            true => f.write_str("default")?,
            false => write!(f, "{}", route.destination)?,
        }
        if let Some(gateway) = route.gateway {
            write!(f, " via {gateway}")?;
        }
        if route.metric != 0 {
            write!(f, " metric {}", route.metric)?;
        }
        if route.table != MAIN_TABLE {
            write!(f, " in table {}", route.table)?;
        }
        Ok(())
    }
}

/// Whether an address that is there needs no change.
fn bears(present: &Address, wanted: &Address) -> bool {
    let key = |address: &Address| (address.net, address.peer, address.flags, address.metric);
    key(present) == key(wanted) && present.lifetime.is_none() == wanted.lifetime.is_none()
}

/// Whether two routes take each other's place in the kernel's tables.
fn same_route(one: &Route, other: &Route) -> bool {
    let key = |route: &Route| (route.table, route.destination, route.metric, route.tos);
    key(one) == key(other)
}

/// Whether the route leads to one address on the link itself, such as a gateway's.
fn is_host_route(route: &Route) -> bool {
    route.gateway.is_none()
        && route.table == MAIN_TABLE
        && route.destination.prefix_len() == route.destination.max_prefix_len()
}
