//! What a Docker network on a conflist can do, and what it is refused.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

#[test]
fn the_null_ipam_driver_suits_every_conflist() {
    let null = pools(json!([{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]));
    serves(&host_local(), &null).unwrap();
    serves(&list(&json!({"type": "dhcp"}), &json!({})), &null).unwrap();
}

#[test]
fn what_cannot_be_carried_over_is_refused_with_what_to_do_instead() {
    carries_over(&host_local()).unwrap();
    let conflist = |plugin: Value| {
        let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [plugin]});
        NetworkConfigList::parse(list.to_string().as_bytes()).unwrap()
    };
    for (plugin, remedy) in [
        (json!({"type": "vlan", "linkInContainer": true}), "a master on the host"),
        (json!({"type": "vrf", "vrfname": "red"}), "sbr"),
    ] {
        let text = carries_over(&conflist(plugin)).unwrap_err().to_string();
        assert!(text.contains(remedy) && text.contains("\"n\""), "{text}");
    }
    carries_over(&conflist(json!({"type": "macvlan", "linkInContainer": false}))).unwrap();
    carries_over(&conflist(json!({"type": "macvlan", "ipam": {"type": "dhcp"}}))).unwrap();
}

#[test]
fn the_daemon_of_dhcp_listens_where_the_conflist_says() {
    let socket = |ipam: Value| dhcp_socket(&list(&ipam, &json!({}))).map(Path::to_owned);
    let usual = Some("/run/cni/dhcp.sock".into());
    assert_eq!(socket(json!({"type": "dhcp"})), usual);
    assert_eq!(socket(json!({"type": "dhcp", "daemonSocketPath": ""})), usual);
    let own = json!({"type": "dhcp", "daemonSocketPath": "/run/own.sock"});
    assert_eq!(socket(own), Some("/run/own.sock".into()));
    assert_eq!(socket(json!({"type": "host-local", "daemonSocketPath": "/run/own.sock"})), None);
}

#[test]
fn the_host_name_for_dhcp_comes_from_the_argument_that_provide_names() {
    let key = |ipam: Value| dhcp_host_name_arg(&list(&ipam, &json!({}))).map(str::to_owned);
    let dhcp = |provide: Value| key(json!({"type": "dhcp", "provide": provide}));
    let from = |option: &str| json!([{"option": option, "fromArg": "hostname"}]);
    assert_eq!(dhcp(from("host-name")).as_deref(), Some("hostname"));
    assert_eq!(dhcp(from("12")).as_deref(), Some("hostname"));
    assert_eq!(dhcp(from("60")), None);
    let both = json!([{"option": "12", "value": "web"}, {"option": "host-name", "fromArg": "K8S_POD_NAME"}]);
    assert_eq!(dhcp(both).as_deref(), Some("K8S_POD_NAME"));
    assert_eq!(dhcp(json!([{"option": "host-name", "value": "web"}])), None);
    assert_eq!(dhcp(json!("host-name")), None);
    assert_eq!(key(json!({"type": "host-local", "provide": from("host-name")})), None);
}

#[test]
fn a_chain_that_takes_dockers_pools_is_refused_a_network_without_one() {
    let null = pools(json!([{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]));
    let pool = pools(json!([{"Pool": "10.22.0.0/16"}]));
    let open = list(&json!({"type": "host-local"}), &json!({"ipRanges": true}));
    serves(&open, &pool).unwrap();
    assert!(prospects(&open).needs_docker_ipam && !prospects(&host_local()).needs_docker_ipam);
    let text = serves(&open, &null).unwrap_err().to_string();
    assert!(text.contains("\"k8snet\""), "{text}");
    assert!(
        text.ends_with(
            "without --ipam-driver null (in a compose file: without ipam: {driver: \"null\"})"
        ),
        "{text}"
    );
    // Unless the user says which.
    let ranges = capabilities(json!({"ipRanges": [[{"subnet": "10.22.0.0/16"}]]}));
    crate::translate::serves(&open, &null, &ranges).unwrap();

    // Nothing could give this one ranges.
    let empty = list(&json!({"type": "host-local"}), &json!({"ips": true}));
    for pools in [&null, &pool] {
        let text = serves(&empty, pools).unwrap_err().to_string();
        assert!(text.contains("add \"ranges\""), "{text}");
    }
}

#[test]
fn a_chain_that_does_not_begin_with_an_interface_is_refused() {
    for plugins in [
        json!([{"type": "loopback"}]),
        json!([{"type": "portmap"}]),
        json!([{"type": "loopback"}, {"type": "tuning"}, {"type": "bridge"}]),
    ] {
        let text = attaches(&chain(plugins)).unwrap_err().to_string();
        assert!(text.starts_with("conflist \"n\" makes no interface for a container"), "{text}");
    }
    attaches(&chain(json!([{"type": "loopback"}, {"type": "bridge"}, {"type": "tuning"}])))
        .unwrap();
    attaches(&chain(json!([{"type": "nobody-knows"}]))).unwrap();
}

#[test]
fn a_version_that_is_not_published_is_refused() {
    for version in ["9.9.0", "1.0.5", "0.5.0"] {
        let list = json!({"cniVersion": version, "name": "n", "plugins": [{"type": "bridge"}]});
        let list = NetworkConfigList::parse(list.to_string().as_bytes()).unwrap();
        let text = attaches(&list).unwrap_err().to_string();
        assert!(text.contains(version) && text.contains("1.1.0"), "{text}");
    }
}

#[test]
fn containers_are_put_on_the_masters_of_macvlan_and_its_kin() {
    let plugins = json!([
        {"type": "macvlan", "master": "a"},
        {"type": "ipvlan", "master": ""},
        {"type": "vlan", "master": "b", "linkInContainer": true},
        {"type": "vlan", "master": "c"},
        {"type": "bridge", "master": "d"},
    ]);
    let chain = chain(plugins);
    assert_eq!(masters(&chain).collect::<Vec<_>>(), [("macvlan", "a"), ("vlan", "c")]);
}

#[test]
fn a_capability_that_no_plugin_declares_is_refused_with_the_nearest() {
    let chain = list(&json!({"type": "host-local"}), &json!({"ipRanges": true, "bandwidth": true}));
    declares(&chain, &capabilities(json!({"bandwidth": {}}))).unwrap();
    let text = |json| declares(&chain, &capabilities(json)).unwrap_err().to_string();
    assert_eq!(
        text(json!({"bandwith": {}})),
        "option cni.capability.bandwith: no plugin of conflist \"k8snet\" declares that capability, did \
         you mean \"bandwidth\"?; declared are bandwidth, ipRanges"
    );
    // As docker run --network name=…,driver-opt=… writes it.
    assert!(text(json!({"ipranges": []})).contains("did you mean \"ipRanges\"?"));
    assert!(text(json!({"nosuch": {}})).ends_with("capability; declared are bandwidth, ipRanges"));
    // At the endpoint too, where it may be the endpoint's own.
    let endpoint = EndpointOptions { chain: capabilities(json!({"x": 1})), ..Default::default() };
    let (none, interface) = (ChainOptions::default(), EndpointInterface::default());
    arguments(&chain, &none, &endpoint, &interface, &[]).unwrap_err();
}

#[test]
fn a_pool_that_host_local_has_is_served() {
    serves(&host_local(), &pools(json!([{"Pool": "10.22.0.0/16", "Gateway": "10.22.0.1/16"}])))
        .unwrap();
    serves(&host_local(), &pools(json!([{"Pool": "fd00:22::/64"}]))).unwrap();
    let old = list(&json!({"type": "host-local", "subnet": "10.22.0.0/16"}), &json!({}));
    serves(&old, &pools(json!([{"Pool": "10.22.0.0/16"}]))).unwrap();
}

#[test]
fn a_pool_that_docker_made_up_is_refused_with_what_would_work() {
    let error = serves(&host_local(), &pools(json!([{"Pool": "172.18.0.0/16"}]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "conflist \"k8snet\" cannot allocate from Docker's pool 172.18.0.0/16: it allocates from \
         10.22.0.0/16 and fd00:22::/64; let CNI choose the addresses, with --ipam-driver null (in a \
         compose file: ipam: {driver: \"null\"}), or Docker among the conflist's own, with --subnet \
         10.22.0.0/16 --gateway 10.22.0.1 (in a compose file: ipam: {config: [{subnet: \
         \"10.22.0.0/16\", gateway: \"10.22.0.1\"}]}); for a network with --config-from, say it where \
         the one with --config-only is made"
    );
}

#[test]
fn another_gateway_than_the_conflists_is_refused() {
    let ipam = json!({"type": "host-local", "subnet": "10.22.0.0/16", "gateway": "10.22.9.9"});
    let pool = pools(json!([{"Pool": "10.22.0.0/16", "Gateway": "10.22.0.1/16"}]));
    let text = serves(&list(&ipam, &json!({})), &pool).unwrap_err().to_string();
    assert!(text.contains("--subnet 10.22.0.0/16 --gateway 10.22.9.9"), "{text}");
}

#[test]
fn an_ipam_that_takes_no_addresses_is_refused_dockers_pool() {
    let pool = pools(json!([{"Pool": "10.22.0.0/16"}]));
    assert!(serves(&list(&json!({"type": "calico-ipam"}), &json!({})), &pool).is_err());
    serves(&list(&json!({"type": "other"}), &json!({"ips": true})), &pool).unwrap();
}

#[test]
fn the_conflists_gateway_is_reserved_one_way_or_another() {
    let pool = |gateway: &str, reserved: Value| {
        pools(json!([{"Pool": "10.22.0.0/16", "Gateway": gateway, "AuxAddresses": reserved}]))
    };
    let text = serves(&host_local(), &pool("10.22.128.0/16", json!({}))).unwrap_err().to_string();
    assert!(text.contains("--subnet 10.22.0.0/16 --gateway 10.22.0.1"), "{text}");
    serves(&host_local(), &pool("10.22.128.0/16", json!({"gw": "10.22.0.1/16"}))).unwrap();
}

#[test]
fn a_port_that_nobody_would_publish_is_refused_with_the_remedy() {
    let fixed = published(&json!([{"Proto": 6, "Port": 80, "HostPort": 8080}]));
    let chain = list(&json!({"type": "host-local"}), &json!({}));
    publishes(&chain, &[]).unwrap();
    let text = publishes(&chain, &fixed).unwrap_err().to_string();
    assert!(text.contains("8080:80/tcp") && text.contains("\"portmap\""), "{text}");
}

#[test]
fn leases_are_hidden_where_another_than_a_reference_plugin_keeps_them() {
    let hidden = [
        json!([{"type": "weave-net"}, {"type": "portmap"}]),
        json!([{"type": "flannel"}]),
        json!([{"type": "bridge", "ipam": {"type": "whereabouts"}}]),
    ];
    let seen = [
        json!([{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "other"}]),
        json!([{"type": "ptp", "ipam": {"type": "static"}}]),
        // Whose DEL fails for a device that it did not hand over.
        json!([{"type": "host-device", "device": "eth9"}, {"type": "bandwidth"}]),
    ];
    for plugins in hidden {
        assert!(hides_leases(&chain(plugins.clone())), "{plugins}");
    }
    for plugins in seen {
        assert!(!hides_leases(&chain(plugins.clone())), "{plugins}");
    }
}
