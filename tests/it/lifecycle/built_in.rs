//! Networks with their own chain: what they get, and that it is removed with them.

use std::fs;
use std::path::PathBuf;

use cnm_cni::lifecycle::{Collection, Driver, Outcome};
use serde_json::{Value, json};

use super::host::replace;
use super::{Bench, read, scripted};
use crate::alone::{alone, sh};

/// A driver without a conflist.
pub(super) async fn bare() -> Bench {
    let bench =
        Bench::with(json!([scripted(json!({}))])).await.with_plugins(&["bridge", "portmap"]);
    bench.driver.delete_network(read(json!({"NetworkID": super::NETWORK}))).await.unwrap();
    fs::remove_file(bench.config.conf_dir.join("10-k8snet.conflist")).unwrap();
    bench
}

impl Bench {
    fn network_record(&self, id: &str) -> PathBuf {
        self.config.state_dir.join(format!("networks/{id}.json"))
    }

    /// Makes a network without Docker's IPAM, and gives its record.
    pub(super) async fn own(&self, id: &str, options: Value) -> Value {
        let options = json!({"com.docker.network.generic": options,
                             "com.docker.network.enable_ipv6": true});
        let request = json!({"NetworkID": id, "Options": options,
                             "IPv4Data": [{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]});
        self.driver.create_network(read(request)).await.unwrap();
        let record: Value =
            serde_json::from_slice(&fs::read(self.network_record(id)).unwrap()).unwrap();
        record["record"].clone()
    }

    pub(super) async fn rm(&self, id: &str) {
        self.driver.delete_network(read(json!({"NetworkID": id}))).await.unwrap();
    }
}

fn subnets(record: &Value) -> Vec<String> {
    let ranges = &record["own_chain"]["plugins"][0]["ipam"]["ranges"];
    let ranges = ranges.as_array().unwrap().iter();
    ranges.map(|set| set[0]["subnet"].as_str().unwrap().to_owned()).collect()
}

fn isolation() -> String {
    sh("iptables -t mangle -S; ip6tables -t mangle -S")
}

#[test]
fn each_network_has_a_bridge_and_free_subnets_of_its_own() {
    alone(async {
        let bench = bare().await;
        sh("ip route add 10.233.144.0/25 dev lo; ip route add 10.233.146.0/23 dev lo");
        let one = bench.own("a1", json!({})).await;
        let two = bench.own("a2", json!({})).await;
        let (first, second) = (subnets(&one), subnets(&two));
        assert_eq!((&*first[0], &*second[0]), ("10.233.145.0/24", "10.233.148.0/24"));
        assert!(first[1].starts_with("fd") && first[1].ends_with("::/64") && first[1] != second[1]);
        assert_eq!(one["own_chain"]["plugins"][0]["bridge"], "cnia1");
        // Docker asks again when it got no answer.
        assert_eq!(subnets(&bench.own("a1", json!({})).await), first);
        let told = bench.driver.inventory().await.unwrap();
        let of_first = told.conflists.iter().find(|it| it.conflist == told.networks[0].conflist);
        let pools: Vec<_> =
            of_first.unwrap().pools.iter().map(|pool| pool.subnet.to_string()).collect();
        assert_eq!(pools, first);
        let rules = isolation();
        assert!(rules.contains("-i cnia1 ! -o cnia1") && rules.contains("-o cnia2 -j DROP"));
        bench.rm("a1").await;
        assert!(!isolation().contains("cnia1"));
        let options = json!({"isolate": "false", "com.docker.network.bridge.name": "mine",
                             "com.docker.network.bridge.enable_ip_masquerade": "false"});
        assert_eq!(subnets(&bench.own("a3", options.clone()).await)[0], first[0]);
        let told = bench.driver.inventory().await.unwrap().networks.remove(1);
        assert_eq!(json!(told.options), options);
        bench.rm("a2").await;
        assert!(!isolation().contains("CNM-CNI"), "{}", isolation());
        bench.rm("a3").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_a_network_has_goes_with_it_also_after_a_crash_and_no_sooner_than_its_attachments() {
    alone(async {
        let mut bench = bare().await;
        let leases = PathBuf::from("/var/lib/cni/networks/cnia1");
        for crash in [false, true] {
            bench.own("a1", json!({})).await;
            // As the plugins make them.
            sh("ip link add cnia1 type bridge");
            fs::create_dir_all(&leases).unwrap();
            if crash {
                // The driver died after it had noted that the network goes.
                let file = bench.network_record("a1");
                let text = fs::read_to_string(&file).unwrap();
                assert!(text.contains("\"removed\":false"), "{text}");
                fs::write(&file, text.replace("\"removed\":false", "\"removed\":true")).unwrap();
                bench.restart().await;
            } else {
                bench.rm("a1").await;
            }
            assert!(!bench.network_record("a1").exists() && !leases.exists());
            assert_eq!(sh("ls /sys/class/net").trim(), "lo");
            assert!(!isolation().contains("CNM-CNI"));
        }
    });
}

#[test]
fn a_network_that_is_made_again_before_its_bridge_is_gone_keeps_its_subnets() {
    alone(async {
        let bench = bare().await;
        let named = json!({"com.docker.network.bridge.name": "mine"});
        let first = bench.own("a1", named.clone()).await;
        let gateway = subnets(&first)[0].replace(".0/24", ".1/24");
        sh(&format!(
            "ip link add mine type bridge; ip addr add {gateway} dev mine; ip link set mine up"
        ));
        // Of an attachment whose record cannot be read, so that nobody knows where its interface is.
        let unread = "attachments/67e5504410b1426f9247bb680e5fe0c8.json";
        let unread = bench.config.state_dir.join(unread);
        fs::write(&unread, "").unwrap();
        bench.rm("a1").await;
        assert!(bench.network_record("a1").exists());
        assert_eq!(bench.driver.inventory().await.unwrap().networks, []);
        // As a swarm does when a task comes to this host again.
        let again = bench.own("a1", named).await;
        assert_eq!((&again["own_chain"], &again["removed"]), (&first["own_chain"], &json!(false)));
        fs::remove_file(unread).unwrap();
        bench.rm("a1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_network_is_kept_apart_on_a_kernel_without_ipv6() {
    alone(async {
        let bench = bare().await;
        // As ip6tables-legacy says it under ipv6.disable=1.
        let says = "can't initialize ip6tables table: Address family not supported by protocol";
        replace("ip6tables", &format!("#!/bin/sh\necho \"{says}\" >&2\nexit 3\n"));
        bench.own("a1", json!({})).await;
        assert!(sh("iptables -t mangle -S").contains("-o cnia1 -j DROP"));
        let wanted = Collection { apply: false, grace: 0, exclusive: false };
        assert_eq!(bench.driver.collect(&wanted).await.unwrap(), []);
        bench.rm("a1").await;
        assert!(!sh("iptables -t mangle -S").contains("CNM-CNI"));
    });
}

#[test]
fn two_drivers_leave_each_others_rules_alone() {
    alone(async {
        let (one, mut other) = (bare().await, bare().await);
        one.own("a1", json!({})).await;
        other.restart().await;
        other.own("b1", json!({})).await;
        one.own("a2", json!({})).await;
        let rules = isolation();
        for bridge in ["cnia1", "cnia2", "cnib1"] {
            assert!(rules.contains(&format!("-o {bridge} -j DROP")), "{bridge}: {rules}");
        }
        other.rm("b1").await;
        assert!(isolation().contains("-o cnia1 -j DROP") && !isolation().contains("cnib1"));
        one.rm("a1").await;
        one.rm("a2").await;
        assert!(!isolation().contains("CNM-CNI"), "{}", isolation());
    });
}

#[test]
fn a_driver_that_starts_writes_the_rules_again() {
    alone(async {
        let mut bench = bare().await;
        bench.own("a1", json!({})).await;
        let rules = isolation();
        let lead = rules.lines().find_map(|rule| rule.strip_prefix("-A FORWARD -j ")).unwrap();
        let received = lead.replace("ISOLATE", "ISOLATE-IN");
        for damage in ["-F".into(), format!("-D FORWARD -j {lead}"), format!("-F {received}")] {
            sh(&format!("iptables -t mangle {damage}"));
            bench.restart().await;
            assert_eq!(isolation(), rules, "after {damage}");
        }
        bench.rm("a1").await;
    });
}

#[test]
fn networks_of_version_0_1_0_keep_the_chain_that_they_share() {
    alone(async {
        let bench = bare().await;
        let record = json!({"version": 1, "record": {
            "id": "old", "conflist": "cnm-cni-default", "options": {}, "pools": []}});
        fs::write(bench.network_record("old"), record.to_string()).unwrap();
        let driver = Driver::open(bench.config.clone()).await.unwrap();
        let request = json!({"NetworkID": "old", "EndpointID": "e1", "Interface": {}});
        // The scripted plugin is not the real one, so ADD fails; but not because a chain is missing.
        let error = driver.create_endpoint(read(request)).await.unwrap_err().to_string();
        assert!(!error.contains("no network configuration"), "{error}");
        driver.delete_network(read(json!({"NetworkID": "old"}))).await.unwrap();
        assert!(!bench.network_record("old").exists());
        assert!(!isolation().contains("CNM-CNI"));
    });
}

#[test]
fn a_bridge_without_a_network_on_record_is_garbage_only_when_that_is_asked_for() {
    alone(async {
        let bench = bare().await;
        bench.own("a1", json!({})).await;
        sh("ip link add cni0123456789ab type bridge; ip link add cnia1 type bridge");
        let collect = async |grace| {
            let wanted = Collection { apply: true, grace, exclusive: false };
            bench.driver.collect(&wanted).await.unwrap()
        };
        let findings = collect(600).await;
        assert!(matches!(&findings[..], [one] if matches!(one.outcome, Outcome::Kept(_))));
        assert_eq!(collect(0).await[0].outcome, Outcome::Removed);
        assert_eq!(sh("ls /sys/class/net").split_whitespace().collect::<Vec<_>>(), ["cnia1", "lo"]);
        bench.rm("a1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}
