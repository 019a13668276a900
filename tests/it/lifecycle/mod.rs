//! The driver without its server: attachments are made, undone, found again, and leave nothing. The plugins
//! are scripted; namespaces, links and rules are real.

mod attach;
mod built_in;
mod check;
mod collect;
mod detach;
mod forward;
mod further;
mod host;
mod inventory;
mod journal;
mod metrics;
mod netfilter;
mod networks;
mod orphans;
mod phases;
mod ports;
mod publication;
mod records;
mod recover;
mod removal;
mod rules;
mod scale;
mod settle;
mod spares;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cnm_cni::cnm::{CreateEndpointRequest, CreateEndpointResponse, JoinResponse, SpareCount};
use cnm_cni::lifecycle::{Config, Driver, Error};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::alone::{config, sh};

const NETWORK: &str = "a0ca6ece2c77192e6a30b8d43e6cc8ecf221af6fbcec1bdea408c1d29c467b9f";

/// A driver on folders of its own, with a conflist whose plugins write to one log.
struct Bench {
    folder: TempDir,
    config: Config,
    driver: Driver,
}

impl Bench {
    /// A driver with one network on a chain of `plugins`, made by the `scripted` ones.
    async fn with(plugins: Value) -> Self {
        let folder = tempfile::tempdir_in("/run").unwrap();
        let mut config = config(folder.path());
        fs::create_dir(&config.conf_dir).unwrap();
        // For conflists that name it; the scripted plugin does not call it.
        let more = folder.path().join("bin");
        fs::create_dir(&more).unwrap();
        symlink(config.cni_path[0].join("fake-plugin"), more.join("host-local")).unwrap();
        config.cni_path.push(more);
        let driver = Driver::open(config.clone()).await.unwrap();
        let bench = Self { folder, config, driver };
        bench.write_conflist(plugins);
        bench.driver.create_network(read(json!({"NetworkID": NETWORK}))).await.unwrap();
        bench
    }

    /// The same with DEL in the background, which is the default.
    async fn in_background(plugins: Value) -> Self {
        let mut bench = Self::with(plugins).await;
        bench.config.sync_delete = false;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        bench
    }

    /// (Re)writes the conflist; `LOG` in it stands for the log's path, `FOLDER` for its folder's.
    fn write_conflist(&self, plugins: Value) {
        self.write_conflist_of("1.0.0", plugins);
    }

    fn write_conflist_of(&self, version: &str, plugins: Value) {
        let conflist = json!({"cniVersion": version, "name": "k8snet", "plugins": plugins});
        let text = conflist.to_string().replace("LOG", &self.log().to_string_lossy());
        let text = text.replace("FOLDER", &self.folder.path().to_string_lossy());
        fs::write(self.config.conf_dir.join("10-k8snet.conflist"), text).unwrap();
    }

    /// Starts the driver again on what the last one left on disk, and lets it recover.
    async fn restart(&mut self) {
        self.driver = Driver::open(self.config.clone()).await.unwrap();
        self.driver.drain().await;
    }

    /// Starts the driver again, which is to have so many spares, and waits for the first.
    async fn with_spares(&mut self, count: SpareCount) {
        self.driver.drain().await;
        self.config.spares = count;
        self.driver = Driver::open(self.config.clone()).await.unwrap();
        until(|| !self.spares().is_empty()).await;
    }

    /// The ids of the spares that are ready: their interfaces have arrived where Docker takes them.
    fn spares(&self) -> Vec<String> {
        let records = self.records().into_iter().filter_map(|file| fs::read(file).ok());
        let records = records.filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
        let spares = records.filter(|record| {
            let if_name = record["record"]["parameters"]["if_name"].as_str().unwrap();
            record["record"]["phase"] == "Spare"
                && Path::new("/proc/sys/net/ipv4/conf").join(if_name).exists()
        });
        spares.map(|record| record["record"]["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn create_endpoint(&self, id: &str) -> Result<CreateEndpointResponse, Error> {
        let request: CreateEndpointRequest =
            read(json!({"NetworkID": NETWORK, "EndpointID": id, "Interface": {}}));
        self.driver.create_endpoint(request).await
    }

    async fn join(&self, id: &str, sandbox: &str) -> Result<JoinResponse, Error> {
        let ids = json!({"NetworkID": NETWORK, "EndpointID": id, "SandboxKey": sandbox});
        self.driver.join(read(ids)).await
    }

    /// Starts a container as Docker 28 does it: its sandbox exists, the endpoint joins, and the interface
    /// is moved and set up. Returns the name that the interface had before.
    async fn enter(&self, id: &str) -> String {
        make_sandbox();
        let name = self.join(id, SANDBOX).await.unwrap().interface_name.src_name;
        as_docker_moves_it(&name);
        name
    }

    async fn delete_endpoint(&self, id: &str) {
        let ids = json!({"NetworkID": NETWORK, "EndpointID": id});
        self.driver.delete_endpoint(read(ids)).await;
    }

    async fn program(&self, id: &str) -> Result<(), Error> {
        let ids = json!({"NetworkID": NETWORK, "EndpointID": id});
        self.driver.program_external_connectivity(read(ids)).await
    }

    async fn leave(&self, id: &str) {
        let ids = json!({"NetworkID": NETWORK, "EndpointID": id});
        self.driver.leave(read(ids)).await;
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("plugin.log")
    }

    /// Every execution of a scripted plugin so far.
    fn calls(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Their verbs.
    fn verbs(&self) -> Vec<String> {
        self.calls().iter().map(|call| call["command"].as_str().unwrap().to_owned()).collect()
    }

    /// The attachments' records.
    fn records(&self) -> Vec<PathBuf> {
        files(&self.config.state_dir.join("attachments"))
    }

    /// Fails if anything of any attachment is left.
    fn assert_nothing_is_left(&self) {
        assert_eq!(self.records(), [] as [PathBuf; 0], "records");
        assert_eq!(files(&self.config.run_dir.join("netns")), [] as [PathBuf; 0], "pins");
        assert_eq!(sh("ls /sys/class/net").trim(), "lo", "interfaces");
        assert!(!rules().contains("cnm-cni"), "rules: {}", rules());
        assert_eq!(table(), "", "the table of exemptions");
    }
}

/// The one scripted plugin that makes an interface, with what `more` adds to its script.
fn scripted(more: Value) -> Value {
    let mut fake = json!({
        "log": "LOG",
        "interface": true,
        "addresses": ["10.22.3.7/16", "fd00:22::7/64"],
        "gateway": "10.22.0.1",
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.22.0.1"}],
    });
    fake.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"type": "fake-plugin", "capabilities": {"ips": true, "mac": true}, "fake": fake})
}

/// The container's namespace in these tests.
const SANDBOX: &str = "/run/sandbox";

/// Makes the container's namespace, as dockerd does.
fn make_sandbox() {
    sh(&format!("touch {SANDBOX}; unshare --net={SANDBOX} ip link set lo up"));
}

/// What dockerd sets up once the interface is in the container, in dockerd's order; `SRC` is the
/// interface's name.
const AS_DOCKER_SETS_IT_UP: [&str; 5] = [
    "link set SRC name eth0",
    "addr add 10.22.3.7/16 dev eth0",
    "addr add fd00:22::7/64 dev eth0 nodad",
    "link set eth0 up",
    "route add default via 10.22.0.1",
];

/// Moves the interface into the container and sets it up.
fn as_docker_moves_it(src_name: &str) {
    sh(&format!("ip link set {src_name} netns {SANDBOX}"));
    for step in AS_DOCKER_SETS_IT_UP {
        inside(&format!("ip {}", step.replace("SRC", src_name)));
    }
}

/// Runs a command in the container's namespace.
fn inside(command: &str) -> String {
    sh(&format!("nsenter --net={SANDBOX} {command}"))
}

/// Waits until no record is left: every DEL has succeeded.
async fn gone(bench: &Bench) {
    until(|| bench.records().is_empty()).await;
    bench.driver.drain().await;
}

async fn until(condition: impl Fn() -> bool) {
    // Far longer than anything here takes.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it has not come to pass");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What Docker's JSON reads as.
fn read<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

/// The rules of both FORWARD chains.
fn rules() -> String {
    sh("iptables -S FORWARD; ip6tables -S FORWARD")
}

/// The tables that exempt from the policy of FORWARD; nothing where there is none.
fn table() -> String {
    sh("for table in $(nft list tables inet | grep -o 'cnm_cni_forward.*'); do
            nft list table inet $table
        done")
}

fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}
