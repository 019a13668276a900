//! Ports that are published beside Docker's own work, for an endpoint that has claimed a spare: Docker is told once
//! they are published, or why they are not.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use cnm_cni::cnm::SpareCount;
use cnm_cni::lifecycle::{self, Error};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::{Bench, NETWORK, SANDBOX, as_docker_moves_it, gone, make_sandbox, read, scripted};
use super::{sh, until};
use crate::alone::alone;

/// Longer than any call takes that waits for nothing.
const A_WHILE: Duration = Duration::from_millis(300);

/// The plugins of a chain whose second one publishes ports, as this script has it.
fn chain(first: Value, script: Value) -> Value {
    let mut publisher = json!({"type": "fake-plugin", "fake": {"log": "LOG", "ADD": script}});
    publisher["capabilities"] = json!({"portMappings": true});
    publisher["fake"]["ADD"]["with_ports"] = json!(true);
    publisher["fake"]["ADD"]["waits_for"] = json!("FOLDER/go");
    json!([scripted(first), publisher])
}

/// A driver with a spare on such a chain. The second plugin waits for [`go`].
async fn bench(script: Value) -> Bench {
    bench_of(chain(json!({}), script)).await
}

async fn bench_of(chain: Value) -> Bench {
    let mut bench = Bench::with(chain).await;
    has_a_spare(&mut bench).await;
    bench
}

/// The driver knows the spare that it has made: an endpoint gets it.
async fn has_a_spare(bench: &mut Bench) {
    bench.with_spares(SpareCount::Number(1)).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    let ready = "cnm_cni_spares_ready{conflist=\"k8snet\"} 1";
    while !bench.driver.metrics().await.unwrap().contains(ready) {
        assert!(Instant::now() < deadline, "{}", bench.driver.metrics().await.unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn failing() -> Value {
    json!({"exit": 1, "stdout": {"cniVersion": "1.0.0", "code": 100, "msg": "no room for rules"}})
}

/// The plugin that publishes goes on.
fn go(bench: &Bench) {
    fs::write(bench.folder.path().join("go"), "").unwrap();
}

async fn create(bench: &Bench, network: &str, endpoint: &str) -> Result<(), Error> {
    let request = json!({"NetworkID": network, "EndpointID": endpoint, "Interface": {}, "Options": {
        "com.docker.network.portmap": [
            {"Proto": 6, "Port": 80, "HostPort": 8080, "HostPortEnd": 8080}]}});
    bench.driver.create_endpoint(read(request)).await.map(drop)
}

async fn oper_info(bench: &Bench, endpoint: &str) -> Result<(), Error> {
    let ids = json!({"NetworkID": NETWORK, "EndpointID": endpoint});
    bench.driver.endpoint_oper_info(read(ids)).await.map(drop)
}

/// Docker calls ProgramExternalConnectivity.
fn programming(bench: &Bench, endpoint: &str) -> JoinHandle<Result<(), Error>> {
    let ids = json!({"NetworkID": NETWORK, "EndpointID": endpoint});
    let driver = bench.driver.clone();
    tokio::spawn(async move { driver.program_external_connectivity(read(ids)).await })
}

/// The record of the endpoint.
fn record(bench: &Bench, endpoint: &str) -> Value {
    let records = bench.records().into_iter().filter_map(|file| fs::read(file).ok());
    let mut records = records.filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
    let record = records.find(|record| record["record"]["endpoint"] == endpoint);
    record.unwrap_or_default()["record"].clone()
}

/// Whether its ports are being published, by its record.
fn is_being_published(bench: &Bench, endpoint: &str) -> bool {
    let record = record(bench, endpoint);
    assert!(!record.is_null(), "{endpoint} has no record");
    record["publishing"].as_bool().unwrap_or_default()
}

/// The verbs of the runs that got ports.
fn verbs(bench: &Bench) -> Vec<String> {
    let mut calls = bench.calls();
    calls.retain(|call| !call["stdin"]["runtimeConfig"]["portMappings"].is_null());
    calls.iter().map(|call| call["command"].as_str().unwrap().to_owned()).collect()
}

fn is_free() -> bool {
    TcpListener::bind("0.0.0.0:8080").is_ok()
}

fn published(bench: &Bench) -> usize {
    lifecycle::published(&bench.config.state_dir).unwrap().len()
}

/// The container ends, and its networks.
async fn end(bench: &Bench, networks: &[&str], endpoints: &[&str]) {
    for endpoint in endpoints {
        bench.leave(endpoint).await;
        bench.delete_endpoint(endpoint).await;
    }
    sh("if [ -e /run/sandbox ]; then umount /run/sandbox; rm /run/sandbox; fi");
    for network in networks {
        bench.driver.delete_network(read(json!({"NetworkID": network}))).await.unwrap();
    }
    gone(bench).await;
    assert!(is_free());
    bench.assert_nothing_is_left();
}

#[test]
fn docker_goes_on_while_ports_are_published_and_is_told_when_they_are() {
    alone(async {
        let bench = bench(json!({})).await;
        create(&bench, NETWORK, "e1").await.unwrap();
        until(|| verbs(&bench) == ["ADD"]).await;
        assert!(is_being_published(&bench, "e1"), "it is on record before the plugin runs");
        let held = create(&bench, NETWORK, "e2").await.unwrap_err().to_string();
        assert!(held.contains("8080/tcp is held by endpoint e1"), "{held}");
        bench.enter("e1").await;
        let programmed = programming(&bench, "e1");
        // It has settled the interface meanwhile.
        until(|| record(&bench, "e1")["phase"] == "Settled").await;
        assert!(!programmed.is_finished(), "the ports are not published");
        go(&bench);
        programmed.await.unwrap().unwrap();
        assert_eq!((verbs(&bench).len(), published(&bench)), (1, 1));
        bench.program("e1").await.unwrap();
        oper_info(&bench, "e1").await.unwrap();
        assert_eq!(verbs(&bench), ["ADD"], "they are published");
        until(|| !is_being_published(&bench, "e1")).await;
        end(&bench, &[NETWORK], &["e1"]).await;
    });
}

#[test]
fn every_call_but_join_waits_for_the_plugins_that_publish() {
    alone(async {
        let bench = bench(json!({})).await;
        create(&bench, NETWORK, "e1").await.unwrap();
        bench.enter("e1").await;
        let ids = || json!({"NetworkID": NETWORK, "EndpointID": "e1"});
        let mut calls = JoinSet::new();
        let driver = || bench.driver.clone();
        let of = driver();
        calls.spawn(async move { drop(of.endpoint_oper_info(read(ids())).await) });
        let of = driver();
        calls.spawn(async move { drop(of.revoke_external_connectivity(read(ids())).await) });
        let of = driver();
        calls.spawn(async move { of.leave(read(ids())).await });
        let of = driver();
        calls.spawn(async move { drop(of.check(&["e1".to_owned()], true).await) });
        let of = driver();
        calls.spawn(async move { drop(of.reload(&[]).await) });
        let of = driver();
        calls.spawn(async move { of.delete_endpoint(read(ids())).await });
        assert!(timeout(A_WHILE, calls.join_next()).await.is_err(), "{:?}", verbs(&bench));
        bench.join("e1", SANDBOX).await.unwrap();
        assert_eq!(verbs(&bench), ["ADD"]);
        go(&bench);
        while calls.join_next().await.is_some() {}
        let verbs = verbs(&bench);
        assert_eq!(verbs.last().unwrap(), "DEL", "{verbs:?}");
        end(&bench, &[NETWORK], &[]).await;
    });
}

#[test]
fn the_next_dockerds_container_gets_ports_that_are_still_being_published_for_the_last_ones() {
    alone(async {
        let bench = bench(json!({})).await;
        create(&bench, NETWORK, "e1").await.unwrap();
        until(|| verbs(&bench) == ["ADD"]).await;
        bench.driver.activate();
        let mut created = Box::pin(create(&bench, NETWORK, "e2"));
        assert!(timeout(A_WHILE, &mut created).await.is_err(), "the plugins are waited for");
        go(&bench);
        created.await.unwrap();
        assert!(record(&bench, "e1").is_null());
        assert_eq!(published(&bench), 1);
        end(&bench, &[NETWORK], &["e2"]).await;
    });
}

#[test]
fn the_next_call_of_the_start_tells_why_ports_are_not_published_and_nothing_is_left() {
    alone(async {
        for call in ["Join", "ProgramExternalConnectivity", "EndpointOperInfo"] {
            let bench = bench(failing()).await;
            create(&bench, NETWORK, "e1").await.unwrap();
            let refused = match call {
                "Join" => {
                    go(&bench);
                    until(|| !is_being_published(&bench, "e1")).await;
                    bench.join("e1", SANDBOX).await.map(drop)
                }
                "ProgramExternalConnectivity" => {
                    bench.enter("e1").await;
                    go(&bench);
                    bench.program("e1").await
                }
                _ => {
                    bench.enter("e1").await;
                    go(&bench);
                    oper_info(&bench, "e1").await
                }
            };
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("no room for rules"), "{call}: {refused}");
            assert_eq!(verbs(&bench), ["ADD", "DEL"], "{call}");
            assert!(is_free() && published(&bench) == 0, "{call}");
            // Docker asks once more where the gateway moves.
            if call == "ProgramExternalConnectivity" {
                let refused = bench.program("e1").await.unwrap_err().to_string();
                assert!(refused.contains("no room for rules"), "{refused}");
                assert_eq!(verbs(&bench), ["ADD", "DEL", "ADD", "DEL"]);
            }
            end(&bench, &[NETWORK], &["e1"]).await;
        }
    });
}

/// A driver whose endpoint e1 has published its ports in part, which could not be undone. The plugin fails so many more
/// times.
async fn published_in_part(more: usize) -> Bench {
    let mut bench = Bench::with(chain(json!({}), failing())).await;
    let mut plugins = chain(json!({}), failing());
    // The first ADD is the spare's.
    plugins[1]["fake"]["ADD"]["times"] = json!(2 + more);
    plugins[1]["fake"]["DEL"] =
        json!({"exit": 1, "stdout": {"code": 100, "msg": "busy"}, "with_ports": true, "times": 1});
    plugins[1]["type"] = json!("publisher");
    let fake = bench.config.cni_path[0].join("fake-plugin");
    std::os::unix::fs::symlink(fake, bench.config.cni_path[1].join("publisher")).unwrap();
    bench.write_conflist(plugins);
    has_a_spare(&mut bench).await;
    create(&bench, NETWORK, "e1").await.unwrap();
    bench.enter("e1").await;
    go(&bench);
    let refused = bench.program("e1").await.unwrap_err().to_string();
    assert!(refused.contains("no room for rules") && refused.contains("busy"), "{refused}");
    assert!(!is_free(), "rules may be there");
    assert!(is_being_published(&bench, "e1"));
    assert_eq!(verbs(&bench), ["ADD", "DEL"]);
    bench
}

#[test]
fn ports_that_may_be_there_in_part_are_withdrawn_before_they_are_published_again() {
    alone(async {
        let bench = published_in_part(0).await;
        bench.program("e1").await.unwrap();
        assert_eq!(verbs(&bench)[2..], ["DEL", "ADD"]);
        assert_eq!(published(&bench), 1);
        end(&bench, &[NETWORK], &["e1"]).await;
    });
}

#[test]
fn a_reload_publishes_what_may_be_there_in_part_and_no_call_does_so_again() {
    alone(async {
        let bench = published_in_part(0).await;
        let told = bench.driver.reload(&["e1".to_owned()]).await;
        assert_eq!(told[0].differences, [] as [String; 0]);
        assert_eq!(verbs(&bench)[2..], ["DEL", "ADD"]);
        until(|| !is_being_published(&bench, "e1")).await;
        bench.program("e1").await.unwrap();
        assert_eq!((verbs(&bench).len(), published(&bench)), (4, 1));
        end(&bench, &[NETWORK], &["e1"]).await;
    });
}

#[test]
fn ports_that_a_reload_cannot_publish_are_published_by_the_next_call() {
    alone(async {
        let bench = published_in_part(1).await;
        let told = bench.driver.reload(&["e1".to_owned()]).await;
        let why = told[0].differences.join("\n");
        assert!(why.contains("no room for rules"), "{why}");
        assert!(is_being_published(&bench, "e1"));
        bench.program("e1").await.unwrap();
        assert_eq!(verbs(&bench)[2..], ["DEL", "ADD", "DEL", "ADD"]);
        until(|| !is_being_published(&bench, "e1")).await;
        end(&bench, &[NETWORK], &["e1"]).await;
    });
}

#[test]
fn a_reload_is_on_record_before_its_plugins_run() {
    alone(async {
        let bench = bench(json!({})).await;
        go(&bench);
        create(&bench, NETWORK, "e1").await.unwrap();
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        until(|| !is_being_published(&bench, "e1")).await;
        fs::remove_file(bench.folder.path().join("go")).unwrap();
        let driver = bench.driver.clone();
        let reload = tokio::spawn(async move { driver.reload(&[]).await });
        // A driver that is killed now has taken the ports away.
        until(|| verbs(&bench)[1..] == ["DEL", "ADD"]).await;
        assert!(is_being_published(&bench, "e1"));
        go(&bench);
        assert_eq!(reload.await.unwrap()[0].differences, [] as [String; 0]);
        until(|| !is_being_published(&bench, "e1")).await;
        end(&bench, &[NETWORK], &["e1"]).await;
    });
}

#[test]
fn join_waits_where_docker_may_not_ask_for_the_ports() {
    alone(async {
        // No endpoint without a gateway is asked.
        let no_gateway = json!({"gateway": "", "routes": []});
        for (script, first) in [
            (json!({}), no_gateway.clone()),
            (failing(), no_gateway),
            (json!({}), json!({})),
            (failing(), json!({})),
        ] {
            let is_further = first == json!({});
            let fails = script != json!({});
            let bench = bench_of(chain(first, script)).await;
            make_sandbox();
            let mut networks = vec![NETWORK];
            if is_further {
                // Nor is a further one of a container, whose first network publishes nothing.
                let plain =
                    scripted(json!({"addresses": ["10.24.3.7/16"], "gateway": "10.24.0.1"}));
                let plain = json!({"cniVersion": "1.0.0", "name": "plain", "plugins": [plain]});
                let text = plain.to_string().replace("LOG", &bench.log().to_string_lossy());
                fs::write(bench.config.conf_dir.join("30-plain.conflist"), text).unwrap();
                let options = json!({"com.docker.network.generic":
                    {"conflist": "plain", "spares": "0"}});
                let network = json!({"NetworkID": "n3", "Options": options});
                bench.driver.create_network(read(network)).await.unwrap();
                create(&bench, "n3", "e3").await.unwrap();
                bench.join("e3", SANDBOX).await.unwrap();
                networks.push("n3");
            }
            create(&bench, NETWORK, "e1").await.unwrap();
            let ids = json!({"NetworkID": NETWORK, "EndpointID": "e1", "SandboxKey": SANDBOX});
            let driver = bench.driver.clone();
            let mut joined = tokio::spawn(async move { driver.join(read(ids)).await });
            assert!(timeout(A_WHILE, &mut joined).await.is_err(), "before the ports are published");
            go(&bench);
            match joined.await.unwrap() {
                Ok(answer) if !fails => {
                    assert_eq!(published(&bench), 1);
                    as_docker_moves_it(&answer.interface_name.src_name);
                    oper_info(&bench, "e1").await.unwrap();
                }
                Err(error) if fails => {
                    assert!(error.to_string().contains("no room for rules"), "{error}");
                    assert!(is_free());
                }
                answer => panic!("{answer:?}"),
            }
            let endpoints = if is_further { &["e1", "e3"][..] } else { &["e1"] };
            end(&bench, &networks, endpoints).await;
        }
    });
}
