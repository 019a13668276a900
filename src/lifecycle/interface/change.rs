//! One change to an interface or its namespace: its description, and making it.

use std::fmt;
use std::path::Path;

use crate::lifecycle::error::Result;
use crate::netlink::{Address, Link, MAIN_TABLE, Mac, Neighbour, Netlink, Route, Rule};
use crate::sysctl::{self, Scope, Sysctls};

/// An interface where it stands.
pub(crate) struct Live<'l> {
    /// Path of its namespace.
    pub(crate) path: &'l Path,
    /// A handle on that.
    pub(crate) netlink: &'l Netlink,
    /// The interface.
    pub(crate) link: &'l Link,
}

/// One difference, and so one thing to change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// All settings of a scope at once: entering the namespace is expensive.
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
    /// In addition to other routes to the same destination, and before them.
    PrependRoute(Route),
    RemoveRoute(Route),
    AddRule(Rule),
}

impl Change {
    /// Lets the kernel make the change.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(super) async fn make(&self, live: &Live<'_>) -> Result<()> {
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

/// The differences for the operator, one line each.
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
        let gateways = route.next_hops.iter().filter_map(|hop| hop.gateway);
        for gateway in route.gateway.into_iter().chain(gateways) {
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
