//! What there is to say about a route.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

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
