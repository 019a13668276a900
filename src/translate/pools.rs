//! The addresses that a chain gives, as far as its configuration tells.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::conflist::{Range, host_local_ranges};
use super::ipam;
use crate::cni::NetworkConfigList;

/// Addresses that containers are given, from the first one to the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// The subnet that they are in.
    pub subnet: IpNet,
    /// The first.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
    /// The subnet's gateway, which no container is given.
    pub gateway: Option<IpAddr>,
    /// For how many containers they are enough; at most 2⁶⁴ - 1.
    pub size: u64,
}

impl AddressPool {
    /// Of addresses of one family, in order.
    fn new(subnet: IpNet, first: IpAddr, last: IpAddr, gateway: Option<IpAddr>) -> Self {
        let mut pool = Self { subnet, first, last, gateway, size: 0 };
        let count = number(last).saturating_sub(number(first)).saturating_add(1);
        let taken = u128::from(gateway.is_some_and(|gateway| pool.has(gateway)));
        pool.size = u64::try_from(count - taken).unwrap_or(u64::MAX);
        pool
    }

    /// A subnet of Docker's, which keeps the gateway for itself.
    #[must_use]
    pub fn of_docker(subnet: IpNet) -> Self {
        let gateway = subnet.hosts().next();
        Self::new(subnet, first_of(subnet), last_of(subnet), gateway)
    }

    /// Whether a container may be given the address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4()
            && (number(self.first)..=number(self.last)).contains(&number(address))
    }
}

/// The pools of a chain. Known of the reference IPAM plugins `host-local` and `static`; empty for
/// others.
#[must_use]
pub fn pools(list: &NetworkConfigList) -> Vec<AddressPool> {
    let of_host_local = host_local_ranges(list).into_iter().map(|range: Range| {
        let (first, last) = (range.start, range.end);
        AddressPool::new(
            range.subnet,
            first.unwrap_or_else(|| first_of(range.subnet)),
            last.unwrap_or_else(|| last_of(range.subnet)),
            Some(range.gateway),
        )
    });
    let fixed = ipam(list).filter(|ipam| ipam["type"] == "static");
    let fixed = fixed.and_then(|ipam| ipam["addresses"].as_array()).into_iter().flatten();
    let fixed = fixed.filter_map(|entry| {
        let net = entry["address"].as_str()?.parse::<IpNet>().ok()?;
        Some(AddressPool::new(net.trunc(), net.addr(), net.addr(), None))
    });
    of_host_local.chain(fixed).collect()
}

/// The first address that `host-local` gives of a subnet, if it is told nothing else.
fn first_of(subnet: IpNet) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).saturating_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).saturating_add(1)).into(),
    }
}

/// The last address: of IPv4 the one before the broadcast address.
fn last_of(subnet: IpNet) -> IpAddr {
    match subnet.broadcast() {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).saturating_sub(1)).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sizes(ipam: Value) -> Vec<(String, String, u64)> {
        let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [
            {"type": "bridge", "ipam": ipam}]});
        let list = NetworkConfigList::parse(list.to_string().as_bytes()).unwrap();
        let told = pools(&list).into_iter();
        told.map(|pool| (pool.first.to_string(), pool.last.to_string(), pool.size)).collect()
    }

    #[test]
    fn a_pool_has_what_host_local_gives_of_it() {
        let pool = |first: &str, last: &str, size| (first.to_owned(), last.to_owned(), size);
        let both = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
        assert_eq!(
            sizes(json!({"type": "host-local", "ranges": both})),
            // Without the gateway; and for IPv4 without the address for all hosts.
            [
                pool("10.1.0.1", "10.1.0.254", 253),
                pool("fd01::1", "fd01::ffff:ffff:ffff:ffff", u64::MAX - 1)
            ]
        );
        let part = json!([[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.19"}]]);
        assert_eq!(
            sizes(json!({"type": "host-local", "ranges": part})),
            [pool("10.1.0.10", "10.1.0.19", 10)]
        );
        assert_eq!(
            sizes(json!({"type": "static", "addresses": [{"address": "10.1.0.9/24"}]})),
            [pool("10.1.0.9", "10.1.0.9", 1)]
        );
        assert_eq!(sizes(json!({"type": "dhcp"})), []);
    }

    #[test]
    fn a_pool_of_dockers_leaves_the_gateway_out() {
        let pool = AddressPool::of_docker("10.77.0.0/30".parse().unwrap());
        assert_eq!((pool.size, pool.gateway), (1, Some("10.77.0.1".parse().unwrap())));
        assert!(pool.has("10.77.0.2".parse().unwrap()) && !pool.has("::1".parse().unwrap()));
    }
}
