//! Networks: made and removed, again and at once.

use cnm_cni::lifecycle::Driver;
use serde_json::json;

use super::{Bench, NETWORK, files, read, scripted};
use crate::alone::alone;

#[test]
fn a_network_that_is_asked_for_again_while_it_is_made_is_made_once() {
    alone(
        "lifecycle::networks::a_network_that_is_asked_for_again_while_it_is_made_is_made_once",
        async {
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
        },
    );
}

#[test]
fn a_network_that_is_asked_for_again_is_not_one_too_many() {
    alone("lifecycle::networks::a_network_that_is_asked_for_again_is_not_one_too_many", async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.config.most.networks = 1;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        bench.driver.create_network(read(json!({"NetworkID": NETWORK}))).await.unwrap();
        let another = bench.driver.create_network(read(json!({"NetworkID": "n2"}))).await;
        assert!(another.unwrap_err().to_string().contains("--max-networks"));
    });
}
