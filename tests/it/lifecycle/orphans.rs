//! Attachments whose endpoint Docker has deleted: DEL in the background, until it has succeeded.

use cnm_cni::lifecycle::{Orphan, orphans};
use serde_json::{Value, json};

use super::{Bench, NETWORK, gone, read, scripted, until};
use crate::alone::alone;

#[test]
fn docker_does_not_wait_for_del() {
    alone(async {
        let plugin = scripted(json!({"DEL": {"sleep_ms": 1500}}));
        let bench = Bench::in_background(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e1").await;
        bench.leave("e1").await;
        // DEL still runs.
        let orphan = only(&bench);
        assert_eq!((orphan.attempts, orphan.error), (0, None));
        assert_eq!(orphan.conflist, "k8snet");
        assert_eq!(orphan.addresses.len(), 2);

        gone(&bench).await;
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_del_that_fails_is_tried_again_by_itself() {
    alone(async {
        let plugin = scripted(json!({
            "DEL": {"exit": 1, "stdout": {"code": 100, "msg": "busy"}, "times": 1},
        }));
        let bench = Bench::in_background(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        until(|| orphans(&bench.config.state_dir).unwrap().iter().any(|it| it.attempts == 1)).await;
        assert!(only(&bench).error.unwrap().contains("busy"));
        gone(&bench).await;
        assert_eq!(bench.verbs(), ["ADD", "DEL", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_new_container_waits_for_the_address_of_the_last_one() {
    alone(async {
        let plugin = scripted(json!({"DEL": {"sleep_ms": 300}}));
        let bench = Bench::in_background(json!([plugin])).await;
        let pinned = json!({"Interface": {"Address": "10.22.3.9/16"}});
        create(&bench, "e1", &pinned).await.unwrap();
        bench.delete_endpoint("e1").await;
        create(&bench, "e2", &pinned).await.unwrap();
        assert_eq!(bench.verbs(), ["ADD", "DEL", "ADD"]);
        bench.delete_endpoint("e2").await;
        // Another address is available at once.
        let other = json!({"Interface": {"Address": "10.22.3.10/16"}});
        create(&bench, "e3", &other).await.unwrap();
        assert_eq!(orphans(&bench.config.state_dir).unwrap().len(), 1);
        bench.delete_endpoint("e3").await;
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_new_container_waits_for_the_port_of_the_last_one() {
    alone(async {
        let mut plugin = scripted(json!({"DEL": {"sleep_ms": 300}}));
        plugin["capabilities"]["portMappings"] = true.into();
        let bench = Bench::in_background(json!([plugin])).await;
        let publishes = json!({"Interface": {}, "Options": {
            "com.docker.network.portmap": [{"Proto": 6, "Port": 80, "HostPort": 8080}]}});
        create(&bench, "e1", &publishes).await.unwrap();
        bench.delete_endpoint("e1").await;
        create(&bench, "e2", &publishes).await.unwrap();
        assert_eq!(bench.verbs(), ["ADD", "DEL", "ADD"]);
        bench.delete_endpoint("e2").await;
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_exhausted_pool_waits_for_the_addresses_that_come_back() {
    alone(async {
        let plugin = scripted(json!({"DEL": {"sleep_ms": 300}, "lease": "LOG.lease"}));
        let bench = Bench::in_background(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        let error = bench.create_endpoint("e2").await.unwrap_err().to_string();
        assert!(error.contains("no lease left"), "{error}");
        bench.delete_endpoint("e1").await;
        bench.create_endpoint("e3").await.unwrap();
        bench.delete_endpoint("e3").await;
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_an_orphan_holds_is_refused_with_the_reason() {
    alone(async {
        let plugin =
            scripted(json!({"DEL": {"exit": 1, "stdout": {"code": 100, "msg": "no way"}}}));
        let bench = Bench::in_background(json!([plugin])).await;
        let pinned = json!({"Interface": {"Address": "10.22.3.9/16"}});
        create(&bench, "e1", &pinned).await.unwrap();
        bench.delete_endpoint("e1").await;
        let error = create(&bench, "e2", &pinned).await.unwrap_err();
        let orphan = only(&bench).attachment;
        for part in ["address 10.22.3.9", &orphan, "no way", "cnm-cni orphans"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert_eq!(bench.verbs()[..2], ["ADD", "DEL"]);

        let error = bench.driver.forget_orphan("nobody").await.unwrap_err().to_string();
        assert!(error.contains("\"nobody\""), "{error}");
        let retried = bench.driver.retry_orphans(&orphan).await.unwrap();
        assert!(retried[0].error.as_ref().unwrap().contains("no way"));
        assert_eq!(bench.driver.forget_orphan("e1").await.unwrap().attachment, orphan);
        assert_eq!(orphans(&bench.config.state_dir).unwrap(), []);
        assert_eq!(bench.driver.retry_orphans("").await.unwrap(), []);
        // Now only the plugins know its address.
        create(&bench, "e2", &pinned).await.unwrap();
        bench.driver.drain().await;
    });
}

#[test]
fn what_could_not_be_removed_is_shown_over_a_restart_and_retried() {
    alone(async {
        let plugin = scripted(json!({"DEL": {"exit": 1, "times": 2}}));
        let mut bench = Bench::in_background(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.restart().await;
        let orphan = only(&bench);
        assert_eq!((orphan.attempts, orphan.given_up), (2, false));
        bench.restart().await;
        assert_eq!(bench.verbs(), ["ADD", "DEL", "DEL", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

/// Creates an endpoint with more than its ids; the error as text.
async fn create(bench: &Bench, id: &str, more: &Value) -> Result<(), String> {
    let mut request = more.clone();
    request["NetworkID"] = NETWORK.into();
    request["EndpointID"] = id.into();
    let made = bench.driver.create_endpoint(read(request)).await;
    made.map(drop).map_err(|error| error.to_string())
}

/// The one orphan that is on record.
fn only(bench: &Bench) -> Orphan {
    let mut orphans = orphans(&bench.config.state_dir).unwrap();
    assert_eq!(orphans.len(), 1, "{orphans:?}");
    orphans.remove(0)
}
