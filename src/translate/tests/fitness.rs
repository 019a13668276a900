//! What a container can have of a result.

use serde_json::{Value, json};

use super::*;

/// What is said of a result, if it does not fit.
fn said(ips: &Value, routes: &Value, internal: bool) -> String {
    let checked = fits(&host_local(), &result(ips, routes), "cni0", internal);
    checked.map_or_else(|unfit| unfit.to_string(), |()| String::new())
}

#[test]
fn an_address_that_no_container_can_have_is_an_error_that_tells_why() {
    for (address, why) in [
        ("::ffff:10.1.2.3/120", "an IPv4 address written as IPv6"),
        ("0.0.0.0/24", "stands for no address"),
        ("::/64", "stands for no address"),
        ("224.0.0.5/24", "multicast"),
        ("ff02::5/64", "multicast"),
        ("127.0.0.5/8", "loopback"),
        ("::1/128", "loopback"),
        ("255.255.255.255/32", "broadcast"),
        ("10.22.0.5/0", "all addresses there are"),
        ("fd00::5/0", "all addresses there are"),
    ] {
        let ips = json!([{"address": "10.22.0.9/16", "interface": 1}, {"address": address}]);
        let told = said(&ips, &json!([]), false);
        let what = format!(
            "the result of conflist \"k8snet\" (plugins: bridge with host-local) has the address {address}, "
        );
        assert!(told.starts_with(&what) && told.contains(why), "{told}");
        // That is the host's.
        let ips = json!([{"address": address, "interface": 0}]);
        assert_eq!(said(&ips, &json!([]), false), "");
    }
    for address in ["10.22.0.5/32", "169.254.3.4/16", "fe80::5/64", "10.22.0.0/31", "240.0.0.5/24"]
    {
        assert_eq!(said(&json!([{"address": address, "interface": 1}]), &json!([]), false), "");
    }
}

#[test]
fn a_gateway_that_leads_nowhere_is_an_error_that_tells_why() {
    let of = |gateway: &str, routes: Value, internal: bool| {
        let ips = json!([{"address": "10.22.0.5/24", "gateway": gateway, "interface": 1}]);
        said(&ips, &routes, internal)
    };
    for (gateway, why) in [
        ("10.22.0.5", "the container's own address"),
        ("fd00::1", "of the other family"),
        ("::ffff:10.22.0.1", "an IPv4 address written as IPv6"),
        ("224.0.0.1", "multicast"),
        ("127.0.0.1", "loopback"),
        ("255.255.255.255", "broadcast"),
        ("10.22.0.255", "all hosts of the subnet (broadcast)"),
    ] {
        for dst in ["0.0.0.0/0", "10.7.0.0/16"] {
            let told = of("10.22.0.1", json!([{"dst": dst, "gw": gateway}]), false);
            let what = format!(" has the gateway {gateway} for {dst}, which ");
            assert!(told.contains(&what) && told.contains(why), "{told}");
            // Nobody uses it.
            assert_eq!(of("10.22.0.1", json!([{"dst": dst, "gw": gateway}]), true), "");
            let elsewhere = json!([{"dst": dst, "gw": gateway, "table": 100}]);
            assert_eq!(of("10.22.0.1", elsewhere, false), "");
        }
        assert_eq!(of(gateway, json!([]), false), "");
    }
    let told = of("10.22.0.5", json!([{"dst": "0.0.0.0/0"}]), false);
    assert!(told.contains("the gateway 10.22.0.5 for 0.0.0.0/0"), "{told}");
    for gateway in ["10.8.0.1", "169.254.1.1", "0.0.0.0"] {
        assert_eq!(of(gateway, json!([{"dst": "0.0.0.0/0"}]), false), "");
    }
    let told = of("10.22.0.1", json!([{"dst": "::ffff:10.7.0.0/112"}]), true);
    assert!(told.contains(" has a route to ::ffff:10.7.0.0/112, which is an IPv4"), "{told}");
}
