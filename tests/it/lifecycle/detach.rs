//! DeleteEndpoint: DEL finds what ADD left, whatever happened in between.

use std::fs;

use serde_json::{Value, json};

use super::{Bench, SANDBOX, make_sandbox, scripted};
use crate::alone::{alone, sh};

/// The addresses that the last DEL found on the interface.
fn live(bench: &Bench) -> Value {
    bench.calls().pop().unwrap()["live"].clone()
}

const AS_ADD_LEFT_THEM: [&str; 2] = ["10.22.3.7/16", "fd00:22::7/64"];

#[test]
fn an_interface_that_docker_gave_back_has_its_addresses_again() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        let name = bench.enter("e1").await;
        sh(&format!(
            "nsenter --net={SANDBOX} sh -c 'ip link set eth0 down; ip link set eth0 name {name}'
             nsenter --net={SANDBOX} ip link set {name} netns $$"
        ));
        bench.delete_endpoint("e1").await;
        assert_eq!(live(&bench), json!(AS_ADD_LEFT_THEM));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_interface_that_docker_left_inside_is_fetched() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.enter("e1").await;
        bench.delete_endpoint("e1").await;
        assert_eq!(live(&bench), json!(AS_ADD_LEFT_THEM));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_interface_that_died_with_its_namespace_has_a_stand_in() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        make_sandbox();
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        sh(&format!("ip link del {name}"));
        bench.delete_endpoint("e1").await;
        assert_eq!(live(&bench), json!(AS_ADD_LEFT_THEM));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_endpoint_that_never_joined_is_removed() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        assert_eq!(live(&bench), json!(AS_ADD_LEFT_THEM));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_del_that_failed_finds_only_the_addresses_that_rules_name_yet() {
    alone(async {
        // The chain's configuration does not show that it masquerades.
        let bench = Bench::with(json!([scripted(json!({"DEL": {"exit": 1, "times": 3}}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        let id = bench.calls()[0]["env"]["CNI_CONTAINERID"].as_str().unwrap().to_owned();
        let rule = |verb: &str| {
            sh(&format!(
                r#"iptables -t nat -{verb} POSTROUTING -s 10.22.3.7/32 -j MASQUERADE \
                       -m comment --comment 'name: "k8snet" id: "{id}"'"#
            ));
        };
        rule("A");
        bench.delete_endpoint("e1").await;
        assert_eq!(live(&bench), json!(AS_ADD_LEFT_THEM));
        bench.driver.retry_orphans("").await.unwrap();
        assert_eq!(live(&bench), json!(AS_ADD_LEFT_THEM[..1]));
        rule("D");
        // What is left if DEL is killed before it has removed the chain too.
        let comment = format!(r#"-m comment --comment 'name: "k8snet" id: "{id}"'"#);
        sh(&format!(
            "ip6tables -t nat -N CNI-1; ip6tables -t nat -A CNI-1 -j MASQUERADE {comment}"
        ));
        bench.driver.retry_orphans("").await.unwrap();
        assert_eq!(live(&bench), json!(AS_ADD_LEFT_THEM[1..]));
        sh("ip6tables -t nat -F CNI-1; ip6tables -t nat -X CNI-1");
        assert_eq!(bench.driver.retry_orphans("").await.unwrap()[0].error, None);
        assert_eq!(live(&bench), json!([]));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn the_dels_after_a_failed_add_find_the_address_that_rules_name_yet() {
    alone(async {
        // As bridge, whose ADD was killed, and then the first DEL between the interface and the rule.
        let rule = r#"iptables -t nat -A POSTROUTING -s 10.22.3.7/32 -j MASQUERADE \
                      -m comment --comment 'name: "k8snet" id: "{id}"'"#;
        let killed = |times: u32| json!({"exit": 1, "times": times, "after_work": true});
        let plugin = json!({"ADD": killed(1), "DEL": killed(2), "host_commands": [rule]});
        let bench = Bench::with(json!([scripted(plugin)])).await;
        bench.create_endpoint("e1").await.unwrap_err();
        bench.driver.retry_orphans("").await.unwrap();
        assert_eq!(live(&bench), json!(["10.22.3.7/32"]));
        sh("iptables -t nat -F POSTROUTING");
        assert_eq!(bench.driver.retry_orphans("").await.unwrap()[0].error, None);
        assert_eq!(live(&bench), json!(null));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn del_runs_what_add_ran_whatever_became_of_the_file() {
    alone(async {
        let plugin = scripted(json!({}));
        let bench = Bench::with(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.write_conflist(json!([{"type": "other-plugin"}]));
        bench.delete_endpoint("e1").await;

        let calls = bench.calls();
        let [add, del] = calls.as_slice() else { panic!("{calls:?}") };
        let without_result = |call: &Value| {
            let mut stdin = call["stdin"].clone();
            stdin.as_object_mut().unwrap().remove("prevResult");
            stdin
        };
        assert_eq!(without_result(add), without_result(del));
        for variable in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"] {
            assert_eq!(add["env"][variable], del["env"][variable], "{variable}");
        }
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_del_that_fails_stays_on_record_and_is_no_error_to_docker() {
    alone(async {
        let plugin = scripted(json!({"DEL": {"exit": 1, "times": 1}}));
        let bench = Bench::with(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.join("e1", SANDBOX).await.unwrap();
        bench.delete_endpoint("e1").await;
        let record = fs::read_to_string(&bench.records()[0]).unwrap();
        assert!(record.contains("Deleting"), "{record}");
        assert!(bench.join("e1", SANDBOX).await.is_err(), "an endpoint that is being deleted");

        bench.delete_endpoint("e1").await;
        assert_eq!(bench.verbs(), ["ADD", "DEL"], "it is not tried for every call");
        assert_eq!(bench.driver.retry_orphans("").await.unwrap()[0].error, None);
        bench.assert_nothing_is_left();
    });
}
