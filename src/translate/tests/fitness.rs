//! What a container can have of a result.

use serde_json::{Value, json};

use super::*;

/// What is said of a result, if it does not fit.
fn said(ips: &Value, routes: &Value, internal: bool) -> String {
    let list = host_local();
    let mut fitness = Fitness::of(&list, "cni0", internal);
    fitness.see(&list.plugins()[0], &result(ips, routes));
    fitness.judge().map_or_else(|unfit| unfit.to_string(), |()| String::new())
}

#[test]
fn the_plugin_is_named_whose_result_first_had_what_no_container_can_have() {
    let chain = json!({"cniVersion": "1.0.0", "name": "k8snet", "plugins": [
        {"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "changes"}, {"type": "portmap"},
    ]});
    let list = NetworkConfigList::parse(chain.to_string().as_bytes()).unwrap();
    let (good, bad, worse) = ("10.22.0.9/16", "127.0.0.5/8", "224.0.0.5/24");
    for (addresses, named) in [
        ([bad, bad, bad], Some(("\"bridge\" (with \"host-local\")", bad))),
        ([good, bad, bad], Some(("\"changes\"", bad))),
        ([worse, bad, bad], Some(("\"changes\"", bad))),
        ([good, good, bad], Some(("\"portmap\"", bad))),
        ([bad, bad, good], None),
        ([good, bad, good], None),
    ] {
        let mut fitness = Fitness::of(&list, "cni0", false);
        for (plugin, address) in list.plugins().iter().zip(addresses) {
            let ips = json!([{"address": address, "interface": 1}]);
            fitness.see(plugin, &result(&ips, &json!([])));
        }
        let said = fitness.judge().map_err(|unfit| unfit.to_string());
        match named {
            None => assert_eq!(said, Ok(())),
            Some((plugin, address)) => {
                let what = format!(
                    "plugin {plugin} of conflist \"k8snet\" gives the address {address}, which "
                );
                assert!(said.as_ref().unwrap_err().starts_with(&what), "{said:?}");
            }
        }
    }
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
            "plugin \"bridge\" (with \"host-local\") of conflist \"k8snet\" gives the address {address}, "
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
            let what = format!(" gives the gateway {gateway} for {dst}, which ");
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
    assert!(told.contains(" gives a route to ::ffff:10.7.0.0/112, which is an IPv4"), "{told}");
}
