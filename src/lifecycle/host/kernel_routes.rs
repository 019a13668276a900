//! Routes and rules that the kernel makes by itself. The driver neither restores nor removes them.

use ipnet::IpNet;

use crate::netlink::{MAIN_TABLE, Route, Rule, Snapshot};

/// Removes from a snapshot what every namespace has, and what comes with an address. Without it a record is
/// half as long, on disk and in memory.
pub(crate) fn drop_kernel_entries(snapshot: &mut Snapshot) {
    snapshot.routes.retain(|route| !is_automatic_route(route));
    snapshot.rules.retain(|rule| !is_kernel_rule(rule));
    snapshot.further_links.clear();
    // A copy has no room to spare.
    *snapshot = snapshot.clone();
}

/// Whether the kernel adds and removes the route: local and multicast routes, and routes from a router's
/// advertisement.
pub(crate) fn is_automatic_route(route: &Route) -> bool {
    const LOCAL_TABLE: u32 = 255;
    /// `RTPROT_RA`: from a router's advertisement.
    const ADVERTISED: u8 = 9;
    route.table == LOCAL_TABLE
        || route.protocol == ADVERTISED
        || route.destination.addr().is_multicast()
}

/// The rules that ADD made, for an interface that has this name now.
pub(crate) fn own_rules(snapshot: &Snapshot, name: &str) -> impl Iterator<Item = Rule> {
    let rules = snapshot.rules.iter().filter(|rule| !is_kernel_rule(rule));
    rules.map(move |rule| named(rule, &snapshot.link.name, name))
}

/// Whether the rule is one of those that every namespace has: local, main, default.
fn is_kernel_rule(rule: &Rule) -> bool {
    matches!(rule.priority, 0 | 32766 | 32767)
}

/// The rule, for an interface that has another name now.
fn named(rule: &Rule, old: &str, new: &str) -> Rule {
    let renamed = |name: &Option<String>| {
        name.as_ref().map(|name| if name == old { new.to_owned() } else { name.clone() })
    };
    Rule { input: renamed(&rule.input), output: renamed(&rule.output), ..rule.clone() }
}

/// Whether the kernel makes the route by itself, with the address that it belongs to. A
/// plugin may have copied it to another table.
pub(crate) fn is_kernel_route(route: &Route) -> bool {
    const RTPROT_KERNEL: u8 = 2;
    route.protocol == RTPROT_KERNEL && route.table == MAIN_TABLE
}

/// An IPv6 link-local address or prefix: the kernel's, made from the MAC.
pub(crate) fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}
