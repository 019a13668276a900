//! What no container can have on a network of Docker's, although a plugin gives it.
//!
//! Docker refuses most of it with the kernel's bare words ("invalid argument"), once the container starts, and takes
//! some for something else. What a container can have, and only looks odd, passes: an address without a
//! subnet, a gateway outside of it, a route whose destination has bits of a host.

use std::net::IpAddr;

use ipnet::IpNet;

use super::answers::{container_ips, gateway_of, in_main_table};
use crate::cni::{AttachResult, IpConfig, NetworkConfigList};

/// A chain's result has what no container can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the result of conflist {conflist:?} (plugins: {plugins}) has {what}, {why}; no container can have that: \
     correct the conflist, or the plugin"
)]
pub struct Unfit {
    /// The network configuration list.
    pub conflist: String,
    /// The plugins' types.
    pub plugins: String,
    /// An address, a gateway or a route.
    pub what: String,
    /// Why not.
    pub why: &'static str,
}

/// Makes sure that a container can have the addresses of a result, and the routes that Docker sets.
///
/// # Errors
/// It cannot; the error tells the first reason.
pub fn fits(
    list: &NetworkConfigList,
    result: &AttachResult,
    if_name: &str,
    internal: bool,
) -> Result<(), Unfit> {
    let unfit = |what: String, why| Unfit {
        conflist: list.name().to_owned(),
        plugins: plugin_types(list),
        what,
        why,
    };
    let ips: Vec<&IpConfig> = container_ips(result, if_name).collect();
    for ip in &ips {
        if let Some(why) = why_no_address(ip.address) {
            return Err(unfit(format!("the address {}", ip.address), why));
        }
    }
    for route in result.routes.iter().filter(|route| in_main_table(route)) {
        if is_mapped(route.dst.addr()) {
            return Err(unfit(format!("a route to {}", route.dst), MAPPED));
        }
        // Docker sets none with a gateway there.
        if internal {
            continue;
        }
        let Some(gateway) = gateway_of(route, &ips) else { continue };
        if let Some(why) = why_no_gateway(gateway, route.dst, &ips) {
            return Err(unfit(format!("the gateway {gateway} for {}", route.dst), why));
        }
    }
    Ok(())
}

fn plugin_types(list: &NetworkConfigList) -> String {
    let types = list.plugins().iter().map(|plugin| match plugin.ipam_type() {
        Some(ipam) => format!("{} with {ipam}", plugin.plugin_type()),
        None => plugin.plugin_type().to_owned(),
    });
    types.collect::<Vec<_>>().join(", ")
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
