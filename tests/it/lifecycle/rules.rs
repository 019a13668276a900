//! The rules of `docs/cni-conformance.md` that bind the caller of the engine: the driver.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Bench, scripted, until};
use crate::alone::alone;

impl Bench {
    /// Deletes an endpoint, and waits until its record is gone: DEL has succeeded.
    async fn delete_wholly(&self, id: &str) {
        let before = self.records().len();
        self.delete_endpoint(id).await;
        until(|| self.records().len() < before).await;
    }
}

#[test]
fn r32_r39_the_namespace_is_there_before_the_first_plugin_and_gone_after_the_last() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_wholly("e1").await;
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
        let calls = bench.calls();
        let (add, del) = (&calls[0], &calls[1]);
        assert!(add["inside"].is_u64(), "{add}");
        assert_ne!(add["inside"], add["netns"], "it is the container's own");
        assert_eq!(add["inside"], del["inside"], "and the same at DEL");
        let path = add["env"]["CNI_NETNS"].as_str().unwrap();
        assert!(!Path::new(path).exists());
        bench.assert_nothing_is_left();
    });
}

#[test]
fn r33_nothing_runs_at_the_same_time_for_one_container() {
    alone(async {
        let plugin = scripted(json!({"ADD": {"sleep_ms": 300}}));
        let bench = Bench::with(json!([plugin])).await;
        let delete = async {
            while bench.calls().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            bench.delete_wholly("e1").await;
        };
        let (created, ()) = tokio::join!(bench.create_endpoint("e1"), delete);
        created.unwrap();
        let calls = bench.calls();
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
        // ADD makes the addresses at its end, long after the call of DEL.
        assert_eq!(calls[1]["live"], json!(["10.22.3.7/16", "fd00:22::7/64"]));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn r38_each_attachment_has_the_configuration_of_its_own_add() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({"mtu": 1400}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        let edited = json!({"mtu": 1300, "addresses": ["10.22.3.8/16"]});
        bench.write_conflist(json!([scripted(edited)]));
        bench.create_endpoint("e2").await.unwrap();
        for endpoint in ["e1", "e2"] {
            bench.delete_wholly(endpoint).await;
        }
        let given: Vec<(Value, Value)> = (bench.calls().iter())
            .map(|call| (call["command"].clone(), call["stdin"]["fake"]["mtu"].clone()))
            .collect();
        let expected = [("ADD", 1400), ("ADD", 1300), ("DEL", 1400), ("DEL", 1300)];
        assert_eq!(given, expected.map(|(verb, mtu)| (json!(verb), json!(mtu))));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn r43_the_result_of_add_outlives_the_driver_and_reaches_del() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        assert_eq!(bench.records().len(), 1);
        // As after a kill: the next driver knows nothing but what is on disk.
        bench.restart().await;
        bench.delete_wholly("e1").await;
        let calls = bench.calls();
        let del = calls.iter().find(|call| call["command"] == "DEL").unwrap();
        let ips = &del["stdin"]["prevResult"]["ips"];
        assert_eq!(ips[0]["address"], "10.22.3.7/16", "{del}");
        assert_eq!(ips[0]["gateway"], "10.22.0.1", "{del}");
        bench.assert_nothing_is_left();
    });
}

#[test]
fn l22_plugins_made_for_kubernetes_get_the_names_of_a_pod() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_wholly("e1").await;
        let calls = bench.calls();
        let env = |call: usize, key: &str| calls[call]["env"][key].as_str().unwrap();
        let id = env(0, "CNI_CONTAINERID");
        let expected = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=docker;K8S_POD_NAME=attachment-{};\
             K8S_POD_INFRA_CONTAINER_ID={id}",
            &id[..12]
        );
        assert_eq!(env(0, "CNI_ARGS"), expected);
        assert_eq!(env(1, "CNI_ARGS"), expected, "DEL");
    });
}
