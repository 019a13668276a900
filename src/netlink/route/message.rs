//! Routes as messages of the kernel's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{DefaultNla, NLA_F_NESTED, Nla};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RoutePreference, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::form::{Attribute, NextHop, Route};
use crate::netlink::family_of;

/// `RTAX_MTU` as a bit of `RTAX_LOCK`: path MTU discovery may not lower it.
const MTU_LOCK: u32 = 1 << 2;

/// What says the route to the kernel.
pub(super) fn write(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(route.destination.addr());
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.tos = route.tos;
    message.header.protocol = route.protocol.into();
    message.header.scope = route.scope.into();
    message.header.kind = route.kind.into();
    if route.on_link {
        message.header.flags = RouteFlags::Onlink;
    }
    // The header has room for one byte; the attribute is what counts.
    message.header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);

    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table));
    if !route.is_default() {
        let network = route.destination.network();
        attributes.push(RouteAttribute::Destination(network.into()));
    }
    attributes.extend(route.gateway.map(|gateway| over(gateway, &route.destination)));
    attributes.extend(route.link.map(RouteAttribute::Oif));
    attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    if route.metric != 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    let mut metrics = Vec::new();
    if route.mtu_locked {
        metrics.push(RouteMetric::Lock(MTU_LOCK));
    }
    metrics.extend(route.mtu.map(RouteMetric::Mtu));
    metrics.extend(route.advmss.map(RouteMetric::Advmss));
    metrics.extend(route.metrics.iter().map(|metric| RouteMetric::Other(metric.into())));
    if !metrics.is_empty() {
        attributes.push(RouteAttribute::Metrics(metrics));
    }
    if !route.next_hops.is_empty() {
        let hops = route.next_hops.iter().map(|hop| next_hop(route, hop));
        attributes.push(RouteAttribute::MultiPath(hops.collect()));
    }
    attributes.extend(route.attributes.iter().map(|it| RouteAttribute::Other(it.into())));
    message
}

/// A gateway to that destination.
fn over(gateway: IpAddr, destination: &IpNet) -> RouteAttribute {
    match (gateway, destination) {
        (IpAddr::V6(gateway), IpNet::V4(_)) => RouteAttribute::Via(RouteVia::Inet6(gateway)),
        (gateway, _) => RouteAttribute::Gateway(gateway.into()),
    }
}

fn next_hop(route: &Route, hop: &NextHop) -> RouteNextHop {
    let mut message = RouteNextHop::default();
    message.interface_index = hop.link;
    message.hops = hop.hops;
    if hop.on_link {
        message.flags = RouteNextHopFlags::Onlink;
    }
    message.attributes.extend(hop.gateway.map(|gateway| over(gateway, &route.destination)));
    message
}

/// The routes of a message. One over several gateways of equal weight, as the kernel makes it of IPv6 routes that
/// differ in nothing else, is one for each: added so, they become the same again.
pub(super) fn read(message: RouteNetlinkMessage, family: AddressFamily) -> Option<Vec<Route>> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let header = message.header;
    if header.address_family != family {
        return None;
    }
    let mut destination = match family {
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let mut next_hops = None;
    let mut route = Route {
        table: header.table.into(),
        scope: header.scope.into(),
        protocol: header.protocol.into(),
        kind: header.kind.into(),
        tos: header.tos,
        on_link: header.flags.contains(RouteFlags::Onlink),
        ..Route::default()
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::MultiPath(hops) => next_hops = Some(hops),
            attribute => note(&mut route, attribute),
        }
    }
    route.destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    let Some(next_hops) = next_hops else { return Some(vec![route]) };
    let next_hops: Vec<NextHop> = next_hops.iter().map(NextHop::of).collect();
    if family == AddressFamily::Inet || next_hops.iter().any(|hop| hop.hops != 0) {
        return Some(vec![Route { next_hops, ..route }]);
    }
    let over = |hop: NextHop| Route {
        gateway: hop.gateway,
        link: Some(hop.link),
        on_link: hop.on_link,
        ..route.clone()
    };
    Some(next_hops.into_iter().map(over).collect())
}

/// Notes with a route what one attribute says of it. Others than these are the kernel's own.
fn note(route: &mut Route, attribute: RouteAttribute) {
    match attribute {
        RouteAttribute::Table(table) => route.table = table,
        RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => route.gateway = gateway(&attribute),
        RouteAttribute::Oif(index) => route.link = Some(index),
        RouteAttribute::PrefSource(address) => route.source = ip(address),
        RouteAttribute::Priority(metric) => route.metric = metric,
        RouteAttribute::Metrics(metrics) => {
            for metric in metrics {
                match metric {
                    RouteMetric::Mtu(mtu) => route.mtu = Some(mtu),
                    RouteMetric::Advmss(size) => route.advmss = Some(size),
                    RouteMetric::Lock(bits) => route.mtu_locked = bits & MTU_LOCK != 0,
                    metric => route.metrics.push(Attribute::of(&metric)),
                }
            }
        }
        // Every IPv6 route has one, which is mostly the medium.
        RouteAttribute::Preference(RoutePreference::Medium) => {}
        RouteAttribute::Preference(_) | RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => {
            route.attributes.push(Attribute::of(&attribute))
        }
        _ => {}
    }
}

impl NextHop {
    fn of(hop: &RouteNextHop) -> Self {
        Self {
            gateway: hop.attributes.iter().find_map(gateway),
            link: hop.interface_index,
            hops: hop.hops,
            on_link: hop.flags.contains(RouteNextHopFlags::Onlink),
        }
    }
}

impl Attribute {
    pub(in crate::netlink) fn of(attribute: &impl Nla) -> Self {
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        let nested = if attribute.is_nested() { NLA_F_NESTED } else { 0 };
        Self { kind: attribute.kind() | nested, value }
    }
}

impl From<&Attribute> for DefaultNla {
    fn from(attribute: &Attribute) -> Self {
        Self::new(attribute.kind, attribute.value.clone())
    }
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address.clone()),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    }
}

fn ip(address: RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(address.into()),
        RouteAddress::Inet6(address) => Some(address.into()),
        _ => None,
    }
}
