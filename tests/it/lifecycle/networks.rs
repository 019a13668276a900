//! Networks: made and removed, again and at once; and refused, in the words of `cnm-cni validate`.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use cnm_cni::lifecycle::{Driver, Error};
use serde_json::{Value, json};

use super::{Bench, NETWORK, files, read, scripted};
use crate::alone::{alone, sh};

#[test]
fn a_network_that_is_asked_for_again_while_it_is_made_is_made_once() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        let records = || files(&bench.config.state_dir.join("networks"));
        for round in 0..20 {
            let id = format!("n{round}");
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let (driver, request) =
                    (bench.driver.clone(), read(json!({"NetworkID": id.clone()})));
                calls.spawn(async move { driver.create_network(request).await });
            }
            for outcome in calls.join_all().await {
                outcome.unwrap();
            }
            assert_eq!(records().len(), 2, "{:?}", records());
            bench.driver.delete_network(read(json!({"NetworkID": id}))).await.unwrap();
        }
    });
}

#[test]
fn a_network_that_is_asked_for_again_is_not_one_too_many() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.config.maximum.networks = 1;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        bench.driver.create_network(read(json!({"NetworkID": NETWORK}))).await.unwrap();
        let another = bench.driver.create_network(read(json!({"NetworkID": "n2"}))).await;
        assert!(another.unwrap_err().to_string().contains("--max-networks"));
    });
}

impl Bench {
    /// The same with the scripted plugin by these names too.
    pub(super) fn with_plugins(self, types: &[&str]) -> Self {
        for plugin in types {
            let file = self.config.cni_path[1].join(plugin);
            symlink(self.config.cni_path[0].join("fake-plugin"), file).unwrap();
        }
        self
    }

    /// (Re)writes a conflist of that name.
    fn write(&self, file: &str, version: &str, plugins: &Value) {
        let name = file.split_once('-').unwrap().1.split('.').next().unwrap();
        let list = json!({"cniVersion": version, "name": name, "plugins": plugins});
        fs::write(self.config.conf_dir.join(file), list.to_string()).unwrap();
    }

    /// Makes a network, with Docker's IPAM or without.
    async fn create(&self, options: Value, pool: &str) -> Result<(), Error> {
        let options = json!({"com.docker.network.generic": options});
        let request = json!({"NetworkID": "n2", "Options": options, "IPv4Data": [{"Pool": pool}]});
        self.driver.create_network(read(request)).await
    }

    /// The output of `cnm-cni validate`, and its exit status.
    fn validate(&self, more: &[&str]) -> (bool, Vec<Value>) {
        let output = Command::new(env!("CARGO_BIN_EXE_cnm-cni"))
            .args(["validate", "--format", "json"])
            .args(more)
            .env("NETCONFPATH", &self.config.conf_dir)
            .env("CNI_PATH", std::env::join_paths(&self.config.cni_path).unwrap())
            .output()
            .unwrap();
        let mut json: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.success(), serde_json::from_value(json["networks"].take()).unwrap())
    }

    /// The conflist that the network was made on.
    async fn made_on(&self, options: Value) -> String {
        self.create(options, "0.0.0.0/0").await.unwrap();
        let record = self.config.state_dir.join("networks/n2.json");
        let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
        self.driver.delete_network(read(json!({"NetworkID": "n2"}))).await.unwrap();
        record["record"]["conflist"].as_str().unwrap().to_owned()
    }
}

#[test]
fn validate_says_of_a_conflist_what_create_network_says() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await.with_plugins(&[
            "macvlan", "ipvlan", "vlan", "dhcp", "bridge", "vrf", "loopback", "tuning",
        ]);
        sh("ip link add up0 type veth peer name up1");
        let old = bench.config.cni_path[1].join("old");
        let script = r#"echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.1"]}'"#;
        fs::write(&old, format!("#!/bin/sh\n{script}\n")).unwrap();
        sh(&format!("chmod +x {}", old.display()));
        let local = json!({"type": "host-local", "subnet": "10.5.0.0/24"});
        let refused = [
            ("9.9.0", json!([{"type": "bridge", "ipam": local}]), "9.9.0"),
            ("1.0.0", json!([{"type": "macvlan", "master": "gone0", "ipam": local}]), "\"gone0\""),
            ("1.0.0", json!([{"type": "ipvlan", "master": "gone0", "ipam": local}]), "\"gone0\""),
            ("1.0.0", json!([{"type": "vlan", "master": "gone0", "ipam": local}]), "\"gone0\""),
            ("1.0.0", json!([{"type": "vlan", "linkInContainer": true}]), "linkInContainer"),
            ("1.0.0", json!([{"type": "bridge"}, {"type": "vrf"}]), "\"vrf\""),
            ("1.0.0", json!([{"type": "bridge", "ipam": {"type": "host-local"}}]), "no ranges"),
            ("1.0.0", json!([{"type": "bridge", "ipam": {"type": "missing"}}]), "\"missing\""),
            ("1.0.0", json!([{"type": "old"}]), "only 0.3.1"),
            ("1.0.0", json!([{"type": "loopback"}]), "makes no interface"),
            ("1.0.0", json!([{"type": "tuning"}, {"type": "bridge"}]), "makes no interface"),
        ];
        for (version, plugins, words) in refused {
            bench.write("20-it.conflist", version, &plugins);
            let error = bench.create(json!({"conflist": "it"}), "0.0.0.0/0").await.unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("conflist \"it\"") && error.contains(words), "{error}");
            let (well, told) = bench.validate(&["it"]);
            assert!(!well && told[0]["ok"] == false, "{told:?}");
            let told: Vec<String> = serde_json::from_value(told[0]["problems"].clone()).unwrap();
            assert!(told.iter().any(|told| error.ends_with(told)), "not {error:?}, but {told:?}");
        }
        for plugins in [
            json!([{"type": "macvlan", "master": "up0", "ipam": local}]),
            json!([{"type": "loopback"}, {"type": "bridge", "ipam": local}]),
        ] {
            bench.write("20-it.conflist", "1.0.0", &plugins);
            assert_eq!(bench.made_on(json!({"conflist": "it"})).await, "it");
            let (well, told) = bench.validate(&["it"]);
            assert!(well && told[0]["ok"] == true, "{told:?}");
        }
        // Whether this network can be used depends on Docker's IPAM; validate says so.
        let open = json!([{"type": "bridge", "ipam": {"type": "host-local"},
                           "capabilities": {"ipRanges": true}}]);
        bench.write("20-it.conflist", "1.0.0", &open);
        let error = bench.create(json!({"conflist": "it"}), "0.0.0.0/0").await.unwrap_err();
        assert!(error.to_string().contains("without --ipam-driver null"), "{error}");
        bench.create(json!({"conflist": "it"}), "10.6.0.0/24").await.unwrap();
        let (well, told) = bench.validate(&["it"]);
        assert!(well && told[0]["needs_docker_ipam"] == true, "{told:?}");
    });
}

#[test]
fn a_plugin_that_does_not_report_its_versions_is_mentioned_and_not_refused() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        let mute = bench.config.cni_path[1].join("mute");
        fs::write(&mute, "#!/bin/sh\nexit 0\n").unwrap();
        sh(&format!("chmod +x {}", mute.display()));
        bench.write("20-it.conflist", "1.0.0", &json!([{"type": "mute"}]));
        assert_eq!(bench.made_on(json!({"conflist": "it"})).await, "it");
        let (well, told) = bench.validate(&["it"]);
        assert!(well && told[0]["ok"] == true, "{told:?}");
        let told = told[0]["warnings"][0].as_str().unwrap().to_owned();
        assert!(told.contains("mute") && told.contains("wrote nothing"), "{told}");
    });
}

#[test]
fn a_conflist_of_loopback_alone_is_no_default_and_refused_by_its_name() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))]))
            .await
            .with_plugins(&["loopback", "bridge", "portmap"]);
        let loopback = json!({"cniVersion": "0.3.1", "name": "lo", "type": "loopback"});
        let first = bench.config.conf_dir.join("00-loopback.conf");
        fs::write(&first, loopback.to_string()).unwrap();
        assert_eq!(bench.made_on(json!({})).await, "k8snet");
        let default = |told: &[Value]| {
            let told = told.iter().find(|told| told["default"] == true).unwrap();
            told["name"].as_str().unwrap().to_owned()
        };
        let (well, told) = bench.validate(&[]);
        assert!(well && told[0]["passed_over"] == true && told[0]["ok"] == false, "{told:?}");
        assert_eq!(default(&told), "k8snet");

        fs::remove_file(bench.config.conf_dir.join("10-k8snet.conflist")).unwrap();
        // The built-in one: a chain of the network's own.
        assert_eq!(bench.made_on(json!({})).await, "cnin2");
        let (well, told) = bench.validate(&[]);
        assert!(well && told.len() == 2, "{told:?}");
        assert_eq!(default(&told), "cnm-cni-default");

        let error = bench.create(json!({"conflist": "lo"}), "0.0.0.0/0").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "conflist \"lo\" makes no interface for a container: its plugins are loopback; a chain must \
                 begin with a plugin that makes one, such as bridge, ptp or macvlan"
        );
        let (well, told) = bench.validate(&["lo"]);
        assert!(!well && told[0]["passed_over"] == false, "{told:?}");
    });
}

#[test]
fn an_option_that_nothing_would_come_of_is_refused() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        for (options, words) in [
            (json!({"confilst": "k8snet"}), "did you mean \"conflist\"?"),
            (json!({"Conflist": "k8snet"}), "did you mean \"conflist\"?"),
            (
                json!({"com.docker.network.driver.mut": "1400"}),
                "did you mean \"com.docker.network.driver.mtu\"?",
            ),
            (json!({"parent": "eth0"}), "\"master\" of macvlan"),
            (json!({"cni.capability.nosuch": "{}"}), "no plugin of conflist \"k8snet\" declares"),
            (json!({"cni.capability.isp": "[]"}), "did you mean \"ips\"?"),
        ] {
            let error = bench.create(options.clone(), "0.0.0.0/0").await.unwrap_err().to_string();
            assert!(error.contains(words), "{options}: {error}");
            let mut request = json!({"NetworkID": NETWORK, "EndpointID": "e1"});
            request["Options"] = options;
            bench.driver.create_endpoint(read(request)).await.unwrap_err();
        }
        bench.assert_nothing_is_left();
    });
}
