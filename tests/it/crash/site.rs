//! A machine with the reference plugins: the driver's program, and containers that come and go at
//! the same time, each with a dockerd that is played.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::{NETWORK, files};
use crate::alone::sh;
use crate::server::client::{Answer, Connection};
use crate::server::dockerd::{Dockerd, Order};

/// How many containers come or go at the same time.
pub(super) const AT_ONCE: usize = 16;

const LIMIT: Duration = Duration::from_secs(60);

/// A machine with the reference plugins, and a conflist of bridge, host-local and portmap.
pub(super) struct Site {
    folder: TempDir,
    plugins: PathBuf,
    /// Who has which address now.
    addresses: Mutex<HashMap<String, ()>>,
    next: AtomicUsize,
    /// How many attachments the driver is to make ahead of time; none if it decides.
    spares: Option<usize>,
    /// Calls whose answer Docker never got.
    pub(super) lost: AtomicUsize,
}

impl Site {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir_in("/run").unwrap();
        fs::create_dir(folder.path().join("conf")).unwrap();
        let conflist = json!({"cniVersion": "1.0.0", "name": "soak", "plugins": [
            {"type": "bridge", "bridge": "soak0", "isGateway": true, "ipMasq": true, "ipam": {
                "type": "host-local", "dataDir": folder.path().join("leases"),
                "ranges": [[{"subnet": "10.88.0.0/20"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]});
        fs::write(folder.path().join("conf/10-soak.conflist"), conflist.to_string()).unwrap();
        let home = std::env::var("HOME").unwrap();
        let cache = std::env::var("XDG_CACHE_HOME").unwrap_or(format!("{home}/.cache"));
        let plugins = Path::new(&cache).join("cnm-cni/testbed/forky/usr/lib/cni");
        assert!(plugins.join("bridge").exists(), "{}: see make test", plugins.display());
        let (addresses, next, lost) = Default::default();
        Self { folder, plugins, addresses, next, spares: None, lost }
    }

    /// The same with so many spares.
    pub(super) async fn with_spares(count: usize) -> Self {
        Self { spares: Some(count), ..Self::new().await }
    }

    fn command(&self) -> Command {
        let tested = env!("CARGO_BIN_EXE_cnm-cni").to_owned();
        let program = std::env::var("CNM_CNI_BINARY").unwrap_or(tested);
        let mut command = Command::new(program);
        command
            .env("NETCONFPATH", self.folder.path().join("conf"))
            .env("CNI_PATH", &self.plugins)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts the driver, and waits until it answers.
    pub(super) async fn start(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command();
        command.args(["serve", "--gc-interval=0"]).stderr(log);
        let spares = self.spares.map_or("auto".to_owned(), |count| count.to_string());
        command.arg(format!("--spares={spares}"));
        for (flag, name) in [("state-dir", "state"), ("run-dir", "run"), ("socket", "cni.sock")] {
            command.arg(format!("--{flag}={}", self.path(name).display()));
        }
        let child = command.spawn().unwrap();
        let begun = Instant::now();
        while self.send("Plugin.Activate", "").await.is_none() {
            assert!(begun.elapsed() < LIMIT, "{}", self.log());
            sleep(Duration::from_millis(2)).await;
        }
        child
    }

    /// `cnm-cni cni VERB`, as another runtime of this machine, for its container of this number.
    pub(super) async fn cni(&self, verb: &str, number: usize) -> String {
        let name = format!("pod{number}");
        if verb == "add" {
            sh(&format!("ip netns add {name}"));
        }
        let mut command = self.command();
        let cache = format!("--cache-dir={}", self.path("cache").display());
        command.args(["cni", verb, "soak", &format!("/run/netns/{name}"), &cache]);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{verb} {name}: {output:?}");
        if verb == "del" {
            sh(&format!("ip netns delete {name}"));
        }
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        // A driver that cannot start says so without a level.
        let worth = ["ERROR", "WARN", "error:", "caused by:", "panicked"];
        let worth = log.lines().filter(|line| worth.iter().any(|word| line.contains(word)));
        let mut last: Vec<_> = worth.rev().take(20).collect();
        last.reverse();
        last.join("\n")
    }

    async fn send(&self, method: &str, body: &str) -> Option<Option<Answer>> {
        let mut connection = Connection::try_open(&self.path("cni.sock")).await?;
        Some(connection.try_call(method, body).await)
    }

    /// Calls the driver as dockerd does; none if the answer is lost.
    async fn call(&self, method: &str, request: &Value) -> Option<Answer> {
        let mut body = request.to_string();
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            match self.send(&format!("NetworkDriver.{method}"), &body).await {
                Some(Some(_)) if body.is_empty() => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                Some(Some(answer)) => return Some(answer),
                Some(None) => body.clear(),
                None => {}
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("{method} is not answered");
    }

    /// Waits until the driver has read its records.
    pub(super) async fn is_open(&self) {
        let unknown = json!({"NetworkID": NETWORK, "EndpointID": "unknown"});
        self.call("EndpointOperInfo", &unknown).await.unwrap();
    }

    pub(super) async fn make_network(&self) {
        let answer = self.call("CreateNetwork", &network()).await.unwrap();
        assert_eq!(answer.body, json!({}));
        // The first portmap makes the chains that all share; of two at once, one fails.
        Life::begin(self, "first").await.unwrap().end(self).await;
    }

    /// So many containers come and go, some at a time; each time once their spares are ready.
    pub(super) async fn cycles(self: &Arc<Self>, count: usize) {
        let end = self.next.load(Ordering::Relaxed) + count;
        match self.spares {
            None | Some(0) => self.come_and_go(end).await,
            Some(ready) => {
                while self.next.load(Ordering::Relaxed) < end {
                    self.until("all spares", || self.spares_ready() >= ready).await;
                    let next = self.next.load(Ordering::Relaxed) + AT_ONCE;
                    self.come_and_go(next.min(end)).await;
                }
            }
        }
    }

    /// The next containers come and go, up to that number.
    async fn come_and_go(self: &Arc<Self>, end: usize) {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let site = Arc::clone(self);
                tokio::spawn(async move {
                    while let Some(number) = site.next_below(end) {
                        if let Some(life) = Life::begin(&site, &format!("{number:064x}")).await {
                            life.end(&site).await;
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    }

    fn next_below(&self, end: usize) -> Option<usize> {
        let next = |number| (number < end).then_some(number + 1);
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()
    }

    /// How many spares are on record.
    fn spares_ready(&self) -> usize {
        let records = files(&self.path("state/attachments")).into_iter();
        let records = records.filter_map(|file| fs::read(file).ok());
        let records = records.filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
        records.filter(|record| record["record"]["phase"] == "Spare").count()
    }

    /// How many containers were given a spare, by the driver's log.
    pub(super) fn claimed(&self) -> usize {
        fs::read_to_string(self.path("log")).unwrap().matches("from a spare").count()
    }

    /// Notes that somebody has this address, with prefix length; nobody else may.
    pub(super) fn has(&self, address: &str) {
        let twice = self.addresses.lock().unwrap().insert(address.to_owned(), ());
        assert!(twice.is_none(), "{address} is given to two");
    }

    pub(super) fn leases(&self) -> Vec<String> {
        let mut leases = files(&self.path("leases/soak"));
        leases.retain(|file| !file.contains("last_reserved_ip") && !file.ends_with("/lock"));
        leases
    }

    pub(super) async fn collect(&self) -> Value {
        let wanted = json!({"apply": true, "grace": 0, "exclusive": false}).to_string();
        self.send("Control.Collect", &wanted).await.unwrap().unwrap().body
    }

    pub(super) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < LIMIT, "not in time: {what}\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails unless nothing of any container is left, once what was lost has been collected.
    pub(super) async fn nothing_is_left(&self) {
        self.collect().await;
        // Its spares end with it.
        let removed = self.call("DeleteNetwork", &json!({"NetworkID": NETWORK})).await.unwrap();
        assert_eq!(removed.body, json!({}));
        let records = || files(&self.path("state/attachments"));
        self.until("no records", || records().is_empty()).await;
        assert_eq!(self.leases(), [] as [String; 0]);
        assert_eq!(files(&self.path("run/netns")), [] as [String; 0]);
        assert_eq!(files(&self.path("sandboxes")), [] as [String; 0]);
        self.until("only the bridge", || links() == ["lo", "soak0"]).await;
        let rules = sh("iptables-save; ip6tables-save");
        let left: Vec<_> = rules
            .lines()
            .filter(|rule| rule.contains("10.88.0.") || rule.contains(" id: "))
            .collect();
        assert_eq!(left, [] as [&str; 0]);
        self.until("no table", || !sh("nft list tables").contains("cnm_cni")).await;
    }
}

fn network() -> Value {
    json!({
        "NetworkID": NETWORK,
        "Options": {},
        "IPv4Data": [{"AddressSpace": "null", "Gateway": "10.88.0.1/20", "Pool": "0.0.0.0/0"}],
        "IPv6Data": [],
    })
}

/// A container, from its start on.
pub(super) struct Life {
    ids: Value,
    dockerd: Dockerd,
    address: String,
}

impl Life {
    /// None if a call was lost; nothing is left then that Docker would ask to be removed.
    pub(super) async fn begin(site: &Site, endpoint: &str) -> Option<Self> {
        let mut dockerd = Dockerd::new(Order::SandboxFirst);
        dockerd.before("CreateNetwork", &network());
        let ids = json!({"NetworkID": NETWORK, "EndpointID": endpoint});
        let with = |key: &str, value: Value| {
            let mut request = ids.clone();
            request[key] = value;
            request
        };
        let ports = json!({"com.docker.network.portmap": [
            {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 0, "HostPortEnd": 0},
        ]});
        let mut create = with("Interface", json!({}));
        create["Options"] = ports;
        let made = site.call("CreateEndpoint", &create).await?;
        dockerd.after("CreateEndpoint", &create, &made);
        let address = made.body["Interface"]["Address"].as_str().unwrap().to_owned();
        site.has(&address);
        let mut life = Self { ids: ids.clone(), dockerd, address };
        let sandbox = site.path("sandboxes").join(endpoint);
        let join = with("SandboxKey", sandbox.to_str().unwrap().into());
        for (method, request) in
            [("Join", &join), ("ProgramExternalConnectivity", &ids), ("EndpointOperInfo", &ids)]
        {
            life.dockerd.before(method, request);
            let Some(answer) = site.call(method, request).await else {
                life.dockerd.lost(method, request);
                life.end(site).await;
                return None;
            };
            life.dockerd.after(method, request, &answer);
        }
        Some(life)
    }

    /// Somebody deleted the container's interface.
    pub(super) fn lost_its_interface(mut self) -> Self {
        self.dockerd.lost_its_interface(self.ids["EndpointID"].as_str().unwrap());
        self
    }

    pub(super) async fn end(mut self, site: &Site) {
        // Given back with the next call, at the soonest.
        site.addresses.lock().unwrap().remove(&self.address);
        for method in ["Leave", "DeleteEndpoint"] {
            self.dockerd.before(method, &self.ids);
            match site.call(method, &self.ids).await {
                Some(answer) => self.dockerd.after(method, &self.ids, &answer),
                None => self.dockerd.lost(method, &self.ids),
            }
        }
    }
}

fn links() -> Vec<String> {
    let mut links: Vec<_> = sh("ls /sys/class/net").split_whitespace().map(str::to_owned).collect();
    links.sort();
    links
}
