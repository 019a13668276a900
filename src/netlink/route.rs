//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use serde::{Deserialize, Serialize};

use super::session::Session;
use super::{Error, Failure, Netlink, Turn, family_of, or_absent};

/// The table that routes are in by default (`RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = 254;

/// `RTPROT_BOOT`: added by hand or by a program that says nothing of itself, as CNI plugins do.
const BOOT: u8 = 3;

/// `RTN_UNICAST`: a route to somewhere.
const UNICAST: u8 = 1;

/// `RTAX_MTU` as a bit of `RTAX_LOCK`: path MTU discovery may not lower it.
const MTU_LOCK: u32 = 1 << 2;

/// A route, with all that is needed to restore it: `ip route show table all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads; `0.0.0.0/0` or `::/0` is a default route.
    pub destination: IpNet,
    /// Routing table; see [`MAIN_TABLE`].
    pub table: u32,
    /// The next hop; absent where the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Index of the link that it leaves by, in the namespace it was read in.
    pub link: Option<u32>,
    /// Source address that new connections prefer.
    pub source: Option<IpAddr>,
    /// Priority among routes to one destination: the lowest wins. 0 if unset; the kernel makes
    /// that 1024 for IPv6.
    #[serde(default)]
    pub metric: u32,
    /// 0 beyond a gateway, 253 on the link, 254 on this host (`RT_SCOPE_*`). Always 0 for IPv6.
    #[serde(default)]
    pub scope: u8,
    /// Who made it (`RTPROT_*`): 2 the kernel, 3 a program that did not say, 4 an
    /// administrator, 9 a router's advertisement.
    pub protocol: u8,
    /// What it does (`RTN_*`): 1 leads somewhere, 2 is an address of this host, 6 to 8 refuse.
    pub kind: u8,
    /// Type of service that it is for; 0 for all.
    #[serde(default)]
    pub tos: u8,
    /// MTU of the path, in bytes.
    pub mtu: Option<u32>,
    /// Path MTU discovery may not lower the MTU.
    #[serde(default)]
    pub mtu_locked: bool,
    /// TCP segment size that is offered, in bytes.
    pub advmss: Option<u32>,
    /// The gateway is taken to be on the link, whatever the addresses there.
    #[serde(default)]
    pub on_link: bool,
}

impl Route {
    /// A plain route in the main table, over `gateway` or on the link itself.
    #[must_use]
    pub fn new(destination: IpNet, gateway: Option<IpAddr>, link: u32) -> Self {
        let scope = if gateway.is_none() && destination.addr().is_ipv4() { 253 } else { 0 };
        Self {
            destination,
            table: MAIN_TABLE,
            gateway,
            link: Some(link),
            scope,
            protocol: BOOT,
            kind: UNICAST,
            ..Self::default()
        }
    }

    /// Whether this is a default route.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }
}

impl Netlink {
    /// The routes that leave by a link, of all tables, IPv4 first.
    ///
    /// Fails if the link is not there: [`Error::is_not_found`].
    pub async fn routes(&self, index: u32) -> Result<Vec<Route>, Error> {
        let object = format!("the routes of link {index}");
        let work = move |mut turn: Turn| async move { list(&mut turn, Some(index)).await };
        self.run("list", object, work).await
    }

    /// All routes of all tables, IPv4 first.
    pub async fn all_routes(&self) -> Result<Vec<Route>, Error> {
        let work = |mut turn: Turn| async move { list(&mut turn, None).await };
        self.run("list", "the routes".into(), work).await
    }

    /// Adds a route.
    ///
    /// Fails if its table has a route to the same
    /// destination with the same metric and type of service, wherever that leads: [`Error::is_exists`].
    pub async fn add_route(&self, route: &Route) -> Result<(), Error> {
        let message = write(route);
        let request = |netlink: &Handle| netlink.route().add(message).execute();
        self.request("add", described(route), request).await
    }

    /// Adds a route in place of the one that its table has to the same destination with the
    /// same metric and type of service, wherever that leads.
    pub async fn replace_route(&self, route: &Route) -> Result<(), Error> {
        let message = write(route);
        let request = |netlink: &Handle| netlink.route().add(message).replace().execute();
        self.request("set", described(route), request).await
    }

    /// Adds a route before those that its table has to the same destination with the same metric
    /// and type of service (`ip route prepend`): it is the one that counts then.
    pub async fn prepend_route(&self, route: &Route) -> Result<(), Error> {
        let request = RouteNetlinkMessage::NewRoute(write(route));
        let work = |mut turn: Turn| async move {
            let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
            turn.exchange(request, flags, &Some).await.map(drop)
        };
        self.run("prepend", described(route), work).await
    }

    /// Removes exactly this route. Succeeds if it is gone.
    pub async fn remove_route(&self, route: &Route) -> Result<(), Error> {
        let message = write(route);
        let request = |netlink: &Handle| netlink.route().del(message).execute();
        or_absent(self.request("remove", described(route), request).await)
    }
}

/// The routes of all tables; those that leave by `link` if one is given.
pub(super) async fn list(session: &mut Session, link: Option<u32>) -> Result<Vec<Route>, Failure> {
    let mut routes = Vec::new();
    // A kernel without IPv6 answers the second request with all that it has.
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.attributes.extend(link.map(RouteAttribute::Oif));
        let request = RouteNetlinkMessage::GetRoute(message);
        let read = |one| read(one, family).unwrap_or_default();
        routes.append(&mut session.dump(request, read).await?);
    }
    Ok(routes)
}

fn described(route: &Route) -> String {
    let over = route.gateway.map(|gateway| format!(" over {gateway}")).unwrap_or_default();
    let on = route.link.map(|link| format!(" on link {link}")).unwrap_or_default();
    let table = Some(route.table).filter(|table| *table != MAIN_TABLE);
    let table = table.map(|table| format!(" in table {table}")).unwrap_or_default();
    format!("the route to {}{over}{on}{table}", route.destination)
}

fn write(route: &Route) -> RouteMessage {
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
    match (route.gateway, route.destination) {
        (Some(IpAddr::V6(gateway)), IpNet::V4(_)) => {
            attributes.push(RouteAttribute::Via(RouteVia::Inet6(gateway)));
        }
        (Some(gateway), _) => attributes.push(RouteAttribute::Gateway(gateway.into())),
        (None, _) => {}
    }
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
    if !metrics.is_empty() {
        attributes.push(RouteAttribute::Metrics(metrics));
    }
    message
}

/// The route of a message. One over several gateways, as the kernel makes it of IPv6 routes that
/// differ in nothing else, is one for each: added so, they become the same again. (Of IPv4 routes
/// that are made over several gateways at once, the first counts then.)
fn read(message: RouteNetlinkMessage, family: AddressFamily) -> Option<Vec<Route>> {
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
            RouteAttribute::Table(table) => route.table = table,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => {
                route.gateway = gateway(&attribute)
            }
            RouteAttribute::Oif(index) => route.link = Some(index),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Priority(metric) => route.metric = metric,
            RouteAttribute::MultiPath(hops) => next_hops = Some(hops),
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(mtu) => route.mtu = Some(mtu),
                        RouteMetric::Advmss(size) => route.advmss = Some(size),
                        RouteMetric::Lock(bits) => route.mtu_locked = bits & MTU_LOCK != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    route.destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    let Some(next_hops) = next_hops else { return Some(vec![route]) };
    let over = |hop: RouteNextHop| Route {
        gateway: hop.attributes.iter().find_map(gateway),
        link: Some(hop.interface_index),
        on_link: hop.flags.contains(RouteNextHopFlags::Onlink),
        ..route.clone()
    };
    Some(next_hops.into_iter().map(over).collect())
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

#[cfg(test)]
mod tests {
    use super::super::tests::{ip, reachable, with_veth};
    use super::*;

    #[tokio::test]
    async fn routes_are_restored_as_they_were() {
        let (pinned, netlink, index) = with_veth().await;
        ip(&pinned.path, "addr add 10.0.0.2/24 dev one");
        ip(&pinned.path, "addr add fd00:1::2/64 dev one nodad");
        reachable(&netlink, index).await;
        let before = [
            ip(&pinned.path, "-d -4 route show table all"),
            ip(&pinned.path, "-d -6 route show table all"),
        ];
        let kernels = netlink.routes(index).await.unwrap();
        for route in [
            "default via 10.0.0.1 dev one",
            "10.1.0.0/16 via 10.0.0.1 dev one metric 100 src 10.0.0.2",
            "10.1.0.0/16 via 10.0.0.3 dev one metric 200 mtu 1400 advmss 1300",
            "10.2.0.0/16 dev one scope link mtu lock 1380",
            "10.3.0.0/16 via 169.254.1.1 dev one onlink",
            "10.4.0.0/16 dev one table 1000 proto static",
            "10.5.0.0/16 dev one table 100 tos 0x10",
            "10.6.0.0/16 via inet6 fe80::1 dev one",
            "default via 10.0.0.1 dev one table 100 proto 99",
            "local 10.7.0.1 dev one table 100",
            "fd00:2::/64 via fd00:1::1 dev one metric 50 mtu 1400",
            "default via fd00:1::1 dev one",
            "fd00:3::/64 dev one table 1000 src fd00:1::2",
            "fd00:4::1 via fe80::1 dev one onlink proto static",
        ] {
            ip(&pinned.path, &format!("route add {route}"));
        }
        let shown = || {
            [
                ip(&pinned.path, "-d -4 route show table all"),
                ip(&pinned.path, "-d -6 route show table all"),
            ]
        };
        let full = shown();
        assert_ne!(full, before);
        let routes = netlink.routes(index).await.unwrap();
        let stored = serde_json::to_string(&routes).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Route>>(&stored).unwrap(), routes);
        let added: Vec<_> = routes.iter().filter(|route| !kernels.contains(route)).collect();
        assert_eq!(added.len(), 14);
        assert_eq!(added.iter().filter(|route| route.is_default()).count(), 3);

        for route in &added {
            netlink.remove_route(route).await.unwrap();
            netlink.remove_route(route).await.unwrap();
        }
        assert_eq!(shown(), before);
        for route in &added {
            netlink.add_route(route).await.unwrap();
            assert!(netlink.add_route(route).await.unwrap_err().is_exists());
            netlink.replace_route(route).await.unwrap();
        }
        assert_eq!(shown(), full);
        assert_eq!(netlink.routes(index).await.unwrap(), routes);
    }

    #[tokio::test]
    async fn only_the_routes_of_the_link_are_read_and_all_when_asked() {
        let (pinned, netlink, index) = with_veth().await;
        ip(&pinned.path, "route add 10.1.0.0/16 dev one");
        ip(&pinned.path, "route add 10.2.0.0/16 dev two");
        ip(&pinned.path, "route add blackhole 10.3.0.0/16");
        let of_one = netlink.routes(index).await.unwrap();
        assert!(of_one.iter().all(|route| route.link == Some(index)), "{of_one:?}");
        let to = |routes: &[Route], net: &str| {
            let net: IpNet = net.parse().unwrap();
            routes.iter().any(|route| route.destination == net)
        };
        assert!(to(&of_one, "10.1.0.0/16") && !to(&of_one, "10.2.0.0/16"));
        let all = netlink.all_routes().await.unwrap();
        assert!(["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].iter().all(|net| to(&all, net)));
        let refusing = all.iter().find(|route| route.kind == 6).unwrap().clone();
        netlink.remove_route(&refusing).await.unwrap();
        netlink.add_route(&refusing).await.unwrap();
        assert_eq!(netlink.all_routes().await.unwrap(), all);
    }

    #[tokio::test]
    async fn a_gateway_outside_the_subnet_is_reached_over_a_route_on_the_link() {
        let (pinned, netlink, index) = with_veth().await;
        ip(&pinned.path, "addr add 10.0.0.2/32 dev one");
        let gateway = "169.254.1.1".parse().unwrap();
        let default = Route::new("0.0.0.0/0".parse().unwrap(), Some(gateway), index);
        assert!(netlink.add_route(&default).await.is_err());
        let on_link = Route::new("169.254.1.1/32".parse().unwrap(), None, index);
        netlink.add_route(&on_link).await.unwrap();
        netlink.add_route(&default).await.unwrap();
        let said = ip(&pinned.path, "route show");
        assert_eq!(
            said.lines().map(str::trim).collect::<Vec<_>>(),
            ["default via 169.254.1.1 dev one", "169.254.1.1 dev one scope link"]
        );
        let routes = netlink.routes(index).await.unwrap();
        assert!(routes.contains(&default) && routes.contains(&on_link), "{routes:?}");
    }
}
