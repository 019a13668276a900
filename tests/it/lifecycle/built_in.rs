//! Networks with their own chain: what they get, and that it is removed with them.

use std::fs;
use std::path::PathBuf;

use cnm_cni::lifecycle::{Collection, Driver, Outcome};
use serde_json::{Value, json};

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
        let rules = isolation();
        assert!(rules.contains("-i cnia1 ! -o cnia1") && rules.contains("-o cnia2 -j DROP"));
        bench.rm("a1").await;
        assert!(!isolation().contains("cnia1"));
        assert_eq!(subnets(&bench.own("a3", json!({"isolate": "false"})).await)[0], first[0]);
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
fn a_driver_that_starts_writes_the_rules_again() {
    alone(async {
        let mut bench = bare().await;
        bench.own("a1", json!({})).await;
        let rules = isolation();
        for damage in ["-F", "-D FORWARD -j CNM-CNI-ISOLATE", "-F CNM-CNI-ISOLATE-IN"] {
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
