//! Properties of [`Desired::changes`] that hold for every interface.

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::change::Change;
use super::desired::{Actual, Desired};
use crate::lifecycle::record::Settings;
use crate::netlink::{Address, Lifetime, Link, MAIN_TABLE, Neighbour, Route, Rule, Snapshot};
use crate::sysctl::{Scope, Sysctls};

/// The interface's current index and name; and another link's index and name there.
const HERE: (u32, &str) = (7, "eth0");
const OTHER: u32 = 8;

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

fn route(destination: &str, gateway: Option<&str>, link: u32) -> Route {
    Route::new(net(destination), gateway.map(|gateway| gateway.parse().unwrap()), link)
}

/// What ADD may have left. The interface had the index 2 and another name then.
fn possible_addresses() -> Vec<Address> {
    ["10.22.0.5/16", "10.23.0.5/16", "10.24.0.5/32", "fd00::5/64", "fd01::5/128"]
        .map(|text| Address::from(net(text)))
        .into()
}

fn possible_routes(link: u32) -> Vec<Route> {
    let beside = Route { metric: 50, ..route("10.30.0.0/16", None, link) };
    vec![
        route("10.30.0.0/16", Some("10.22.0.1"), link),
        beside,
        route("10.31.0.0/16", None, link),
        route("169.254.1.1/32", None, link),
        Route { table: 100, ..route("0.0.0.0/0", Some("10.22.0.1"), link) },
        Route { mtu: Some(1400), ..route("fd02::/64", Some("fd00::1"), link) },
    ]
}

fn possible_neighbours() -> Vec<Neighbour> {
    let one = |ip: &str, mac: &str| Neighbour {
        ip: ip.parse().unwrap(),
        mac: mac.parse().unwrap(),
        router: false,
        protocol: 0,
    };
    vec![one("10.22.0.1", "02:00:00:00:00:01"), one("fd00::1", "02:00:00:00:00:02")]
}

fn possible_rules(name: &str) -> Vec<Rule> {
    let from = Some(net("10.22.0.5/32"));
    let rule = Rule { priority: 100, action: 1, table: 100, from, ..Rule::default() };
    vec![Rule { input: Some(name.to_owned()), priority: 101, ..rule.clone() }, rule]
}

/// What the changes must not touch: things of Docker, of the kernel, of a client in the container.
fn others() -> Actual {
    let leased = Address {
        lifetime: Some(Lifetime { valid: 60, preferred: 60 }),
        ..Address::from(net("192.0.2.9/24"))
    };
    let mut actual = Actual::of(Link::default());
    actual.addresses =
        vec![leased, Address::from(net("169.254.3.3/16")), Address::from(net("fe80::1/64"))];
    actual.routes = vec![
        route("0.0.0.0/0", Some("10.22.0.1"), HERE.0),
        route("10.30.0.0/16", None, OTHER),
        Route { table: 255, ..route("10.22.0.5/32", None, HERE.0) },
        route("fe80::/64", None, HERE.0),
    ];
    actual.rules = vec![Rule { priority: 32766, table: MAIN_TABLE, ..Rule::default() }];
    actual
}

fn settings(pairs: &[(&str, &str)]) -> Sysctls {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

prop_compose! {
    /// What ADD left.
    fn snapshots()(
        addresses in subsequence(possible_addresses(), 0..=5),
        routes in subsequence(possible_routes(2), 0..=6),
        neighbours in subsequence(possible_neighbours(), 0..=2),
        rules in subsequence(possible_rules("cni0123456789"), 0..=2),
        (up, mtu) in (any::<bool>(), 1400_u32..1500),
    ) -> Snapshot {
        let link = Link {
            index: 2, name: "cni0123456789".into(), up, mtu, mac: "02:00:00:00:00:05".parse().ok(),
            ..Link::default()
        };
        Snapshot { link, addresses, routes, neighbours, rules, further_links: Vec::new() }
    }
}

prop_compose! {
    /// The actual state, with things of others.
    fn actuals()(
        addresses in subsequence(possible_addresses(), 0..=5),
        routes in subsequence(possible_routes(HERE.0), 0..=6),
        neighbours in subsequence(possible_neighbours(), 0..=2),
        rules in subsequence(possible_rules(HERE.1), 0..=2),
        (up, mtu, filter) in (any::<bool>(), 1400_u32..1500, 0_i32..3),
    ) -> Actual {
        let mut actual = others();
        actual.link = Link { index: HERE.0, name: HERE.1.into(), up, mtu, ..Link::default() };
        actual.settings.link = settings(&[("ipv4/conf/arp_filter", &filter.to_string())]);
        actual.addresses.extend(addresses);
        actual.routes.extend(routes);
        actual.neighbours.extend(neighbours);
        actual.rules.extend(rules);
        actual
    }
}

/// How the kernel applies a change.
fn apply(change: Change, actual: &mut Actual) {
    match change {
        Change::Settings { scope: Scope::Namespace, wanted, .. } => {
            actual.settings.namespace.extend(wanted);
        }
        Change::Settings { wanted, .. } => actual.settings.link.extend(wanted),
        Change::Mac { wanted, .. } => actual.link.mac = Some(wanted),
        Change::Mtu { wanted, .. } => actual.link.mtu = wanted,
        Change::Up => actual.link.up = true,
        Change::AddAddress(address) => {
            actual.addresses.retain(|present| present.net != address.net);
            actual.addresses.push(address);
        }
        Change::RemoveAddress(address) => actual.addresses.retain(|present| *present != address),
        Change::AddNeighbour(neighbour) => actual.neighbours.push(neighbour),
        Change::SetRoute(route) => {
            let key = |route: &Route| (route.table, route.destination, route.metric, route.tos);
            actual.routes.retain(|it| it.link != route.link || key(it) != key(&route));
            actual.routes.push(route);
        }
        Change::PrependRoute(route) => actual.routes.insert(0, route),
        Change::RemoveRoute(route) => actual.routes.retain(|present| *present != route),
        Change::AddRule(rule) => actual.rules.push(rule),
    }
}

fn desired<'d>(snapshot: &'d Snapshot, settings: &'d Settings) -> Desired<'d> {
    Desired {
        snapshot,
        addresses: &snapshot.addresses,
        settings: Some(settings),
        told: &[],
        gateways: &[],
        dockers: &[],
        others_have_host_routes: false,
        default_routes: false,
    }
}

proptest! {
    #[test]
    fn what_is_changed_needs_no_change_any_more(snapshot in snapshots(), before in actuals()) {
        let settings = Settings {
            link: settings(&[("ipv4/conf/arp_filter", "1")]),
            namespace: settings(&[("core/somaxconn", "611")]),
        };
        let desired = desired(&snapshot, &settings);
        let mut after = before.clone();
        for change in desired.changes(&before) {
            apply(change, &mut after);
        }
        prop_assert_eq!(desired.changes(&after), []);
        for address in &snapshot.addresses {
            prop_assert!(after.addresses.contains(address));
        }
        for route in &snapshot.routes {
            let here = Route { link: Some(HERE.0), ..route.clone() };
            prop_assert!(after.routes.contains(&here));
        }
    }

    #[test]
    fn what_is_others_stays(snapshot in snapshots(), before in actuals()) {
        let none = Settings::default();
        let mut after = before.clone();
        for change in desired(&snapshot, &none).changes(&before) {
            apply(change, &mut after);
        }
        let others = others();
        prop_assert!(others.addresses.iter().all(|address| after.addresses.contains(address)));
        prop_assert!(others.routes.iter().all(|route| after.routes.contains(route)));
        prop_assert!(others.rules.iter().all(|rule| after.rules.contains(rule)));
        // Aspects that are not asked for are not compared.
        prop_assert_eq!(&after.settings, &before.settings);
    }
}

#[test]
fn a_route_of_dockers_that_is_lost_is_made_again_and_one_that_leads_elsewhere_is_not() {
    let snapshot = Snapshot {
        link: Link::default(),
        addresses: Vec::new(),
        routes: Vec::new(),
        neighbours: Vec::new(),
        rules: Vec::new(),
        further_links: Vec::new(),
    };
    let none = Settings::default();
    let dockers =
        [route("0.0.0.0/0", Some("10.22.0.1"), HERE.0), route("10.9.0.0/16", None, HERE.0)];
    let desired = Desired { dockers: &dockers, ..desired(&snapshot, &none) };
    let link = Link { index: HERE.0, ..Link::default() };
    let mut actual = Actual::of(link);
    assert_eq!(desired.changes(&actual), dockers.clone().map(Change::SetRoute));
    // The container has chosen another default route.
    actual.routes = vec![route("0.0.0.0/0", Some("10.99.0.1"), OTHER)];
    assert_eq!(desired.changes(&actual), [Change::SetRoute(dockers[1].clone())]);
}
