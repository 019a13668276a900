//! Recorded sessions of real dockerds, replayed against the real driver.
//!
//! The CNI plugin is the scripted one, which makes a real interface; what it was called
//! with is read from its log at the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Answer, Connection};
use super::dockerd::{Dockerd, FAR_GATEWAY, Order, text};
use super::door::Door;
use crate::alone::{alone, sh};

/// One call of a session.
struct Call {
    method: String,
    request: Value,
    /// Head and body, where the session was recorded with them.
    bytes: Option<Vec<u8>>,
}

/// Options that the recordings' users typed for another driver.
const FOREIGN: [&str; 3] = ["foo", "a.b", "x"];

impl Call {
    /// The same without those options, if it has any.
    fn without_foreign_options(&self) -> Option<Self> {
        let mut request = self.request.clone();
        for path in ["/Options", "/Options/com.docker.network.generic"] {
            if let Some(options) = request.pointer_mut(path).and_then(Value::as_object_mut) {
                options.retain(|key, _| !FOREIGN.contains(&key.as_str()));
            }
        }
        let has = request != self.request;
        has.then(|| Self { method: self.method.clone(), request, bytes: None })
    }
}

#[test]
fn docker_20_10_as_on_the_wire() {
    let session = wire(include_str!("../../fixtures/wire-docker-20.10.24.jsonl"));
    alone(async { replay(session, Order::SandboxNever).await });
}

#[test]
fn docker_26_1_as_on_the_wire() {
    let session = wire(include_str!("../../fixtures/wire-docker-26.1.5.jsonl"));
    alone(async { replay(session, Order::SandboxNever).await });
}

#[test]
fn docker_28_5_as_on_the_wire() {
    let session = wire(include_str!("../../fixtures/wire-docker-28.5.2.jsonl"));
    alone(async { replay(session, Order::SandboxFirst).await });
}

#[test]
fn docker_main_as_on_the_wire() {
    let session = wire(include_str!("../../fixtures/wire-docker-main-2026-08.jsonl"));
    alone(async { replay(session, Order::SandboxFirst).await });
}

#[test]
fn docker_20_10_with_options() {
    let session = requests(include_str!("../../fixtures/requests-docker-20.10.24.jsonl"));
    alone(async { replay(session, Order::SandboxNever).await });
}

#[test]
fn docker_28_5_with_options() {
    let session = requests(include_str!("../../fixtures/requests-docker-28.5.2.jsonl"));
    alone(async { replay(session, Order::SandboxFirst).await });
}

#[test]
fn docker_main_with_options() {
    let session = requests(include_str!("../../fixtures/requests-docker-main-2026-08.jsonl"));
    alone(async { replay(session, Order::SandboxFirst).await });
}

fn records(session: &'static str) -> impl Iterator<Item = Value> {
    session.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// A session with its header lines.
fn wire(session: &'static str) -> Vec<Call> {
    records(session)
        .filter(|record| record.get("line").is_some())
        .map(|record| {
            let headers = record["headers"].as_array().unwrap().iter();
            let head: Vec<_> = std::iter::once(text(&record, "line"))
                .chain(headers.map(|header| header.as_str().unwrap()))
                .collect();
            let body = text(&record, "raw");
            Call {
                method: text(&record, "m").to_owned(),
                request: serde_json::from_str(body).unwrap_or_default(),
                bytes: Some(format!("{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()),
            }
        })
        .collect()
}

/// A session of methods and bodies.
fn requests(session: &'static str) -> Vec<Call> {
    records(session)
        .map(|mut record| Call {
            method: text(&record, "method").to_owned(),
            request: record["body"].take(),
            bytes: None,
        })
        .collect()
}

async fn replay(session: Vec<Call>, order: Order) {
    let folder = tempfile::tempdir_in("/run").unwrap();
    let log = folder.path().join("plugin.log");
    let before = links();
    let door = Door::open_on(folder).await;
    let (conf_dir, state) =
        (door.socket().with_file_name("conf"), door.socket().with_file_name("state"));
    let mut connection = door.connect().await;
    let mut dockerd = Dockerd::new(order);
    for call in &session {
        let Some(method) = call.method.strip_prefix("NetworkDriver.") else {
            // Not announced, so that no dockerd asks for it; and no driver of ours answers.
            let answer = send(&mut connection, call).await;
            assert_eq!(answer.status, 404, "{}", call.method);
            assert!(answer.error().contains(&call.method), "{answer:?}");
            continue;
        };
        dockerd.before(method, &call.request);
        if matches!(method, "CreateNetwork" | "CreateEndpoint") {
            let gateway = dockerd.gateway(text(&call.request, "NetworkID"));
            write_conflists(&conf_dir, gateway, &log);
        }
        let ours = call.without_foreign_options();
        if ours.is_some() && matches!(method, "CreateNetwork" | "CreateEndpoint") {
            let refused = send(&mut connection, call).await;
            assert!(refused.error().contains("is unknown; "), "{refused:?}");
        }
        let call = ours.as_ref().unwrap_or(call);
        let answer = send(&mut connection, call).await;
        if succeeds(&dockerd, method, &call.request, &answer) {
            dockerd.after(method, &call.request, &answer);
        }
        if is_abandoned(&session, method, &call.request) && answer.error().is_empty() {
            // The driver of the recording had refused this endpoint, and ours has not.
            let ids = json!({
                "NetworkID": call.request["NetworkID"], "EndpointID": call.request["EndpointID"],
            });
            let answer = connection.call("NetworkDriver.DeleteEndpoint", &ids).await;
            dockerd.after("DeleteEndpoint", &ids, &answer);
        }
    }
    eventually("all interfaces are gone", || links() == before);
    for id in dockerd.networks() {
        let records = ["attachments", "networks"].map(|folder| state.join(folder));
        let is_known = || records.iter().any(|folder| mentions(folder, id));
        eventually("the networks are forgotten", || !is_known());
    }
    check_plugin_calls(&log);
    drop(connection);
    door.close().await;
}

async fn send(connection: &mut Connection, call: &Call) -> Answer {
    match &call.bytes {
        Some(bytes) => {
            connection.send(bytes).await;
            connection.answer().await
        }
        None => connection.call(&call.method, &call.request).await,
    }
}

/// Whether the call has to succeed. If not, its error is checked here.
fn succeeds(dockerd: &Dockerd, method: &str, request: &Value, answer: &Answer) -> bool {
    let endpoint = text(request, "EndpointID");
    let error = answer.error();
    match method {
        "CreateEndpoint" if request["Options"].get("cni.args").is_some() => {
            assert_eq!(answer.status, 200);
            assert!(error.contains("cni.args.KEY=VALUE"), "known options are listed: {error:?}");
            false
        }
        "CreateEndpoint" if error.is_empty() => true,
        // Refused, as the driver of the recording did: an address of a pool that Docker
        // chose by itself.
        "CreateNetwork" if request.to_string().contains("LocalDefault") && !error.is_empty() => {
            assert!(
                error.contains("--ipam-driver null") && error.contains("--subnet"),
                "{error:?}"
            );
            false
        }
        "CreateEndpoint" if !dockerd.has_made(text(request, "NetworkID")) => {
            assert!(error.contains(&text(request, "NetworkID")[..12]), "{error:?}");
            false
        }
        // No Join follows a failed CreateEndpoint but in these recordings.
        "Join" | "EndpointOperInfo" | "ProgramExternalConnectivity" if !dockerd.knows(endpoint) => {
            if method == "Join" {
                assert!(error.contains(&endpoint[..12]), "{error:?}");
            }
            false
        }
        _ => true,
    }
}

/// Whether the session makes an endpoint and never deletes it.
fn is_abandoned(session: &[Call], method: &str, request: &Value) -> bool {
    method == "CreateEndpoint"
        && !session.iter().any(|call| {
            call.method == "NetworkDriver.DeleteEndpoint"
                && call.request["EndpointID"] == request["EndpointID"]
        })
}

/// The networks that the sessions name, each of one plugin that answers `gateway`.
fn write_conflists(conf_dir: &Path, gateway: &str, log: &Path) {
    let mut routes = vec![json!({"dst": "0.0.0.0/0", "gw": gateway})];
    if gateway == FAR_GATEWAY {
        routes.insert(0, json!({"dst": format!("{gateway}/32")}));
    }
    fs::create_dir_all(conf_dir).unwrap();
    for (file, name) in [("10-first", "k8snet"), ("20-second", "other")] {
        let conflist = json!({
            "cniVersion": "1.0.0",
            "name": name,
            "plugins": [{
                "type": "fake-plugin",
                "capabilities": {"ips": true, "mac": true, "portMappings": true},
                "mtu": 1500,
                "fake": {
                    "log": log,
                    "interface": true,
                    "addresses": ["10.22.3.7/16"],
                    "gateway": gateway,
                    "routes": routes,
                },
            }],
        });
        fs::write(conf_dir.join(format!("{file}.conflist")), conflist.to_string()).unwrap();
    }
}

/// Every ADD has its DEL, which still saw the addresses that ADD had set.
fn check_plugin_calls(log: &Path) {
    let calls: Vec<Value> = fs::read_to_string(log)
        .expect("the plugin's log")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut attachments: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for call in &calls {
        attachments.entry(text(&call["env"], "CNI_CONTAINERID")).or_default().push(call);
    }
    assert!(!attachments.is_empty());
    for (id, calls) in attachments {
        let verbs: Vec<_> = calls.iter().map(|call| text(call, "command")).collect();
        // A gateway that moves away has the ports taken back before the rest.
        assert!(matches!(verbs[..], ["ADD", "DEL"] | ["ADD", "DEL", "DEL"]), "attachment {id}");
        let (add, first, del) = (calls[0], calls[1], calls[calls.len() - 1]);
        for variable in ["CNI_IFNAME", "CNI_NETNS", "CNI_ARGS", "CNI_PATH"] {
            assert_eq!(add["env"].get(variable), del["env"].get(variable), "{variable} of {id}");
        }
        let previous = &del["stdin"]["prevResult"]["ips"];
        let added: Vec<_> =
            previous.as_array().unwrap().iter().map(|ip| ip["address"].clone()).collect();
        assert_eq!(del["live"], Value::Array(added), "what DEL found, attachment {id}");
        let asked = &add["stdin"]["runtimeConfig"];
        assert_eq!(asked, &first["stdin"]["runtimeConfig"], "attachment {id}");
    }
}

/// The interfaces of this namespace.
fn links() -> String {
    sh("ls /sys/class/net")
}

/// Whether a file below `folder` has `id` in its name or its text.
fn mentions(folder: &Path, id: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.map(|entry| entry.unwrap().path()).any(|path| {
        path.to_string_lossy().contains(id)
            || mentions(&path, id)
            || fs::read_to_string(&path).is_ok_and(|text| text.contains(id))
    })
}

/// What the driver finishes in the background is finished soon.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}
