//! The door and the driver together: what is unknown, and who hangs up in the middle.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::client::Connection;
use super::door::Door;
use super::process::Daemon;
use crate::alone::{alone, config};

const NETWORK: &str = "a0ca6ece2c77192e6a30b8d43e6cc8ecf221af6fbcec1bdea408c1d29c467b9f";
const ENDPOINT: &str = "c28fd67ae6ee36a7b1b9f4a6dbd8ba3b92c3b7c1e1c6a5f0d9d0a4f7b2e1c3d4";

fn ids() -> Value {
    json!({"NetworkID": NETWORK, "EndpointID": ENDPOINT})
}

fn create_network() -> Value {
    json!({
        "NetworkID": NETWORK,
        "Options": {"com.docker.network.generic": {}},
        "IPv4Data": [{"AddressSpace": "null", "Pool": "0.0.0.0/0"}],
        "IPv6Data": [],
    })
}

fn create_endpoint() -> Value {
    json!({
        "NetworkID": NETWORK,
        "EndpointID": ENDPOINT,
        "Interface": {"Address": "", "AddressIPv6": "", "MacAddress": ""},
        "Options": {},
    })
}

/// A network of one plugin, whose ADD takes a while. Returns the plugin's log.
fn write_slow_conflist(folder: &Path) -> std::path::PathBuf {
    let log = folder.join("plugin.log");
    let conflist = json!({
        "cniVersion": "1.0.0",
        "name": "slow",
        "plugins": [{"type": "fake-plugin", "fake": {
            "log": log,
            "interface": true,
            "addresses": ["10.22.3.7/16"],
            "gateway": "10.22.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.22.0.1"}],
            "ADD": {"sleep_ms": 300},
        }}],
    });
    let conf_dir = config(folder).conf_dir;
    fs::create_dir_all(&conf_dir).unwrap();
    fs::write(conf_dir.join("10-slow.conflist"), conflist.to_string()).unwrap();
    log
}

fn calls(log: &Path, verb: &str) -> usize {
    let log = fs::read_to_string(log).unwrap_or_default();
    log.lines().filter(|line| line.contains(&format!(r#""command":"{verb}""#))).count()
}

pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_unknown_cannot_be_used_and_can_be_removed() {
    let door = Door::open().await;
    let mut connection = door.connect().await;
    for (method, request, named) in
        [("CreateEndpoint", create_endpoint(), &NETWORK[..12]), ("Join", ids(), &ENDPOINT[..12])]
    {
        let answer = connection.call(&format!("NetworkDriver.{method}"), &request).await;
        assert_eq!(answer.status, 200, "{method}");
        assert!(answer.error().contains(named), "{method}: {answer:?}");
    }
    for method in
        ["RevokeExternalConnectivity", "Leave", "Leave", "DeleteEndpoint", "DeleteNetwork"]
    {
        let answer = connection.call(&format!("NetworkDriver.{method}"), &ids()).await;
        assert_eq!((answer.status, answer.body), (200, json!({})), "{method}");
    }
    drop(connection);
    door.close().await;
}

#[test]
fn an_endpoint_whose_caller_hangs_up_is_made_once() {
    alone(async {
        let folder = tempfile::tempdir_in("/run").unwrap();
        let log = write_slow_conflist(folder.path());
        let door = Door::open_on(folder).await;
        let mut caller = door.connect().await;
        let made = caller.call("NetworkDriver.CreateNetwork", &create_network()).await;
        assert_eq!(made.body, json!({}));

        let body = create_endpoint().to_string();
        caller.begin("NetworkDriver.CreateEndpoint", body.len()).await;
        caller.send(body.as_bytes()).await;
        until("ADD begins", || calls(&log, "ADD") == 1).await;
        drop(caller);

        let mut again = door.connect().await;
        let answer = again.call("NetworkDriver.CreateEndpoint", &create_endpoint()).await;
        assert_eq!(answer.body["Interface"]["Address"], "10.22.3.7/16", "{answer:?}");
        let joined = again.call("NetworkDriver.Join", &ids()).await;
        assert_eq!(joined.body["Gateway"], "10.22.0.1", "{joined:?}");
        for method in ["Leave", "DeleteEndpoint", "DeleteNetwork"] {
            let answer = again.call(&format!("NetworkDriver.{method}"), &ids()).await;
            assert_eq!(answer.body, json!({}), "{method}");
        }
        until("DEL", || calls(&log, "DEL") == 1).await;
        assert_eq!(calls(&log, "ADD"), 1);
        drop(again);
        door.close().await;
    });
}

#[test]
fn a_call_under_way_ends_before_the_driver_does() {
    alone(async {
        let folder = tempfile::tempdir_in("/run").unwrap();
        let log = write_slow_conflist(folder.path());
        let plugins = config(folder.path()).cni_path;
        let path = format!("--cni-path={}", plugins[0].display());
        let daemon = Daemon::start(folder.path(), &[&path]).await;
        let mut caller = Connection::open(&folder.path().join("cni.sock")).await;
        caller.call("NetworkDriver.CreateNetwork", &create_network()).await;
        let body = create_endpoint().to_string();
        caller.begin("NetworkDriver.CreateEndpoint", body.len()).await;
        caller.send(body.as_bytes()).await;
        until("ADD begins", || calls(&log, "ADD") == 1).await;
        daemon.signal(Signal::SIGTERM);
        let answer = caller.answer().await;
        assert_eq!(answer.body["Interface"]["Address"], "10.22.3.7/16", "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        let (status, log) = daemon.end().await;
        assert!(status.success(), "{log}");
    });
}
