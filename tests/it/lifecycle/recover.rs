//! What a restart finds, and what the driver does with it.

use std::fs;

use serde_json::{Value, json};

use super::{
    Bench, NETWORK, SANDBOX, as_docker_moves_it, gone, make_sandbox, read, scripted, until,
};
use crate::alone::{alone, sh};

#[test]
fn a_container_that_runs_keeps_its_network_over_a_restart() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        let answer = bench.create_endpoint("e1").await.unwrap();
        let joined = bench.join("e1", SANDBOX).await.unwrap();
        bench.restart().await;
        assert_eq!(bench.verbs(), ["ADD"]);
        sh(&format!("ip link show {}", joined.interface_name.src_name));
        assert_eq!(bench.create_endpoint("e1").await.unwrap(), answer);
        bench.create_endpoint("e2").await.expect("the network is known");

        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_add_that_a_crash_interrupted_is_taken_back() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        let record = &bench.records()[0];
        let mut json: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
        json["record"]["phase"] = json!("Adding");
        json["record"].as_object_mut().unwrap().remove("add").expect("what ADD made");
        fs::write(record, json.to_string()).unwrap();
        bench.restart().await;
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_undo_that_failed_is_reported_and_done_at_the_next_start() {
    alone(async {
        let plugin = scripted(json!({
            "ADD": {"exit": 1, "stdout": {"code": 100, "msg": "no room"}, "after_work": true},
            "DEL": {"exit": 1, "stdout": {"code": 100, "msg": "no way"}, "times": 1},
        }));
        let mut bench = Bench::with(json!([plugin])).await;
        let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
        assert!(error.contains("no room") && error.contains("no way"), "{error}");
        assert_eq!(bench.records().len(), 1);

        bench.restart().await;
        assert_eq!(bench.verbs(), ["ADD", "DEL", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_del_that_failed_is_done_at_the_next_start() {
    alone(async {
        let plugin = scripted(json!({"DEL": {"exit": 1, "times": 1}}));
        let mut bench = Bench::with(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        bench.restart().await;
        assert_eq!(bench.verbs(), ["ADD", "DEL", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn after_a_reboot_the_leases_and_rules_of_the_last_boot_go() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        // What a reboot does: interfaces and run-time files are gone, records are not.
        sh(&format!(
            "ip link del {name}; umount {0}/*; rm -r {0}",
            bench.config.run_dir.join("netns").display()
        ));
        let boot_id = sh("cat /proc/sys/kernel/random/boot_id");
        rewrite_record(&bench, boot_id.trim(), "the-boot-before");
        bench.restart().await;
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
        assert_eq!(bench.calls()[1]["live"], json!(["10.22.3.7/16", "fd00:22::7/64"]));
        bench.assert_nothing_is_left();
    });
}

/// Changes the text of the one attachment's record.
fn rewrite_record(bench: &Bench, from: &str, to: &str) {
    let record = &bench.records()[0];
    let text = fs::read_to_string(record).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(record, text.replace(from, to)).unwrap();
}

#[test]
fn a_container_that_died_with_its_dockerd_is_started_again_at_once() {
    alone(async {
        let plugin = scripted(json!({"lease": "FOLDER/lease"}));
        let bench = Bench::in_background(json!([plugin])).await;
        let create = async |endpoint: &str| {
            let interface = json!({"Address": "10.22.3.7/16"});
            let ids = json!({"NetworkID": NETWORK, "EndpointID": endpoint, "Interface": interface});
            bench.driver.create_endpoint(read(ids)).await
        };
        for life in 0..5 {
            create(&format!("e{life}")).await.unwrap();
            make_sandbox();
            let joined = bench.join(&format!("e{life}"), SANDBOX).await.unwrap();
            as_docker_moves_it(&joined.interface_name.src_name);
            bench.program(&format!("e{life}")).await.unwrap();
            sh(&format!("umount {SANDBOX} && rm {SANDBOX}"));
            bench.driver.activate();
        }
        gone(&bench).await;
        // The kernel removes a dead container's interfaces when it has time.
        until(|| sh("ls /sys/class/net").trim() == "lo").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn the_next_attempt_evicts_what_a_killed_dockerd_left() {
    alone(async {
        let bench = Bench::in_background(json!([scripted(json!({"lease": "FOLDER/lease"}))])).await;
        let create = async |endpoint: &str| {
            let interface = json!({"Address": "10.22.3.7/16"});
            let ids = json!({"NetworkID": NETWORK, "EndpointID": endpoint, "Interface": interface});
            bench.driver.create_endpoint(read(ids)).await
        };
        create("e1").await.unwrap();
        create("e2").await.expect_err("e1 has the address");
        // A new dockerd, which does not know e1.
        bench.driver.activate();
        create("e2").await.unwrap();

        // An endpoint that it knows is not left over.
        bench.driver.activate();
        bench.join("e2", SANDBOX).await.unwrap();
        create("e3").await.expect_err("e2 has the address");
        bench.delete_endpoint("e2").await;

        // Nor is an endpoint that a container has.
        create("e4").await.unwrap();
        bench.enter("e4").await;
        bench.driver.activate();
        create("e5").await.expect_err("e4 has the address");
        bench.delete_endpoint("e4").await;
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}
