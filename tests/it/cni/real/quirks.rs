//! What the plugins do differently than one would think, and the engine's users have to know.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use cnm_cni::cni::{Attachment, NetworkConfigList};
use serde_json::{Value, json};

use super::super::attachment;
use super::super::netns::Netns;
use super::{Host, on_a_host_of_its_own, releases, run};

fn static_address() -> Value {
    json!({"type": "static", "addresses": [{"address": "10.88.0.7/24"}]})
}

/// What a plugin answers to DEL that nobody but this test calls.
fn del_alone(host: &Host, plugin: &Value, netns: &Path) -> Value {
    let mut stdin = plugin.clone();
    stdin["cniVersion"] = json!(host.release.version);
    stdin["name"] = "net".into();
    let mut child = Command::new(host.release.folder.join(plugin["type"].as_str().unwrap()))
        .env("CNI_COMMAND", "DEL")
        .env("CNI_CONTAINERID", "c1")
        .env("CNI_NETNS", netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", &host.release.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn r36_a_device_of_the_host_comes_back_and_the_second_del_fails_in_the_plugin_itself() {
    on_a_host_of_its_own(async |host| {
        run("ip", &["link", "add", "hd0", "type", "veth", "peer", "name", "hd1"]);
        let plugin = json!({"type": "host-device", "device": "hd0", "ipam": static_address()});
        let again = host.attach_with(json!([plugin]), json!({}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert!(netns.ip(&["addr", "show", "dev", "eth0"]).contains("10.88.0.7/24"));
        });
        let error = again.await.unwrap_err();
        assert!(run("ip", &["link"]).contains("hd0"));
        let alone = del_alone(host, &plugin, &Netns::new().path());
        assert!(alone["msg"].as_str().unwrap().contains("Link not found"), "{alone}");
        assert!(error.to_string().ends_with(alone["msg"].as_str().unwrap()), "{error}\n{alone}");
    });
}

#[test]
fn r36_l62_source_based_routing_fails_the_check_before_it_and_in_1_1_1_its_own_second_del() {
    on_a_host_of_its_own(async |host| {
        let sbr = json!({"type": "sbr"});
        let bridge = json!({
            "type": "bridge", "bridge": "br0", "isGateway": true, "ipam": host.host_local(),
        });
        let again = host.attach_with(json!([bridge, sbr]), json!({}), |netns, attached| {
            let error = attached.checked.as_ref().unwrap_err();
            assert_eq!(error.plugin().unwrap().plugin, "bridge");
            assert!(netns.ip(&["rule"]).contains("from 10.88.0.2 lookup 100"));
        });
        let again = again.await;
        if !host.release.is_1_1_1() {
            return again.unwrap();
        }
        let error = again.unwrap_err();
        let alone = del_alone(host, &sbr, &Netns::new().path());
        assert!(alone["msg"].as_str().unwrap().contains("Link not found"), "{alone}");
        assert!(error.to_string().ends_with(alone["msg"].as_str().unwrap()), "{error}\n{alone}");
    });
}

#[test]
fn l62_a_bridge_without_addresses_does_not_pass_its_check() {
    on_a_host_of_its_own(async |host| {
        let plugins = json!([{"type": "bridge", "bridge": "br0"}]);
        host.attach(plugins, json!({}), |_, attached| {
            let error = attached.checked.as_ref().unwrap_err();
            assert_eq!(error.plugin().unwrap().plugin, "bridge");
        })
        .await;
    });
}

#[test]
fn l33_a_plugin_refuses_the_namespace_that_it_runs_in() {
    on_a_host_of_its_own(async |host| {
        if host.release.is_1_1_1() {
            // It works there, on the host itself.
            return;
        }
        let (list, runtime) = (host.list(json!([{"type": "loopback"}])), host.runtime());
        let own = Attachment { netns: Some("/proc/self/ns/net".into()), ..attachment() };
        let error = runtime.add(&list, &own).await.unwrap_err();
        assert_eq!(error.code(), Some(8), "{error}");
        assert!(error.needs_del());
    });
}

#[tokio::test]
async fn l36_the_plugins_report_the_oldest_version_that_they_take() {
    for release in releases() {
        let runtime = cnm_cni::cni::Runtime::new(vec![release.folder.clone()], Default::default());
        for plugin in std::fs::read_dir(&release.folder).unwrap() {
            let name = plugin.unwrap().file_name().into_string().unwrap();
            let oldest = match name.as_str() {
                "bandwidth" => "0.3.0",
                "vrf" => "0.3.1",
                "firewall" => "0.4.0",
                _ => "0.1.0",
            };
            let versions = runtime.version(&name).await.unwrap();
            assert_eq!(versions.first().unwrap(), oldest, "{name}");
            assert_eq!(versions.last().unwrap(), &release.version, "{name}");
        }
    }
}

#[test]
fn l59_a_route_gets_its_metric_and_no_mtu() {
    on_a_host_of_its_own(async |host| {
        if host.release.is_1_1_1() {
            // Routes had nothing but a destination and a gateway.
            return;
        }
        let mut ipam = static_address();
        ipam["routes"] = json!([{
            "dst": "10.99.0.0/16", "gw": "10.88.0.1", "mtu": 1200, "advmss": 1000, "priority": 77,
        }]);
        let plugins = json!([{"type": "bridge", "bridge": "br0", "ipam": ipam}]);
        host.attach(plugins, json!({}), |netns, attached| {
            assert_eq!(attached.result["routes"][0]["mtu"], 1200);
            let route = netns.ip(&["route", "show", "10.99.0.0/16"]);
            assert!(route.contains("metric 77"), "{route}");
            assert!(!route.contains("mtu") && !route.contains("advmss"), "{route}");
        })
        .await;
    });
}

#[test]
fn l60_a_bridge_leaves_the_dns_of_its_ipam_plugin_and_a_macvlan_does_not() {
    on_a_host_of_its_own(async |host| {
        run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        run("ip", &["link", "set", "up0", "up"]);
        let mut ipam = static_address();
        ipam["dns"] = json!({"nameservers": ["9.9.9.9"]});
        let bridge = json!({"type": "bridge", "bridge": "br0", "ipam": ipam});
        let macvlan = json!({"type": "macvlan", "master": "up0", "ipam": ipam});
        let own = json!({"nameservers": ["8.8.8.8"]});
        let with_own = |mut plugin: Value| {
            plugin["dns"] = own.clone();
            plugin
        };
        let cases = [
            // As a macvlan does, 1.1.1 does.
            (
                bridge.clone(),
                if host.release.is_1_1_1() { Value::Null } else { ipam["dns"].clone() },
            ),
            (with_own(bridge), own.clone()),
            (macvlan.clone(), Value::Null),
            (with_own(macvlan), own.clone()),
        ];
        for (plugin, expected) in cases {
            host.attach(json!([plugin]), json!({}), |_, attached| {
                assert_eq!(attached.result["dns"], expected, "{plugin}");
            })
            .await;
        }
    });
}

#[test]
fn l61_gc_frees_nothing() {
    on_a_host_of_its_own(async |host| {
        let plugins = json!([{"type": "bridge", "bridge": "br0", "ipam": host.host_local()}]);
        let list: NetworkConfigList = host.list(plugins);
        let runtime = host.runtime();
        let netns = Netns::new();
        let to = Attachment { netns: Some(netns.path()), ..attachment() };
        let result = runtime.add(&list, &to).await.unwrap();
        runtime.gc(&list, &[]).await.unwrap();
        assert_eq!(host.leases().len(), 1);
        assert!(netns.ip(&["link"]).contains("eth0"));
        runtime.del(&list, &to, Some(&result)).await.unwrap();
    });
}
