//! The desired state of an interface and its namespace, and how the actual state differs from it.
//!
//! Nothing here reads or changes anything: see [`super::reconcile`].
//!
//! Three things are not touched here. Default routes of the main table belong to Docker. Link-local
//! addresses, and the routes that come with an address, belong to the kernel. Things that do not concern
//! this interface belong to others.

use std::net::IpAddr;

use ipnet::IpNet;

use super::change::Change;
use crate::cnm::StaticRoute;
use crate::lifecycle::host::kernel_routes::{
    is_automatic_route, is_kernel_route, is_link_local, own_rules,
};
use crate::lifecycle::record::Settings;
use crate::netlink::{Address, Link, MAIN_TABLE, Neighbour, Route, Rule, Snapshot};
use crate::sysctl::Scope;

/// The desired state of an interface's namespace, and who owns the default routes there.
pub(crate) struct Desired<'d> {
    pub(crate) snapshot: &'d Snapshot,
    /// The addresses of the snapshot that the interface shall have.
    pub(crate) addresses: &'d [Address],
    pub(crate) settings: Option<&'d Settings>,
    /// Routes that Docker made, and that may stay although ADD did not make them.
    pub(crate) told: &'d [StaticRoute],
    /// The gateways in the answer to Docker, which has to find the routes to them in the main table.
    pub(crate) gateways: &'d [IpAddr],
    /// Routes that Docker has made, and that shall still exist.
    pub(crate) dockers: &'d [Route],
    /// The host routes on the link belong to another endpoint: Docker got wider ones for this one.
    pub(crate) others_have_host_routes: bool,
    /// Whether the default routes of the main table shall be made too.
    pub(crate) default_routes: bool,
}

/// The actual state of an interface and its namespace.
#[derive(Debug, Clone)]
pub(crate) struct Actual {
    pub(crate) link: Link,
    /// The settings that are asked for.
    pub(crate) settings: Settings,
    pub(crate) addresses: Vec<Address>,
    pub(crate) neighbours: Vec<Neighbour>,
    /// The routes over the interface; and all others, if Docker's routes are asked for.
    pub(crate) routes: Vec<Route>,
    pub(crate) rules: Vec<Rule>,
}

impl Actual {
    /// An interface about which nothing else has been read yet.
    pub(crate) fn of(link: Link) -> Self {
        Self {
            link,
            settings: Settings::default(),
            addresses: Vec::new(),
            neighbours: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// The order matters: the link's MTU limits the setting for IPv6; settings decide what the kernel does when
/// an interface comes up; routes need an interface that is up; and a gateway needs a route on the link.
#[derive(Debug, Clone, Copy)]
pub(super) enum Aspect {
    Attributes,
    Settings,
    State,
    Addresses,
    Neighbours,
    Routes,
    Rules,
}

pub(super) const ASPECTS: [Aspect; 7] = [
    Aspect::Attributes,
    Aspect::Settings,
    Aspect::State,
    Aspect::Addresses,
    Aspect::Neighbours,
    Aspect::Routes,
    Aspect::Rules,
];

impl Desired<'_> {
    /// All differences, in an order in which they can be changed.
    pub(crate) fn changes(&self, actual: &Actual) -> Vec<Change> {
        ASPECTS.into_iter().flat_map(|aspect| self.changes_of(aspect, actual)).collect()
    }

    /// The differences in one aspect.
    pub(super) fn changes_of(&self, aspect: Aspect, actual: &Actual) -> Vec<Change> {
        match aspect {
            Aspect::Attributes => self.attributes(&actual.link),
            Aspect::Settings => self.settings(actual),
            Aspect::State => self.state(&actual.link),
            Aspect::Addresses => self.addresses(actual),
            Aspect::Neighbours => self.neighbours(actual),
            Aspect::Routes => self.routes(actual),
            Aspect::Rules => self.rules(actual),
        }
    }

    fn settings(&self, actual: &Actual) -> Vec<Change> {
        let Some(settings) = self.settings else { return Vec::new() };
        let of_link = Scope::Link(actual.link.name.clone());
        let mut changes = Vec::new();
        for (scope, settings, actual) in [
            (Scope::Namespace, &settings.namespace, &actual.settings.namespace),
            (of_link, &settings.link, &actual.settings.link),
        ] {
            let mut wanted = settings.clone();
            wanted.retain(|setting, value| actual.get(setting) != Some(value));
            if !wanted.is_empty() {
                changes.push(Change::Settings { scope, actual: actual.clone(), wanted });
            }
        }
        changes
    }

    /// The container, or udev in the host's namespace, may have changed these.
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

    fn addresses(&self, actual: &Actual) -> Vec<Change> {
        let actual = &actual.addresses;
        let desired: Vec<&Address> =
            (self.addresses.iter()).filter(|address| !is_link_local(&address.net)).collect();
        let missing = desired.iter().filter(|wanted| !actual.iter().any(|it| bears(it, wanted)));
        let surplus = actual.iter().filter(|present| {
            // An additional link-local address is the user's, by --link-local-ip. An address that expires
            // is from a router, or from a client in the container.
            let users = matches!(present.net, IpNet::V4(net) if net.addr().is_link_local());
            let leased = present.lifetime.is_some();
            let wanted = desired.iter().any(|wanted| wanted.net == present.net);
            !users && !leased && !wanted && !is_link_local(&present.net)
        });
        let missing = missing.map(|address| Change::AddAddress((*address).clone()));
        missing.chain(surplus.cloned().map(Change::RemoveAddress)).collect()
    }

    fn neighbours(&self, actual: &Actual) -> Vec<Change> {
        let wanted = self.snapshot.neighbours.iter();
        let missing = wanted.filter(|one| !actual.neighbours.contains(one));
        missing.cloned().map(Change::AddNeighbour).collect()
    }

    fn routes(&self, actual: &Actual) -> Vec<Change> {
        let (made, link) = (self.snapshot.link.index, actual.link.index);
        let own: Vec<&Route> = actual.routes.iter().filter(|it| it.leaves_by(link)).collect();
        let mut desired: Vec<Route> = (self.snapshot.routes.iter())
            .filter(|route| self.settles(route))
            .filter(|route| !(self.others_have_host_routes && is_host_route(route)))
            .map(|route| route.with_link(made, link))
            .collect();
        // Of several IPv4 routes to one destination the first counts, so it is put before the others. For
        // IPv6 they are one route over several gateways, in any order.
        desired.reverse();
        // A gateway is reachable only once a route to it exists.
        desired.sort_by_key(|route| route.first_gateway().is_some());
        let has_company = |route: &Route| {
            desired.iter().filter(|desired| same_route(desired, route)).nth(1).is_some()
        };
        let mut changes: Vec<Change> = (desired.iter())
            .filter(|route| !is_kernel_route(route) && !own.contains(route))
            .map(|route| match has_company(route) {
                true => Change::PrependRoute(route.clone()),
                false => Change::SetRoute(route.clone()),
            })
            .collect();
        for route in own.into_iter().filter(|route| self.settles(route)) {
            let wanted = desired.iter().any(|desired| same_route(desired, route));
            let told = self.told.iter().any(|told| told.destination == route.destination);
            if !wanted && !told && !self.is_way_to_gateway(route, &desired) {
                changes.push(Change::RemoveRoute(route.clone()));
            }
        }
        // Any default route counts, wherever it leads: a container may choose another one.
        let leads = |route: &Route, wanted: &Route| {
            (route.table, route.destination) == (MAIN_TABLE, wanted.destination)
                && (wanted.is_default() || route.link == wanted.link)
        };
        let all = || actual.routes.iter().chain(&desired);
        let lost = self.dockers.iter().filter(|wanted| !all().any(|route| leads(route, wanted)));
        changes.extend(lost.cloned().map(Change::SetRoute));
        changes
    }

    fn rules(&self, actual: &Actual) -> Vec<Change> {
        let desired = own_rules(self.snapshot, &actual.link.name);
        let missing = desired.filter(|rule| !actual.rules.contains(rule));
        missing.map(Change::AddRule).collect()
    }

    /// Whether a route is neither Docker's nor made by the kernel itself.
    fn settles(&self, route: &Route) -> bool {
        let main = route.table == MAIN_TABLE;
        let dockers = route.is_default() && main && !self.default_routes;
        // If the chain gave no IPv6 address, Docker turns IPv6 off.
        let link_local = is_link_local(&route.destination) && (main || !has_ipv6(self.snapshot));
        !dockers && !link_local && !is_automatic_route(route)
    }

    /// Whether Docker reaches a gateway only by this route. `sbr` removes it; Docker then could neither set
    /// a default route, nor remove it for another network.
    fn is_way_to_gateway(&self, route: &Route, desired: &[Route]) -> bool {
        let leads = |route: &Route, gateway: &IpAddr| {
            route.table == MAIN_TABLE && !route.is_default() && route.destination.contains(gateway)
        };
        self.gateways.iter().any(|gateway| {
            leads(route, gateway) && !desired.iter().any(|desired| leads(desired, gateway))
        })
    }
}

/// Whether the chain gave an IPv6 address. If not, Docker turns IPv6 off.
pub(super) fn has_ipv6(snapshot: &Snapshot) -> bool {
    let mut addresses = snapshot.addresses.iter();
    addresses.any(|address| address.net.addr().is_ipv6() && !is_link_local(&address.net))
}

/// Whether an existing address needs no change.
fn bears(present: &Address, wanted: &Address) -> bool {
    let key = |address: &Address| (address.net, address.peer, address.flags, address.metric);
    key(present) == key(wanted) && present.lifetime.is_none() == wanted.lifetime.is_none()
}

/// Whether one route replaces the other in the kernel's tables.
fn same_route(one: &Route, other: &Route) -> bool {
    let key = |route: &Route| (route.table, route.destination, route.metric, route.tos);
    key(one) == key(other)
}

/// Whether the route leads to one address on the link itself, such as a gateway's.
fn is_host_route(route: &Route) -> bool {
    route.first_gateway().is_none()
        && route.table == MAIN_TABLE
        && route.destination.prefix_len() == route.destination.max_prefix_len()
}
