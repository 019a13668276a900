//! The journal: each outcome is told once, with what is known of it.

use std::fs;
use std::time::Duration;

use cnm_cni::cnm::SpareCount;
use cnm_cni::journal::{Event, Kind, Reader};
use serde_json::{Value, json};

use super::phases::Log;
use super::{Bench, NETWORK, gone, read, scripted, until};
use crate::alone::alone;

fn events(bench: &Bench) -> Vec<Event> {
    let batch = Reader::open(&bench.config.state_dir).unwrap().read().unwrap();
    assert_eq!(batch.damaged, Vec::<String>::new());
    batch.events
}

/// The kinds, from the time on when the driver was ready.
fn kinds(bench: &Bench) -> Vec<Kind> {
    events(bench).iter().map(|event| event.kind).filter(|kind| *kind != Kind::Start).collect()
}

#[test]
fn a_containers_life_is_told_once_with_its_plugins() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        // Docker asks again after a lost connection.
        bench.create_endpoint("e1").await.unwrap();
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        let (told, life) = (events(&bench), [Kind::Attach, Kind::Settle, Kind::Detach]);
        assert_eq!(kinds(&bench)[0], Kind::NetworkCreate);
        assert_eq!(kinds(&bench)[1..4], life);
        assert_eq!(kinds(&bench)[4..], [Kind::Stop]);
        let of = |kind| told.iter().find(|event| event.kind == kind).unwrap();
        for (kind, verb) in [(Kind::Attach, "ADD"), (Kind::Detach, "DEL")] {
            let event = of(kind);
            let [run] = &event.plugins[..] else { panic!("{event:?}") };
            assert_eq!((run.plugin.as_str(), run.verb.as_str()), ("fake-plugin", verb));
            assert!(
                run.ms > 0.0 && event.ms.unwrap() >= run.ms && run.error.is_none(),
                "{event:?}"
            );
            assert_eq!(event.conflist.as_deref(), Some("k8snet"));
            assert_eq!(event.addresses.len(), 2);
        }
        assert_eq!(of(Kind::Attach).attachment, of(Kind::Detach).attachment);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_refusal_is_told_once_and_its_undo_is_a_part_of_it() {
    alone(async {
        let fails =
            json!({"ADD": {"exit": 1, "stdout": {"code": 100, "msg": "no more\naddresses"}}});
        let bench = Bench::with(json!([scripted(fails)])).await;
        bench.create_endpoint("e1").await.unwrap_err();
        bench.join("e1", "/run/nowhere").await.unwrap_err();
        bench.driver.drain().await;
        assert_eq!(kinds(&bench)[1..], [Kind::Refuse, Kind::Refuse, Kind::Stop]);
        let told = events(&bench);
        let refused: Vec<_> = told.iter().filter(|event| event.kind == Kind::Refuse).collect();
        assert_eq!(refused[0].detail.as_deref(), Some("CreateEndpoint"));
        assert!(refused[0].error.as_ref().unwrap().contains("no more\naddresses"));
        let verbs: Vec<_> = refused[0].plugins.iter().map(|run| run.verb.as_str()).collect();
        assert_eq!(verbs, ["ADD", "DEL"]);
        assert!(refused[0].plugins[0].error.is_some());
        assert_eq!(refused[1].detail.as_deref(), Some("Join"));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_plugin_that_takes_long_is_told_while_it_still_runs() {
    alone(async {
        let log = Log::listen();
        let slow = json!({"ADD": {"sleep_ms": 2500}});
        let mut bench = Bench::with(json!([scripted(slow)])).await;
        bench.config.limits.slow = Duration::from_secs(1);
        bench.restart().await;
        let driver = bench.driver.clone();
        let ids = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {}});
        let call = tokio::spawn(async move { driver.create_endpoint(read(ids)).await });
        until(|| kinds(&bench).contains(&Kind::Slow)).await;
        assert!(!call.is_finished());
        call.await.unwrap().unwrap();
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;

        let told = events(&bench);
        let slow: Vec<_> = told.iter().filter(|event| event.kind == Kind::Slow).collect();
        let [slow] = &slow[..] else { panic!("{told:?}") };
        let says = "fake-plugin ADD has run for 1 s, and still runs";
        assert_eq!(slow.detail.as_deref(), Some(says));
        assert_eq!(slow.conflist.as_deref(), Some("k8snet"));
        let attach = told.iter().find(|event| event.kind == Kind::Attach).unwrap();
        assert_eq!(slow.attachment, attach.attachment);
        // It counts once, as the run that has ended.
        assert_eq!(attach.plugins.len(), 1);
        let text = log.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of =
            |line: &Value| line["fields"]["message"].as_str().map(|it| it.contains("still runs"));
        let warned: Vec<_> = lines.filter(|line| of(line) == Some(true)).collect();
        let [warned] = &warned[..] else { panic!("{text}") };
        assert_eq!(warned["level"], "WARN");
        let fields = ["plugin", "verb", "conflist"].map(|field| &warned["fields"][field]);
        assert_eq!(fields, ["fake-plugin", "ADD", "k8snet"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_orphan_is_told_with_each_attempt_and_its_end() {
    alone(async {
        let fails = json!({"DEL": {"exit": 1, "stdout": {"code": 100, "msg": "busy"}, "times": 2}});
        let bench = Bench::in_background(json!([scripted(fails)])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        until(|| kinds(&bench).contains(&Kind::Retry)).await;
        gone(&bench).await;
        let told = events(&bench);
        let of = |kind| told.iter().find(|event| event.kind == kind).unwrap();
        assert_eq!(of(Kind::Orphan).attempt, Some(1));
        assert!(of(Kind::Orphan).error.as_ref().unwrap().contains("busy"));
        assert_eq!(of(Kind::Retry).attempt, Some(2));
        assert_eq!(of(Kind::Detach).attempt, Some(3));
        assert_eq!(told.iter().filter(|event| event.kind == Kind::Detach).count(), 1);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_spare_is_told_apart_from_containers_and_that_none_can_be_made_is_told_once() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.with_spares(SpareCount::Number(1)).await;
        let spares = |bench: &Bench, detail: &str| {
            let of = |event: &Event| {
                event.kind == Kind::Spare && event.detail.as_deref() == Some(detail)
            };
            events(bench).into_iter().filter(of).collect::<Vec<_>>()
        };
        let verbs =
            |event: &Event| event.plugins.iter().map(|run| run.verb.clone()).collect::<Vec<_>>();
        until(|| spares(&bench, "ready").len() == 1).await;
        let ready = spares(&bench, "ready").remove(0);
        assert_eq!(verbs(&ready), ["ADD"], "{ready:?}");
        assert_eq!((ready.endpoint, ready.addresses.len()), (None, 2));
        assert_eq!(ready.attachment.as_ref(), bench.spares().first());

        bench.create_endpoint("e1").await.unwrap();
        until(|| kinds(&bench).contains(&Kind::Attach)).await;
        let told = events(&bench);
        let attach = told.iter().find(|event| event.kind == Kind::Attach).unwrap();
        assert_eq!(attach.detail.as_deref(), Some("from a spare"));
        assert_eq!(attach.attachment, ready.attachment);
        assert!(attach.plugins.is_empty() && attach.endpoint.is_some(), "{attach:?}");

        // The next one gives way, and none can be made any more.
        until(|| spares(&bench, "ready").len() == 2).await;
        let fails = json!({"ADD": {"exit": 1, "stdout": {"code": 100, "msg": "none left"}}});
        bench.write_conflist(json!([scripted(fails)]));
        let refused = bench.create_endpoint("e2").await.unwrap_err();
        assert!(refused.to_string().contains("none left"), "{refused}");
        until(|| !spares(&bench, "removed").is_empty()).await;
        let removed = spares(&bench, "removed").remove(0);
        assert_eq!((verbs(&removed), removed.endpoint), (vec!["DEL".to_owned()], None));
        assert!(!kinds(&bench).contains(&Kind::Detach), "no container has gone");
        // Each network that is made has the driver look at all of them.
        let conflist = |file: &str| bench.config.conf_dir.join(file);
        bench.write_conflist(json!([scripted(json!({}))]));
        let other = fs::read_to_string(conflist("10-k8snet.conflist")).unwrap();
        let other = other.replace("\"k8snet\"", "\"other\"");
        fs::write(conflist("20-other.conflist"), other).unwrap();
        fs::remove_file(conflist("10-k8snet.conflist")).unwrap();
        let others = ["n2", "n3"];
        for network in others {
            let options = json!({"com.docker.network.generic": {"conflist": "other"}});
            let request = json!({"NetworkID": network, "Options": options});
            bench.driver.create_network(read(request)).await.unwrap();
            let is_of = |event: &Event| event.network.as_ref().unwrap().as_str() == network;
            until(|| spares(&bench, "ready").iter().any(is_of)).await;
        }
        let failed = || {
            let of = |event: &Event| event.kind == Kind::Spare && event.error.is_some();
            events(&bench).into_iter().filter(of).collect::<Vec<_>>()
        };
        until(|| !failed().is_empty()).await;
        for network in others {
            bench.driver.delete_network(read(json!({"NetworkID": network}))).await.unwrap();
        }
        bench.delete_endpoint("e1").await;
        until(|| bench.records().is_empty()).await;
        bench.driver.drain().await;
        let [failure] = &failed()[..] else { panic!("{:?}", failed()) };
        assert_eq!(failure.network.as_ref().unwrap().as_str(), NETWORK);
        assert!(failure.error.as_ref().unwrap().contains("k8snet"), "{failure:?}");
        assert!(kinds(&bench).contains(&Kind::Detach), "e1 was a container's");
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_users_pass_to_plugins_is_hidden_in_the_journal_too() {
    alone(async {
        let fails =
            json!({"ADD": {"exit": 1, "stdout": {"code": 100, "msg": "hunter22 is wrong"}}});
        let bench = Bench::with(json!([scripted(fails)])).await;
        let asked = json!({"Options": {"cni.args.TOKEN": "hunter22"}, "Interface": {}});
        let request = json!({"NetworkID": super::NETWORK, "EndpointID": "e1"});
        let mut request = request;
        request.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        bench.driver.create_endpoint(super::read(request)).await.unwrap_err();
        bench.driver.drain().await;
        let text = serde_json::to_string(&events(&bench)).unwrap();
        assert!(text.contains("[hidden] is wrong") && !text.contains("hunter22"), "{text}");
    });
}
