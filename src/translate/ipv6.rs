//! A container that is to have no IPv6 address, on a network whose addresses of both families Docker chooses.
//!
//! Docker 28 asks for no IPv6 address if the user turned IPv6 off in the container. `host-local` gives one of each of
//! its sets of ranges nevertheless. Docker does not know of that address, and would choose it for the next container.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::cni::{NetworkConfigList, PluginConfig};
use crate::cnm::{EndpointInterface, EndpointOptions, IpamData, Pool};

/// Whether Docker, which chooses the addresses, wants none of IPv6 for this endpoint.
#[must_use]
pub fn is_without_ipv6(
    interface: &EndpointInterface,
    options: &EndpointOptions,
    pools: &[IpamData],
) -> bool {
    interface.address.is_some()
        && interface.address_ipv6.is_none()
        && !options.ips.iter().any(IpAddr::is_ipv6)
        && pools.iter().any(is_of_ipv6)
}

/// Whether the addresses of a pool are Docker's to choose, and IPv6.
pub(super) fn is_of_ipv6(pool: &IpamData) -> bool {
    matches!(pool.pool, Pool::Subnet(IpNet::V6(_)))
}

/// The chain without the IPv6 ranges of its `host-local`, and without its IPv6 routes.
#[must_use]
pub fn without_ipv6(list: NetworkConfigList) -> NetworkConfigList {
    list.map_plugins(without_ipv6_ranges)
}

fn without_ipv6_ranges(plugin: PluginConfig) -> PluginConfig {
    let Some(ipam) = plugin.get("ipam").filter(|ipam| ipam["type"] == "host-local") else {
        return plugin;
    };
    let mut ipam = ipam.clone();
    if let Some(sets) = ipam["ranges"].as_array_mut() {
        sets.retain(|set| !set.as_array().into_iter().flatten().any(|it| is_ipv6(&it["subnet"])));
    }
    if let Some(routes) = ipam["routes"].as_array_mut() {
        routes.retain(|route| !is_ipv6(&route["dst"]));
    }
    plugin.with("ipam", ipam)
}

fn is_ipv6(net: &Value) -> bool {
    net.as_str().is_some_and(|net| net.contains(':'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_for_which_docker_wants_no_ipv6_gets_none_from_the_chain() {
        let of_both = json!({"cniVersion": "1.0.0", "name": "web", "plugins": [{
            "type": "bridge",
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd00:9::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        }]});
        let list = NetworkConfigList::parse(of_both.to_string().as_bytes()).unwrap();
        let ipam = without_ipv6(list).plugins()[0].get("ipam").unwrap().clone();
        assert_eq!(ipam["ranges"], json!([[{"subnet": "10.9.0.0/24"}]]));
        assert_eq!(ipam["routes"], json!([{"dst": "0.0.0.0/0"}]));
    }

    #[test]
    fn only_docker_that_chooses_ipv6_addresses_can_leave_one_out() {
        let pool = |subnet: &str| {
            serde_json::from_value::<IpamData>(json!({"AddressSpace": "local", "Pool": subnet}))
                .unwrap()
        };
        let interface = |json: Value| serde_json::from_value::<EndpointInterface>(json).unwrap();
        let both = [pool("10.9.0.0/24"), pool("fd00:9::/64")];
        let of_ipv4 = interface(json!({"Address": "10.9.0.2/24", "AddressIPv6": ""}));
        let of_both = interface(json!({"Address": "10.9.0.2/24", "AddressIPv6": "fd00:9::2/64"}));
        let none = EndpointOptions::default();
        assert!(is_without_ipv6(&of_ipv4, &none, &both));
        assert!(!is_without_ipv6(&of_both, &none, &both));
        assert!(!is_without_ipv6(&interface(json!({})), &none, &both));
        assert!(!is_without_ipv6(&of_ipv4, &none, &both[..1]));
        assert!(!is_without_ipv6(&of_ipv4, &none, &[pool("0.0.0.0/0"), pool("::/0")]));
        let ips = vec!["fd00:9::7".parse().unwrap()];
        let asked = EndpointOptions { ips, ..EndpointOptions::default() };
        assert!(!is_without_ipv6(&of_ipv4, &asked, &both));
    }
}
