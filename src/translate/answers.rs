//! What a chain's ADD made, as Docker's answers.

use std::net::IpAddr;

use ipnet::IpNet;

use super::OtherAddress;
use crate::cni::{AttachResult, IpConfig, NetworkConfigList, Route};
use crate::cnm::{EndpointInterface, InterfaceName, JoinResponse, RouteType, StaticRoute};

/// The answer to CreateEndpoint: the first address of each family and the MAC, each only
/// where Docker has not decided it already.
///
/// `mac` is the MAC that the interface has; `asked` are the addresses of the `ip` option.
///
/// # Errors
/// The chain did not give an address that Docker or the user had decided.
pub fn endpoint_interface(
    list: &NetworkConfigList,
    wanted: &EndpointInterface,
    asked: &[IpAddr],
    result: &AttachResult,
    if_name: &str,
    mac: Option<String>,
) -> Result<EndpointInterface, OtherAddress> {
    let given: Vec<IpNet> = container_ips(result, if_name).map(|ip| ip.address).collect();
    for decided in wanted.addresses().map(|decided| decided.addr()).chain(asked.iter().copied()) {
        if !given.iter().any(|address| address.addr() == decided) {
            let same_family: Vec<_> = given
                .iter()
                .filter(|address| address.addr().is_ipv4() == decided.is_ipv4())
                .map(ToString::to_string)
                .collect();
            return Err(OtherAddress {
                conflist: list.name().to_owned(),
                wanted: decided,
                given: (!same_family.is_empty()).then(|| same_family.join(" and ")),
                by_option: wanted.addresses().all(|address| address.addr() != decided),
            });
        }
    }
    // The one that was asked for first is the first of its family, whatever else there is.
    let is_asked = |asked: &IpAddr| given.iter().find(|net| net.addr() == *asked);
    let given: Vec<IpNet> = asked.iter().filter_map(is_asked).chain(&given).copied().collect();
    let ipv4 =
        given.iter().find_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None });
    let ipv6 =
        given.iter().find_map(|net| if let IpNet::V6(net) = net { Some(*net) } else { None });
    Ok(EndpointInterface {
        address: ipv4.filter(|_| wanted.address.is_none()),
        address_ipv6: ipv6.filter(|_| wanted.address_ipv6.is_none()),
        mac_address: mac.filter(|_| wanted.mac_address.is_none()),
    })
}

/// The addresses of a result that belong to the container's interface: those that say so,
/// and those that name no interface at all, or none that there is (SPEC.md, "ADD Success":
/// `ips.interface`). Not every plugin reports the interface's sandbox; nothing else is called
/// `if_name`.
pub(super) fn container_ips<'r>(
    result: &'r AttachResult,
    if_name: &'r str,
) -> impl Iterator<Item = &'r IpConfig> {
    result
        .ips
        .iter()
        .filter(move |ip| result.interface_of(ip).is_none_or(|interface| interface.name == if_name))
}

/// The answer to Join: the interface for Docker to move, and the routes for it to set.
///
/// Docker gets a gateway only if the chain made a default route, as for a pod. The results of weave-net and
/// calico have no default route although ADD makes one: `left` are the gateways of the default routes that ADD
/// left.
///
/// Docker cannot set three kinds of routes, which are settled later: routes of another table than main, routes
/// with a metric, and a second route to a destination. The kernel's own route for an address counts as the first.
///
/// `addresses` are those that Docker sets before the routes: only their subnets are on the link at that time.
#[must_use]
pub fn join_answer(
    result: &AttachResult,
    if_name: &str,
    addresses: &[IpNet],
    left: &[IpAddr],
    internal: bool,
) -> JoinResponse {
    let mut answer = JoinResponse {
        interface_name: InterfaceName {
            src_name: if_name.to_owned(),
            dst_prefix: "eth".to_owned(),
        },
        gateway: None,
        gateway_ipv6: None,
        static_routes: Vec::new(),
        disable_gateway_service: true,
    };
    let ips: Vec<&IpConfig> = container_ips(result, if_name).collect();
    // Otherwise Docker turns IPv6 off on the interface.
    let has_ipv6 = addresses.iter().any(|address| address.addr().is_ipv6());

    for route in result.routes.iter().filter(|route| in_main_table(route)) {
        let gateway = gateway_of(route, &ips);
        let default = route.dst.prefix_len() == 0;
        // On an internal network only the link itself is reachable.
        if internal && (default || gateway.is_some()) {
            continue;
        }
        if route.dst.addr().is_ipv6() && !has_ipv6 {
            continue;
        }
        let is_kernels = addresses.iter().any(|address| address.trunc() == route.dst.trunc());
        if !default && (is_kernels || route.priority.is_some()) {
            continue;
        }
        if let Some(gateway) = gateway {
            reach(&mut answer.static_routes, addresses, gateway);
        }
        match (default, gateway) {
            (true, Some(gateway)) => set_gateway(&mut answer, gateway),
            // Docker cannot set a default route without a gateway; settling sets it.
            (true, None) => {}
            (false, gateway) => push_once(&mut answer.static_routes, route.dst, gateway),
        }
    }
    let usable = |gateway: &&IpAddr| !internal && (gateway.is_ipv4() || has_ipv6);
    for &gateway in left.iter().filter(usable) {
        if answer.gateways().iter().all(|other| other.is_ipv4() != gateway.is_ipv4()) {
            reach(&mut answer.static_routes, addresses, gateway);
            set_gateway(&mut answer, gateway);
        }
    }
    answer
}

/// Docker takes one gateway of each family: the first.
fn set_gateway(answer: &mut JoinResponse, gateway: IpAddr) {
    match gateway {
        IpAddr::V4(gateway) => _ = answer.gateway.get_or_insert(gateway),
        IpAddr::V6(gateway) => _ = answer.gateway_ipv6.get_or_insert(gateway),
    }
}

/// The answer with every host route on the link wider by `bits` bits: each still covers its address, and differs
/// from the host route to the same address on another network of the container.
#[must_use]
pub fn widened(mut answer: JoinResponse, bits: u8) -> JoinResponse {
    for route in &mut answer.static_routes {
        let net = route.destination;
        if route.route_type == RouteType::Connected && net.prefix_len() == net.max_prefix_len() {
            let wider = IpNet::new(net.addr(), net.prefix_len().saturating_sub(bits));
            route.destination = wider.map_or(net, |wider| wider.trunc());
        }
    }
    answer
}

/// The kernel's main routing table; a route that names none goes there.
pub(super) fn in_main_table(route: &Route) -> bool {
    const RT_TABLE_UNSPEC: u32 = 0;
    const RT_TABLE_MAIN: u32 = 254;
    matches!(route.table, None | Some(RT_TABLE_UNSPEC | RT_TABLE_MAIN))
}

/// Over what a route leads; none if its destination is on the link. The kernel takes the unspecified address as a
/// gateway for none, and so it is here.
pub(super) fn gateway_of(route: &Route, addresses: &[&IpConfig]) -> Option<IpAddr> {
    let gateway = route.gw.or_else(|| gateway_of_family(addresses, route.dst));
    gateway.filter(|gateway| !gateway.is_unspecified())
}

/// The gateway of a route that has none of its own (SPEC.md, "ADD Success": `routes.gw`).
fn gateway_of_family(addresses: &[&IpConfig], dst: IpNet) -> Option<IpAddr> {
    addresses
        .iter()
        .filter(|ip| ip.address.addr().is_ipv4() == dst.addr().is_ipv4())
        .find_map(|ip| ip.gateway)
}

/// Makes sure that `next_hop` is reachable: one outside the subnet gets a host route on
/// the link, as with a /32 address behind 169.254.1.1.
fn reach(routes: &mut Vec<StaticRoute>, addresses: &[IpNet], next_hop: IpAddr) {
    let connected = routes
        .iter()
        .filter(|route| route.route_type == RouteType::Connected)
        .map(|route| route.destination);
    if !addresses.iter().copied().chain(connected).any(|net| net.contains(&next_hop)) {
        push_once(routes, IpNet::from(next_hop), None);
    }
}

fn push_once(routes: &mut Vec<StaticRoute>, destination: IpNet, next_hop: Option<IpAddr>) {
    let destination = destination.trunc();
    let route_type = if next_hop.is_some() { RouteType::NextHop } else { RouteType::Connected };
    if !routes.iter().any(|route| route.destination == destination) {
        routes.push(StaticRoute { destination, route_type, next_hop });
    }
}
