//! What follows a failed ADD, what is done before DeleteEndpoint is answered, and how new endpoints wait
//! for removals.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use cnm_cni::lifecycle::{Driver, orphans};
use serde_json::{Value, json};

use super::{Bench, NETWORK, SANDBOX, gone, read, scripted, until};
use crate::alone::{alone, sh};

/// Makes scripted plugins of these types, and a chain of them.
async fn bench(types: &[&str], chain: Value) -> Bench {
    let bench = Bench::in_background(json!([scripted(json!({}))])).await;
    let folder = &bench.config.cni_path[1];
    for plugin in types {
        symlink(bench.config.cni_path[0].join("fake-plugin"), folder.join(plugin)).unwrap();
    }
    bench.write_conflist(chain);
    bench
}

/// As `scripted`, with the type of a plugin whose traces are known.
fn known(plugin_type: &str, more: Value) -> Value {
    let mut plugin = scripted(more);
    plugin["type"] = plugin_type.into();
    plugin
}

async fn create(bench: &Bench, id: &str, more: &Value) -> Result<(), String> {
    let mut request = more.clone();
    request["NetworkID"] = NETWORK.into();
    request["EndpointID"] = id.into();
    let made = bench.driver.create_endpoint(read(request)).await;
    made.map(drop).map_err(|error| error.to_string())
}

fn count(bench: &Bench, verb: &str) -> usize {
    bench.verbs().iter().filter(|it| *it == verb).count()
}

#[test]
fn r21_what_add_answered_reaches_del_whatever_failed_beside_it() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        // A file is at the path of the fresh namespace.
        let fresh = bench.config.run_dir.join("netns/fresh");
        fs::create_dir_all(&fresh).unwrap();
        let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
        assert!(error.contains("fresh"), "{error}");
        let calls = bench.calls();
        let [add, del] = calls.as_slice() else { panic!("{calls:?}") };
        assert_eq!((&add["command"], &del["command"]), (&json!("ADD"), &json!("DEL")));
        assert_eq!(del["stdin"]["prevResult"]["ips"][0]["address"], "10.22.3.7/16");
        fs::remove_dir(&fresh).unwrap();
        bench.assert_nothing_is_left();
    });
}

#[test]
fn r35_where_no_plugin_was_run_none_is_run_for_the_undo_and_no_orphan_is_made() {
    alone(async {
        let bench = bench(&[], json!([scripted(json!({})), {"type": "gone-plugin"}])).await;
        let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
        assert!(error.contains("gone-plugin") && !error.contains("undoing"), "{error}");
        assert_eq!(bench.verbs(), [] as [String; 0]);
        bench.assert_nothing_is_left();

        // Nor is a plugin that reports an unknown container.
        let refusal = json!({"exit": 1, "stdout": {"code": 3, "msg": "who?"}});
        bench.write_conflist(json!([scripted(json!({"ADD": refusal, "DEL": refusal}))]));
        bench.create_endpoint("e1").await.unwrap_err();
        assert_eq!(bench.verbs(), ["ADD"]);
        bench.assert_nothing_is_left();

        // The staging namespace cannot be made.
        bench.write_conflist(json!([scripted(json!({}))]));
        sh("mkdir -p /run/aside");
        let netns = bench.config.run_dir.join("netns");
        fs::rename(&netns, "/run/aside/netns").unwrap();
        fs::write(&netns, "").unwrap();
        bench.create_endpoint("e1").await.unwrap_err();
        fs::remove_file(&netns).unwrap();
        fs::rename("/run/aside/netns", &netns).unwrap();
        assert_eq!(bench.verbs(), ["ADD"]);
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn r36_a_failed_add_that_left_nothing_is_forgotten_though_del_fails() {
    alone(async {
        let refusal = json!({"exit": 1, "stdout": {"code": 999, "msg": "no ranges"}});
        let refuses = json!({"ADD": refusal, "DEL": refusal});
        let bridge = known("bridge", refuses.clone());
        // A plugin that ADD did not run has left nothing, whatever plugin it is.
        let chains = [json!([bridge]), json!([bridge, {"type": "fake-plugin"}])];
        let bench = bench(&["bridge"], chains[0].clone()).await;
        for chain in chains {
            bench.write_conflist(chain);
            let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
            assert!(error.contains("no ranges") && !error.contains("undoing"), "{error}");
            assert_eq!(orphans(&bench.config.state_dir).unwrap(), []);
            bench.assert_nothing_is_left();
        }
        // An interface in staging is the plugin's own, and is removed with staging.
        let after_work = json!({"exit": 1, "after_work": true});
        bench.write_conflist(json!([known("bridge", json!({"ADD": after_work, "DEL": refusal}))]));
        bench.create_endpoint("e1").await.unwrap_err();
        until(|| sh("ls /sys/class/net").trim() == "lo").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn r36_what_may_be_left_on_the_host_stays_an_orphan() {
    alone(async {
        const LEASE: &str = "mkdir -p /var/lib/cni/networks/k8snet; \
            printf '%s\\r\\n{ifname}' $CNI_CONTAINERID >/var/lib/cni/networks/k8snet/10.22.0.5";
        const RULE: &str = "nsenter --net=/proc/$PPID/ns/net iptables -t nat -A POSTROUTING \
            -m comment --comment \"id: $CNI_CONTAINERID\" -j ACCEPT";
        const BACKUP: &str =
            "mkdir -p /run/cni/tuning; touch /run/cni/tuning/${CNI_CONTAINERID}_{ifname}.json";
        let failing = |commands: &[&str]| {
            json!({"ADD": {"exit": 1, "after_work": true}, "DEL": {"exit": 1, "times": 1},
                   "commands": commands})
        };
        let with_lease = |commands: &[&str]| {
            let mut plugin = known("bridge", failing(commands));
            plugin["ipam"] = json!({"type": "host-local", "subnet": "10.22.0.0/16"});
            plugin
        };
        let mut tuning = known("tuning", failing(&[BACKUP]));
        tuning["fake"]["interface"] = json!(false);
        let tuning = json!([{"type": "bridge", "fake": {"interface": true}}, tuning]);
        let mut foreign = known("bridge", failing(&[]));
        foreign["ipam"] = json!({"type": "fake-plugin"});
        let list = "iptables=$(command -v iptables); touch /run/none; chmod 755 /run/none; \
            printf '#!/bin/sh\\nexit 4\\n' >/run/none; mount --bind /run/none $(realpath $iptables)";
        let cases = [
            ("a lease", with_lease(&[LEASE]), "", "rm -r /var/lib/cni"),
            ("a rule", known("bridge", failing(&[RULE])), "", "iptables -t nat -F"),
            ("a file", tuning, "", "rm -r /run/cni"),
            ("a device of the host", known("host-device", failing(&[])), "", "true"),
            ("a plugin that nobody knows", scripted(failing(&[])), "", "true"),
            ("addresses that nobody knows", foreign, "", "true"),
            (
                "leases that cannot be read",
                with_lease(&[]),
                "mkdir -p /var/lib/cni/networks; touch /var/lib/cni/networks/k8snet",
                "rm -r /var/lib/cni",
            ),
            (
                "rules that cannot be read",
                known("bridge", failing(&[])),
                list,
                "umount $(realpath $(command -v iptables))",
            ),
        ];
        let bench = bench(&["bridge", "tuning", "host-device"], json!([cases[0].1])).await;
        for (what, plugin, before, after) in cases {
            fs::remove_file(bench.log()).ok();
            bench.write_conflist(if plugin.is_array() { plugin } else { json!([plugin]) });
            sh(before);
            let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
            sh(after);
            assert!(error.contains("undoing it failed"), "{what}: {error}");
            until(|| bench.records().is_empty()).await;
            assert_eq!(bench.verbs(), ["ADD", "DEL", "DEL"], "{what}");
            until(|| sh("ls /sys/class/net").trim() == "lo").await;
        }
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn the_file_of_tuning_goes_with_the_attachment_also_where_the_plugin_leaves_it() {
    alone(async {
        // As ADD leaves it if it is killed as it writes: DEL cannot read it, and succeeds.
        let half = "mkdir -p /run/cni/tuning; cd /run/cni/tuning; touch other_eth0.json; \
            printf '{\"mac\":' >${CNI_CONTAINERID}_{ifname}.json";
        let mut tuning = known("tuning", json!({"commands": [half]}));
        tuning["fake"]["interface"] = json!(false);
        let chain = json!([{"type": "bridge", "fake": {"interface": true}}, tuning]);
        let bench = bench(&["bridge", "tuning"], chain).await;
        bench.create_endpoint("e1").await.unwrap();
        assert_eq!(sh("ls /run/cni/tuning | wc -l").trim(), "2");
        bench.delete_endpoint("e1").await;
        until(|| bench.records().is_empty()).await;
        assert_eq!(sh("ls /run/cni/tuning").trim(), "other_eth0.json");
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_docker_could_not_take_out_outlives_its_container_until_its_turn_comes() {
    alone(async {
        let plugin = scripted(json!({"DEL": {"sleep_ms": 1000}}));
        let mut bench = Bench::in_background(json!([plugin])).await;
        // One plugin at a time, and so one removal.
        bench.config.limits.parallel = 1;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        bench.create_endpoint("e1").await.unwrap();
        bench.create_endpoint("e2").await.unwrap();
        let name = bench.enter("e2").await;
        sh(&format!("nsenter --net={SANDBOX} ip link set eth0 alias the-same"));
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        // Docker removes the container's namespace at once, while the other DEL runs.
        sh(&format!("umount {SANDBOX} && rm {SANDBOX}"));
        assert!(count(&bench, "DEL") <= 1);
        until(|| count(&bench, "DEL") == 2).await;
        let calls = bench.calls();
        let netns = calls.last().unwrap()["env"]["CNI_NETNS"].as_str().unwrap().to_owned();
        let link = sh(&format!("nsenter --net={netns} ip link show {name}"));
        assert!(link.contains("alias the-same"), "it is another one: {link}");
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn removals_run_a_few_at_a_time_and_what_docker_asks_for_goes_ahead() {
    alone(async {
        for (plugins, at_once) in [(32, 8), (1, 1)] {
            let plugin = scripted(json!({"DEL": {"sleep_ms": 2000}}));
            let mut bench = Bench::in_background(json!([plugin])).await;
            bench.config.limits.parallel = plugins;
            bench.driver = Driver::open(bench.config.clone()).await.unwrap();
            let many: Vec<_> = (0..12).map(|number| format!("e{number}")).collect();
            for id in &many {
                bench.create_endpoint(id).await.unwrap();
            }
            for id in &many {
                bench.delete_endpoint(id).await;
            }
            until(|| count(&bench, "DEL") == at_once).await;
            bench.create_endpoint("next").await.unwrap();
            // At most the one that ran has ended, and another one has begun.
            let begun = count(&bench, "DEL");
            assert!((at_once..at_once + 2).contains(&begun), "{begun} of {at_once}");
            for record in bench.records() {
                // This is enough.
                fs::remove_file(record).unwrap();
            }
        }
    });
}

#[test]
fn a_new_container_waits_through_the_attempts_that_fail() {
    alone(async {
        let mut plugin = scripted(json!({"DEL": {"exit": 1, "times": 2}}));
        plugin["capabilities"]["portMappings"] = true.into();
        let asked = [
            json!({"Interface": {}, "Options": {"com.docker.network.portmap":
                [{"Proto": 6, "Port": 80, "HostPort": 8080}]}}),
            json!({"Interface": {"Address": "10.22.3.9/16"}}),
            json!({"Interface": {"MacAddress": "02:10:20:30:40:52"}}),
        ];
        let bench = bench(&[], json!([plugin])).await;
        for asked in asked {
            fs::remove_file(bench.log()).ok();
            create(&bench, "e1", &asked).await.unwrap();
            bench.delete_endpoint("e1").await;
            create(&bench, "e2", &asked).await.unwrap_or_else(|error| panic!("{asked}: {error}"));
            assert_eq!(bench.verbs(), ["ADD", "DEL", "DEL", "DEL", "ADD"], "{asked}");
            bench.delete_endpoint("e2").await;
            gone_but_for_the_driver(&bench).await;
        }
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_device_is_waited_for_before_a_plugin_looks_for_it() {
    alone(async {
        let mut plugin = known("host-device", json!({"DEL": {"sleep_ms": 300}}));
        plugin["device"] = "enp9s0".into();
        let bench = bench(&["host-device"], json!([plugin])).await;
        for life in 0..3 {
            bench.create_endpoint(&format!("e{life}")).await.unwrap();
            bench.delete_endpoint(&format!("e{life}")).await;
        }
        gone(&bench).await;
        assert_eq!(bench.verbs(), ["ADD", "DEL", "ADD", "DEL", "ADD", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn whatever_was_in_the_way_of_a_new_container_it_is_tried_once_more_when_that_is_gone() {
    alone(async {
        // The undo of the new one fails, too.
        let plugin = scripted(json!({
            "DEL": {"sleep_ms": 300, "exit": 1, "times": 2}, "lease": "FOLDER/lease",
        }));
        let bench = bench(&[], json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        bench.create_endpoint("e2").await.unwrap();
        assert_eq!(count(&bench, "ADD"), 3, "{:?}", bench.verbs());
        bench.delete_endpoint("e2").await;
        gone_but_for_the_driver(&bench).await;

        // An error that no removal can change is returned at once.
        fs::remove_file(bench.log()).unwrap();
        bench.write_conflist(json!([scripted(json!({"DEL": {"sleep_ms": 3000}}))]));
        bench.create_endpoint("e3").await.unwrap();
        bench.delete_endpoint("e3").await;
        let error = create(&bench, "e4", &json!({"Interface": {"MacAddress": "nonsense"}})).await;
        assert!(error.unwrap_err().contains("nonsense"));
        assert_eq!(orphans(&bench.config.state_dir).unwrap().len(), 1, "it was waited for");
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_endpoint_that_failed_twice_names_the_orphan_that_may_be_in_its_way() {
    alone(async {
        let plugin = scripted(json!({
            "DEL": {"exit": 1, "stdout": {"code": 100, "msg": "no way"}}, "lease": "FOLDER/lease",
        }));
        let bench = bench(&[], json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        until(|| orphans(&bench.config.state_dir).unwrap()[0].attempts > 0).await;
        let error = bench.create_endpoint("e2").await.unwrap_err().to_string();
        let shown = orphans(&bench.config.state_dir).unwrap();
        let first = shown.iter().find(|orphan| orphan.endpoint.to_string() == "e1").unwrap();
        for part in ["no lease left", &first.attachment, "no way", "cnm-cni orphans"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    });
}

#[test]
fn no_call_waits_for_a_removal_without_limit() {
    alone(async {
        let plugin = scripted(json!({"DEL": {"sleep_ms": 45_000}}));
        let bench = bench(&[], json!([plugin])).await;
        let pinned = json!({"Interface": {"Address": "10.22.3.9/16"}});
        create(&bench, "e1", &pinned).await.unwrap();
        bench.delete_endpoint("e1").await;
        until(|| count(&bench, "DEL") == 1).await;
        let all = async {
            tokio::join!(
                bench.driver.retry_orphans(""),
                bench.driver.forget_orphan("e1"),
                create(&bench, "e2", &pinned),
            )
        };
        let (retried, forgotten, refused) =
            tokio::time::timeout(Duration::from_secs(40), all).await.unwrap();
        let retried = retried.unwrap().remove(0).error.unwrap();
        assert!(retried.contains("has not ended within 30 s"), "{retried}");
        let forgotten = forgotten.unwrap_err().to_string();
        assert!(forgotten.contains("under way"), "{forgotten}");
        let refused = refused.unwrap_err();
        assert!(refused.contains("address 10.22.3.9 is held by attachment"), "{refused}");
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

/// Waits until no record is left, and leaves the driver as it is.
async fn gone_but_for_the_driver(bench: &Bench) {
    until(|| bench.records().is_empty()).await;
}
