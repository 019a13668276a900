//! ADD, CHECK, DEL, and DEL once more: of every plugin that runs on any machine.
//!
//! ipvlan, vlan, dummy and vrf need kernel modules that not every machine has.

use cnm_cni::cni::{Attachment, Error};
use serde_json::json;

use super::super::attachment;
use super::super::netns::Netns;
use super::{Host, on_a_host_of_its_own, releases, run};

/// What is attached by a test of this folder. host-device and sbr are in `quirks`.
const ATTACHED: [&str; 14] = [
    "bandwidth",
    "bridge",
    "dhcp",
    "firewall",
    "host-device",
    "host-local",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "sbr",
    "static",
    "tap",
    "tuning",
];
/// What is not: four for the kernel's sake, and one that is Debian's own.
const NOT_ATTACHED: [&str; 5] = ["cni-bridge-fp", "dummy", "ipvlan", "vlan", "vrf"];

#[test]
fn every_plugin_of_a_release_is_accounted_for() {
    for release in releases() {
        for plugin in std::fs::read_dir(release.folder).unwrap() {
            let name = plugin.unwrap().file_name().into_string().unwrap();
            let known = ATTACHED.iter().chain(&NOT_ATTACHED).any(|known| *known == name);
            assert!(known, "no test attaches {name}");
        }
    }
}

/// 1.1.1 looks for the rules of IPv4 among those of IPv6 too, and never finds them.
fn assert_passes_but_for_portmap(host: &Host, checked: &Result<(), Error>) {
    match checked {
        Err(error) if host.release.is_1_1_1() => {
            assert_eq!(error.plugin().unwrap().plugin, "portmap");
            assert!(error.to_string().contains("could not check ipv6 dnat"), "{error}");
        }
        Err(error) => panic!("{error}"),
        Ok(()) => {}
    }
}

#[test]
fn a_bridge_with_everything_that_chains_to_it() {
    on_a_host_of_its_own(async |host| {
        let plugins = json!([
            {"type": "bridge", "bridge": "br0", "isGateway": true, "ipMasq": true,
             "hairpinMode": true, "ipam": host.dual_stack()},
            {"type": "tuning", "capabilities": {"mac": true},
             "sysctl": {"net.core.somaxconn": "500"}, "mtu": 1400},
            {"type": "firewall", "backend": "iptables"},
            {"type": "bandwidth", "capabilities": {"bandwidth": true}},
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ]);
        let capability_args = json!({
            "portMappings": [{"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 1_000_000,
                          "egressRate": 1_000_000, "egressBurst": 1_000_000},
            "mac": "02:00:00:00:88:01",
        });
        host.attach(plugins, capability_args, |netns, attached| {
            assert_passes_but_for_portmap(host, &attached.checked);
            assert_eq!(attached.leases, 2);
            let link = netns.ip(&["addr", "show", "dev", "eth0"]);
            assert!(link.contains("10.88.0.2/24"), "{link}");
            assert!(link.contains("02:00:00:00:88:01") && link.contains("mtu 1400"), "{link}");
            let iptables = run("iptables-save", &[]);
            assert!(iptables.contains("--to-destination 10.88.0.2:80"), "{iptables}");
            assert!(iptables.contains("-s 10.88.0.2/32"), "{iptables}");
            assert!(run("tc", &["qdisc"]).contains("tbf"));
        })
        .await;
        assert!(!run("tc", &["qdisc"]).contains("tbf"));
    });
}

#[test]
fn a_point_to_point_link() {
    on_a_host_of_its_own(async |host| {
        let plugins = json!([{"type": "ptp", "ipMasq": true, "ipam": host.dual_stack()}]);
        host.attach(plugins, json!({}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert_eq!(attached.leases, 2);
            assert_eq!(attached.result["ips"].as_array().unwrap().len(), 2);
            let link = netns.ip(&["addr", "show", "dev", "eth0"]);
            assert!(link.contains("10.88.0.2/24") && link.contains("fd00:88::2/64"), "{link}");
            assert!(netns.ip(&["route"]).contains("default via 10.88.0.1"));
        })
        .await;
    });
}

#[test]
fn a_macvlan_with_an_address_that_the_runtime_chose() {
    on_a_host_of_its_own(async |host| {
        run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        run("ip", &["link", "set", "up0", "up"]);
        let plugins = json!([{
            "type": "macvlan", "master": "up0", "mode": "bridge",
            "capabilities": {"ips": true}, "ipam": {"type": "static"},
        }]);
        host.attach(plugins, json!({"ips": ["10.88.0.77/24"]}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert!(netns.ip(&["-d", "addr", "show", "dev", "eth0"]).contains("10.88.0.77/24"));
        })
        .await;
    });
}

#[test]
fn a_loopback_interface() {
    on_a_host_of_its_own(async |host| {
        host.attach(json!([{"type": "loopback"}]), json!({}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert!(netns.ip(&["link", "show", "dev", "lo"]).contains("UP"));
        })
        .await;
    });
}

#[test]
fn a_tap_device() {
    on_a_host_of_its_own(async |host| {
        if !host.has("tap") {
            // It came with 1.4.0.
            return;
        }
        let ipam = json!({"type": "static", "addresses": [{"address": "10.88.0.7/24"}]});
        let plugins = json!([{"type": "tap", "ipam": ipam}]);
        host.attach(plugins, json!({}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert!(netns.ip(&["-d", "link", "show", "dev", "eth0"]).contains("tap"));
        })
        .await;
    });
}

#[test]
fn r35_what_a_failed_add_leaves_behind_is_removed_by_del() {
    on_a_host_of_its_own(async |host| {
        let plugins = json!([
            {"type": "bridge", "bridge": "br0", "ipMasq": true, "isGateway": true,
             "ipam": host.host_local()},
            {"type": "tuning", "sysctl": {"net.ipv4.no.such.thing": "1"}},
        ]);
        let (list, runtime) = (host.list(plugins), host.runtime());
        let netns = Netns::new();
        let to = Attachment { netns: Some(netns.path()), ..attachment() };
        let error = runtime.add(&list, &to).await.unwrap_err();
        assert_eq!(error.plugin().unwrap().plugin, "tuning");
        assert!(error.needs_del() && host.leases().len() == 1);
        runtime.del(&list, &to, None).await.unwrap();
    });
}
