//! What no container can have on a network of Docker's, although a plugin gives it.
//!
//! Docker refuses most of it with the kernel's bare words ("invalid argument"), once the container starts, and takes
//! some for something else. What a container can have, and only looks odd, passes: an address without a
//! subnet, a gateway outside of it, a route whose destination has bits of a host.

use std::net::IpAddr;

use ipnet::IpNet;

use super::answers::{container_ips, gateway_of, in_main_table};
use crate::cni::{AttachResult, IpConfig, NetworkConfigList, PluginConfig};

/// A chain's result has what no container can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "plugin {plugin} of conflist {conflist:?} gives {what}, {why}; no container can have that: correct the \
     conflist, or the plugin"
)]
pub struct Unfit {
    /// The network configuration list.
    pub conflist: String,
    /// The plugin whose result was the first to have it; and its IPAM plugin.
    pub plugin: String,
    /// An address, a gateway or a route.
    pub what: String,
    /// Why not.
    pub why: &'static str,
}

/// Follows the results of a chain's plugins. Each passes on what the one before it gave, or another thing.
#[derive(Debug)]
pub struct Fitness<'c> {
    conflist: &'c str,
    if_name: &'c str,
    internal: bool,
    /// What no container can have of each result so far, and whose result it is.
    steps: Vec<(String, Option<Reason>)>,
}

/// What no container can have, and why.
type Reason = (String, &'static str);

impl<'c> Fitness<'c> {
    /// Of an ADD with this conflist, for the interface of this name; on an internal network or not.
    #[must_use]
    pub fn of(list: &'c NetworkConfigList, if_name: &'c str, internal: bool) -> Self {
        Self { conflist: list.name(), if_name, internal, steps: Vec::new() }
    }

    /// What the next plugin gives.
    pub fn see(&mut self, plugin: &PluginConfig, result: &AttachResult) {
        let reason = unfit(result, self.if_name, self.internal);
        self.steps.push((plugin_type(plugin), reason));
    }

    /// Makes sure that a container can have the addresses of the last result, and the routes that Docker sets.
    ///
    /// # Errors
    /// It cannot; the error tells the first reason.
    pub fn judge(self) -> Result<(), Unfit> {
        let Some((_, Some(last))) = self.steps.last() else { return Ok(()) };
        let (what, why) = last.clone();
        let is_first = |(plugin, reason): &(String, Option<Reason>)| {
            (reason.as_ref() == Some(last)).then(|| plugin.clone())
        };
        let plugin = self.steps.iter().find_map(is_first).unwrap_or_default();
        Err(Unfit { conflist: self.conflist.to_owned(), plugin, what, why })
    }
}

/// The first thing in a result that no container can have.
fn unfit(result: &AttachResult, if_name: &str, internal: bool) -> Option<Reason> {
    let ips: Vec<&IpConfig> = container_ips(result, if_name).collect();
    for ip in &ips {
        if let Some(why) = why_no_address(ip.address) {
            return Some((format!("the address {}", ip.address), why));
        }
    }
    for route in result.routes.iter().filter(|route| in_main_table(route)) {
        if is_mapped(route.dst.addr()) {
            return Some((format!("a route to {}", route.dst), MAPPED));
        }
        // Docker sets none with a gateway there.
        if internal {
            continue;
        }
        let Some(gateway) = gateway_of(route, &ips) else { continue };
        if let Some(why) = why_no_gateway(gateway, route.dst, &ips) {
            return Some((format!("the gateway {gateway} for {}", route.dst), why));
        }
    }
    None
}

/// A plugin's type, and that of its IPAM plugin.
fn plugin_type(plugin: &PluginConfig) -> String {
    match plugin.ipam_type() {
        Some(ipam) => format!("{:?} (with {ipam:?})", plugin.plugin_type()),
        None => format!("{:?}", plugin.plugin_type()),
    }
}

const MAPPED: &str = "which is an IPv4 address written as IPv6: it has to be written as IPv4";

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// Why an address is nobody's.
fn why_nobodys(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if is_mapped(address) => Some(MAPPED),
        _ if address.is_unspecified() => Some("which stands for no address"),
        _ if address.is_multicast() => Some("which is a group's (multicast)"),
        _ if address.is_loopback() => Some("which does not leave a host (loopback)"),
        IpAddr::V4(address) if address.is_broadcast() => {
            Some("which stands for all hosts (broadcast)")
        }
        _ => None,
    }
}

fn why_no_address(net: IpNet) -> Option<&'static str> {
    let whole = (net.prefix_len() == 0).then_some("whose subnet would be all addresses there are");
    why_nobodys(net.addr()).or(whole)
}

fn why_no_gateway(gateway: IpAddr, dst: IpNet, ips: &[&IpConfig]) -> Option<&'static str> {
    let is_broadcast = |net: IpNet| {
        let IpNet::V4(net) = net else { return false };
        net.prefix_len() < 31 && IpAddr::V4(net.broadcast()) == gateway
    };
    match () {
        () if is_mapped(gateway) => Some(MAPPED),
        () if gateway.is_ipv4() != dst.addr().is_ipv4() => Some("which is of the other family"),
        () if ips.iter().any(|ip| ip.address.addr() == gateway) => {
            Some("which is the container's own address")
        }
        () if ips.iter().any(|ip| is_broadcast(ip.address)) => {
            Some("which stands for all hosts of the subnet (broadcast)")
        }
        () => why_nobodys(gateway),
    }
}
