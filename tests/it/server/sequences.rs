//! Any calls in any order, also at once, also nonsense: against a model of what there is then.
//!
//! The plugin is the scripted one, so that each step can be compared with what is on the machine.
//! `CNM_CNI_CASES` says how many sequences are tried.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use cnm_cni::lifecycle::Driver;
use cnm_cni::server::{Calls, router};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::alone::{alone, config, sh};

const CASES: u32 = 128;

const METHODS: [&str; 13] = [
    "Plugin.Activate",
    "NetworkDriver.GetCapabilities",
    "NetworkDriver.DiscoverNew",
    "NetworkDriver.DiscoverDelete",
    "NetworkDriver.CreateNetwork",
    "NetworkDriver.DeleteNetwork",
    "NetworkDriver.CreateEndpoint",
    "NetworkDriver.DeleteEndpoint",
    "NetworkDriver.EndpointOperInfo",
    "NetworkDriver.Join",
    "NetworkDriver.Leave",
    "NetworkDriver.ProgramExternalConnectivity",
    "NetworkDriver.RevokeExternalConnectivity",
];

#[test]
fn any_sequence_of_calls_leaves_what_the_model_says() {
    alone(async {
        let cases = std::env::var("CNM_CNI_CASES").map_or(CASES, |cases| cases.parse().unwrap());
        let sequences = prop::collection::vec(step(), 1..20);
        let mut runner = TestRunner::new(Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 100,
            ..Config::default()
        });
        let mut sent = 0;
        let counted = std::cell::RefCell::new(&mut sent);
        let outcome = tokio::task::block_in_place(|| {
            runner.run(&sequences, |steps| {
                **counted.borrow_mut() += steps.iter().map(Vec::len).sum::<usize>();
                tokio::runtime::Handle::current().block_on(play(steps))
            })
        });
        println!("{cases} sequences of {sent} calls");
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    });
}

/// A call, as it is sent.
#[derive(Debug, Clone)]
struct Call {
    method: &'static str,
    body: Vec<u8>,
    /// What it is about; none for nonsense.
    sense: Option<(&'static str, &'static str)>,
}

/// Calls that are sent at once.
fn step() -> impl Strategy<Value = Vec<Call>> {
    prop_oneof![
        6 => call().prop_map(|call| vec![call]),
        1 => nonsense().prop_map(|call| vec![call]),
        2 => prop::collection::vec(prop_oneof![5 => call(), 1 => nonsense()], 2..5),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    // What makes something is as frequent as all that looks at it.
    let methods = METHODS.into_iter().chain([METHODS[4], METHODS[6], METHODS[6], METHODS[9]]);
    let methods = select(methods.collect::<Vec<_>>());
    (methods, select(vec!["n1", "n2"]), select(vec!["e1", "e2", "e3"])).prop_map(
        |(method, network, endpoint)| Call {
            method,
            body: request(network, endpoint).to_string().into_bytes(),
            sense: Some((network, endpoint)),
        },
    )
}

/// The fields of every call; each takes what it knows.
fn request(network: &str, endpoint: &str) -> Value {
    json!({
        "NetworkID": network, "EndpointID": endpoint, "Interface": {},
        // It never comes to be there.
        "SandboxKey": format!("/run/sandboxes/{endpoint}"),
        "Options": {}, "IPv4Data": [{"Pool": "0.0.0.0/0"}], "IPv6Data": [],
    })
}

fn nonsense() -> impl Strategy<Value = Call> {
    let fields = vec![
        "NetworkID",
        "EndpointID",
        "Interface",
        "SandboxKey",
        "Options",
        "IPv4Data",
        "IPv6Data",
    ];
    let values = select(vec![
        Value::Null,
        json!(5),
        json!(-1e300),
        json!("../../etc"),
        json!("x".repeat(300)),
        json!([[[]]]),
        json!({"com.docker.network.generic": {"conflist": "../x", "unknown": "1"}}),
        json!({"com.docker.network.portmap": [{"HostPort": 70000}]}),
        json!({"Address": "10.22.3.7/99", "MacAddress": "zz"}),
        json!([{"Pool": "fd00::/8", "Gateway": "x"}]),
    ]);
    let wrong = (select(fields), values).prop_map(|(field, value)| {
        let mut request = request("n1", "e1");
        request[field] = value;
        request.to_string().into_bytes()
    });
    let bodies = prop_oneof![
        3 => wrong,
        1 => Just(Vec::new()),
        1 => prop::collection::vec(any::<u8>(), 1..64),
        1 => Just(b"{\"NetworkID\": \"n1\"".to_vec()),
    ];
    let methods = METHODS.into_iter().chain(["NetworkDriver.AllocateNetwork", "x"]);
    (select(methods.collect::<Vec<_>>()), bodies).prop_map(|(method, body)| Call {
        method,
        body,
        sense: None,
    })
}

/// What Docker may believe to have.
#[derive(Debug, Default, PartialEq)]
struct Model {
    networks: BTreeSet<String>,
    /// Endpoints, each with its attachment.
    endpoints: BTreeMap<String, String>,
}

async fn play(steps: Vec<Vec<Call>>) -> Result<(), TestCaseError> {
    let site = Site::new().await;
    let mut model = Model::default();
    for step in steps {
        let told = format!("{step:?}");
        let answers: Vec<_> = step
            .iter()
            .map(|call| tokio::spawn(send(site.router.clone(), call.method, call.body.clone())))
            .collect();
        let mut outcomes = Vec::new();
        for answer in answers {
            outcomes.push(answer.await.expect("no panic")?);
        }
        let actual = site.look()?;
        // Of several at once, which came first is not known, nor what nonsense is understood as.
        if let [Call { method, sense: Some((network, endpoint)), .. }] = &step[..] {
            let succeeds = model.expects(method, network, endpoint);
            prop_assert_eq!(outcomes[0], succeeds, "{}", told);
            let expected: Vec<_> = model.endpoints.keys().collect();
            let found: Vec<_> = actual.endpoints.keys().collect();
            prop_assert_eq!(expected, found, "{}", told);
            prop_assert_eq!(&model.networks, &actual.networks, "{}", told);
            for (endpoint, attachment) in &model.endpoints {
                let same = attachment.is_empty() || *attachment == actual.endpoints[endpoint];
                prop_assert!(same, "{endpoint} was made again: {told}");
            }
        }
        model = actual;
    }
    for endpoint in model.endpoints.keys() {
        let body = request("n1", endpoint).to_string().into_bytes();
        send(site.router.clone(), "NetworkDriver.DeleteEndpoint", body).await?;
    }
    prop_assert!(site.look()?.endpoints.is_empty());
    Ok(())
}

impl Model {
    /// Whether the call succeeds; and what there is then.
    fn expects(&mut self, method: &str, network: &str, endpoint: &str) -> bool {
        let known = self.endpoints.contains_key(endpoint);
        match method.trim_start_matches("NetworkDriver.") {
            "CreateNetwork" => drop(self.networks.insert(network.to_owned())),
            "DeleteNetwork" => drop(self.networks.remove(network)),
            "CreateEndpoint" if !self.networks.contains(network) => return false,
            "CreateEndpoint" => drop(self.endpoints.entry(endpoint.to_owned()).or_default()),
            "DeleteEndpoint" => drop(self.endpoints.remove(endpoint)),
            "Join" | "ProgramExternalConnectivity" => return known,
            _ => {}
        }
        true
    }
}

/// Whether the call succeeds. Whatever it is, it has a proper answer.
async fn send(router: Router, method: &str, body: Vec<u8>) -> Result<bool, TestCaseError> {
    let request = Request::post(format!("/{method}")).body(Body::from(body)).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let error = body.get("Err").and_then(Value::as_str).unwrap_or_default();
    prop_assert!(status.as_u16() < 500, "{method}: {status} {body}");
    prop_assert!(status == 200 || !error.is_empty(), "{method}: {status} {body}");
    Ok(error.is_empty())
}

struct Site {
    folder: TempDir,
    /// What a case that failed has left: others are tried after it, to find the least that fails.
    others_ends: usize,
    router: Router,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir_in("/run").unwrap();
        let config = config(folder.path());
        fs::create_dir(&config.conf_dir).unwrap();
        let conflist = json!({"cniVersion": "1.0.0", "name": "k8snet", "plugins": [{
            "type": "fake-plugin",
            "fake": {
                "log": folder.path().join("log"), "interface": true,
                "addresses": ["10.22.3.7/16"], "gateway": "10.22.0.1",
            },
        }]});
        fs::write(config.conf_dir.join("10.conflist"), conflist.to_string()).unwrap();
        let driver = Arc::new(Driver::open(config).await.unwrap());
        Self { folder, others_ends: hosts_ends(), router: router(driver.into(), Calls::default()) }
    }

    /// What there is by the records; all else on the machine agrees with them.
    fn look(&self) -> Result<Model, TestCaseError> {
        let mut found = Model::default();
        for file in files(&self.folder.path().join("state/networks")) {
            found.networks.insert(file.file_stem().unwrap().to_string_lossy().into_owned());
        }
        let kept = files(&self.folder.path().join("state/attachments"));
        // One that is being written anew, behind the answer, has a second file.
        for file in kept.iter().filter(|file| file.extension().is_some_and(|it| it == "json")) {
            let record: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            let text = |key: &str| record["record"][key].as_str().unwrap().to_owned();
            prop_assert!(["Staged", "Joined"].contains(&&*text("phase")), "{record}");
            let twice = found.endpoints.insert(text("endpoint"), text("id"));
            prop_assert_eq!(twice, None, "two attachments of one endpoint");
        }
        let attachments: BTreeSet<_> = found.endpoints.values().cloned().collect();
        let pins = files(&self.folder.path().join("run/netns"));
        let pinned = pins.iter().map(|pin| pin.file_name().unwrap().to_string_lossy().into_owned());
        prop_assert_eq!(&pinned.collect::<BTreeSet<_>>(), &attachments, "namespaces");
        prop_assert_eq!(&self.attached(), &attachments, "ADD without DEL");
        // The kernel takes away what was in a namespace when it has time to.
        let deadline = Instant::now() + Duration::from_secs(10);
        let expected = self.others_ends + attachments.len();
        while hosts_ends() != expected && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        prop_assert_eq!(hosts_ends(), expected, "interfaces");
        Ok(found)
    }

    /// The attachments that the plugin has made, and not removed. It never makes one twice.
    fn attached(&self) -> BTreeSet<String> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let mut last = HashMap::new();
        for line in log.lines() {
            let call: Value = serde_json::from_str(line).unwrap();
            let id = call["env"]["CNI_CONTAINERID"].as_str().unwrap().to_owned();
            let before = last.insert(id, call["command"] == "ADD");
            assert!(before.is_none() || call["command"] != "ADD", "{log}");
        }
        last.into_iter().filter(|(_, attached)| *attached).map(|(id, _)| id).collect()
    }
}

/// How many interfaces of this namespace lead into another.
fn hosts_ends() -> usize {
    sh("ls /sys/class/net").lines().filter(|link| link.starts_with("fake")).count()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
