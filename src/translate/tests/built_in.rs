//! The chain of a network that has no conflist.

use serde_json::{Value, json};

use super::*;
use crate::cnm::{BRIDGE_NAME, MASQUERADE, NetworkOptions};

/// The built-in network's chain for these options and pools.
fn built_in_with(options: Value, ipam: Value, taken: &[&str]) -> Result<Value, Refusal> {
    let options = NetworkOptions::read(options.as_object().unwrap()).unwrap();
    let taken: Vec<_> = taken.iter().map(|net| net.parse().unwrap()).collect();
    built_in(&"a0ca6ece2c77192e".parse().unwrap(), &options, &pools(ipam), &taken)
}

#[test]
fn the_built_in_network_takes_dockers_pools_a_set_for_each_family() {
    let ipam = json!([
        {"Pool": "10.5.0.0/24", "Gateway": "10.5.0.7/24"},
        {"Pool": "10.6.0.0/24", "Gateway": "10.6.0.1/24", "AuxAddresses": {"a": "10.6.0.9/24"}},
        {"Pool": "fd05::/64", "Gateway": "fd05::1/64"},
    ]);
    let chain = built_in_with(json!({}), ipam.clone(), &[]).unwrap();
    assert_eq!(chain["name"], "cnia0ca6ece2c77");
    assert_eq!(
        chain["plugins"][0],
        json!({
            "type": "bridge", "bridge": "cnia0ca6ece2c77", "isGateway": true,
            "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": {"type": "host-local", "ranges": [
                [{"subnet": "10.5.0.0/24", "gateway": "10.5.0.7"},
                 {"subnet": "10.6.0.0/24", "gateway": "10.6.0.1"}],
                [{"subnet": "fd05::/64", "gateway": "fd05::1"}],
            ]},
        })
    );
    let list = NetworkConfigList::parse(chain.to_string().as_bytes()).unwrap();
    serves(&list, &pools(ipam)).unwrap();
    let tiny = built_in_with(json!({}), json!([{"Pool": "10.5.0.0/31"}]), &[]).unwrap_err();
    assert!(tiny.to_string().contains("10.5.0.0/31 is too small"), "{tiny}");
}

#[test]
fn the_built_in_network_has_free_subnets_where_docker_has_no_pools() {
    let subnets = |options: Value, taken: &[&str]| -> Vec<String> {
        let chain = built_in_with(options, json!([{"Pool": "0.0.0.0/0"}]), taken).unwrap();
        let ranges = chain["plugins"][0]["ipam"]["ranges"].as_array().unwrap().clone();
        ranges.iter().map(|set| set[0]["subnet"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(subnets(json!({}), &["0.0.0.0/0", "::/0"]), ["10.233.144.0/24"]);
    let taken = ["10.233.144.0/23", "10.233.146.77/32", "10.0.0.0/16"];
    assert_eq!(subnets(json!({}), &taken), ["10.233.147.0/24"]);
    let both = json!({"com.docker.network.enable_ipv6": true});
    let [_, ipv6] = &subnets(both.clone(), &[])[..] else { panic!("no two subnets") };
    assert_eq!(subnets(both.clone(), &[])[1], *ipv6);
    assert_ne!(subnets(both, &[ipv6])[1], *ipv6);
    let six = json!({"com.docker.network.enable_ipv4": false,
                     "com.docker.network.enable_ipv6": true});
    assert_eq!(subnets(six, &[]), [ipv6.as_str()]);
    let full = built_in_with(json!({}), json!([]), &["10.0.0.0/8"]).unwrap_err();
    assert_eq!(full, Refusal::NoFreeSubnet);
}

#[test]
fn the_built_in_networks_bridge_is_what_dockers_options_say() {
    let options = |options: Value| json!({"com.docker.network.generic": options});
    let bridge =
        |options: Value| built_in_with(options, json!([]), &[]).unwrap()["plugins"][0].clone();
    let named = bridge(options(json!({BRIDGE_NAME: "br0", MASQUERADE: "false"})));
    assert_eq!((&named["bridge"], &named["ipMasq"]), (&json!("br0"), &json!(false)));
    assert_eq!(bridge(json!({"com.docker.network.internal": true}))["ipMasq"], false);
    let read = |json: Value| NetworkOptions::read(options(json).as_object().unwrap()).unwrap();
    for (key, word) in [(BRIDGE_NAME, "\"bridge\" of plugin bridge"), (MASQUERADE, "\"ipMasq\"")] {
        let value = if key == BRIDGE_NAME { "br0" } else { "true" };
        let error = has_options(&host_local(), &read(json!({key: value}))).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(word), "{error}");
    }
    has_options(&host_local(), &read(json!({"mtu": "1400", "isolate": "true"}))).unwrap();
}
