//! Routes.

mod message;

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use serde::{Deserialize, Serialize};

use super::session::Session;
use super::{Error, Failure, Netlink, Turn, or_absent};
use message::{read, write};

/// The table that routes are in by default (`RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = 254;

/// `RTPROT_BOOT`: added by hand or by a program that says nothing of itself, as CNI plugins do.
const BOOT: u8 = 3;

/// `RTN_UNICAST`: a route to somewhere.
const UNICAST: u8 = 1;

/// A route, with all that is needed to restore it: `ip route show table all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads; `0.0.0.0/0` or `::/0` is a default route.
    pub destination: IpNet,
    /// Routing table; see [`MAIN_TABLE`].
    pub table: u32,
    /// The next hop; absent where the destination is on the link, or there are several.
    pub gateway: Option<IpAddr>,
    /// Index of the link that it leaves by, in the namespace it was read in; absent if there are several next hops.
    pub link: Option<u32>,
    /// The next hops of a route over several at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_hops: Vec<NextHop>,
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
    /// Further metrics (`RTAX_*`), as the window that TCP begins with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Attribute>,
    /// Further attributes (`RTA_*`), as what packets are put into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

/// One of the next hops of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// Its address; absent where the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Index of the link that it is on, in the namespace it was read in.
    pub link: u32,
    /// Its part of the packets, as one less than the weight.
    pub hops: u8,
    /// The gateway is taken to be on the link, whatever the addresses there.
    pub on_link: bool,
}

/// An attribute that is handed on as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its number, with the mark of what has attributes inside.
    pub kind: u16,
    /// Its bytes.
    pub value: Vec<u8>,
}

impl Route {
    /// The first of its gateways, or the only one.
    #[must_use]
    pub fn first_gateway(&self) -> Option<IpAddr> {
        self.gateway.or_else(|| self.next_hops.iter().find_map(|hop| hop.gateway))
    }

    /// Whether packets leave by this link.
    #[must_use]
    pub fn leaves_by(&self, link: u32) -> bool {
        self.link == Some(link) || self.next_hops.iter().any(|hop| hop.link == link)
    }

    /// The same route where one link has another index.
    #[must_use]
    pub fn with_link(&self, old: u32, new: u32) -> Self {
        let renumbered = |link: u32| if link == old { new } else { link };
        let mut route = self.clone();
        route.link = route.link.map(renumbered);
        for hop in &mut route.next_hops {
            hop.link = renumbered(hop.link);
        }
        route
    }

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

#[cfg(test)]
mod tests;
