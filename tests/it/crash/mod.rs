//! The driver dies, and nothing is lost, nothing leaks.
//!
//! The driver is the real program, killed as `kill -9` does and started again; dockerd is played
//! after the real one, with what it does when a call is lost; the plugins are scripted. (The
//! same on real dockerds, with real plugins: `e2e::crash`.)

mod faults;
mod points;
mod publication;
mod site;
mod soak;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::alone::{config, sh};
use crate::server::client::{Answer, Connection};
use crate::server::dockerd::{Dockerd, Order};
use crate::server::process::Daemon;

const NETWORK: &str = "a0ca6ece2c77192e6a30b8d43e6cc8ecf221af6fbcec1bdea408c1d29c467b9f";
const ENDPOINT: &str = "c28fd67ae6ee36a7b1b9f4a6dbd8ba3b92c3b7c1e1c6a5f0d9d0a4f7b2e1c3d4";
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a driver may take to its crash point.
const UNTIL_DEAD: Duration = Duration::from_secs(5);

/// A machine with the driver on it, and a dockerd that calls it.
struct Machine {
    folder: TempDir,
    /// None between its death and its next start.
    driver: Option<Daemon>,
    /// It is to die, and has not yet.
    doomed: bool,
    /// At which crash point the driver after this one is to die.
    next: Option<String>,
    /// What the driver said before it listened.
    log: String,
    /// What Docker believes to have: the network, the endpoint, its place in the sandbox.
    network: bool,
    endpoint: bool,
    joined: bool,
    /// Calls whose answer Docker never got.
    lost: Vec<String>,
    dockerd: Dockerd,
    flags: Vec<String>,
    /// The network has a spare before the container starts.
    spare: bool,
    /// A driver has died.
    has_died: bool,
}

impl Machine {
    /// The conflist is of two plugins: the first makes an interface and takes the only lease
    /// that there is, the second publishes ports.
    async fn new(scripts: &Value) -> Self {
        let folder = tempfile::tempdir_in("/run").unwrap();
        let config = config(folder.path());
        let (conf, bin) = (config.conf_dir, folder.path().join("bin"));
        fs::create_dir(&conf).unwrap();
        fs::create_dir(&bin).unwrap();
        for name in ["first", "second"] {
            symlink(config.cni_path[0].join("fake-plugin"), bin.join(name)).unwrap();
        }
        let log = folder.path().join("plugin.log");
        let mut first = json!({
            "log": log, "interface": true, "addresses": ["10.22.3.7/16"], "gateway": "10.22.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.22.0.1"}],
            "lease": folder.path().join("lease"),
        });
        let mut second = json!({"log": log});
        for (plugin, name) in [(&mut first, "first"), (&mut second, "second")] {
            let more = scripts[name].as_object().cloned().unwrap_or_default();
            plugin.as_object_mut().unwrap().extend(more);
        }
        let conflist = json!({"cniVersion": "1.0.0", "name": "k8snet", "plugins": [
            {"type": "first", "fake": first},
            {"type": "second", "capabilities": {"portMappings": true}, "fake": second},
        ]});
        fs::write(conf.join("10-k8snet.conflist"), conflist.to_string()).unwrap();
        let flags = vec![format!("--cni-path={}", bin.display()), "--gc-interval=0".to_owned()];
        let dockerd = Dockerd::new(Order::SandboxFirst);
        Self {
            folder,
            driver: None,
            doomed: false,
            next: None,
            log: String::new(),
            network: false,
            endpoint: false,
            joined: false,
            lost: Vec::new(),
            dockerd,
            flags,
            spare: false,
            has_died: false,
        }
    }

    /// The same, with a spare on the network before the container starts.
    async fn with_a_spare(scripts: &Value) -> Self {
        let mut machine = Self::new(scripts).await;
        machine.flags.push("--spares=1".to_owned());
        machine.spare = true;
        machine
    }

    /// Waits until the network has a spare, or cannot have one.
    async fn has_a_spare(&mut self) {
        let begun = Instant::now();
        while !self.path("cni.sock").exists() || !self.is_ready() {
            if Connection::try_open(&self.path("cni.sock")).await.is_none() {
                self.buried().await;
                self.start_next().await;
            }
            // After a crash there may be none for a minute: what it left may be in the way.
            let limit = if self.has_died { Duration::from_secs(4) } else { PATIENCE * 3 };
            if begun.elapsed() > limit {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether a spare is on record, with its interface where Docker takes it.
    fn is_ready(&self) -> bool {
        let records = files(&self.path("state/attachments")).into_iter();
        let records = records.filter_map(|file| fs::read(file).ok());
        let records = records.filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
        let mut spares = records.filter(|record| record["record"]["phase"] == "Spare");
        spares.any(|record| {
            let if_name = record["record"]["parameters"]["if_name"].as_str().unwrap();
            Path::new("/proc/sys/net/ipv4/conf").join(if_name).exists()
        })
    }

    /// Starts the driver, which is to die at this crash point, or to list them.
    async fn start(&mut self, crash_at: Option<&str>) {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        let folder = self.folder.path();
        let (driver, log) = match crash_at {
            None => (Daemon::start(folder, &flags).await, String::new()),
            Some(point) => Daemon::start_and_crash(folder, &flags, point).await,
        };
        self.driver = Some(driver);
        self.log = log;
        self.doomed = crash_at.is_some_and(|point| point != "list");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Calls the driver as dockerd does: a connection that is refused is tried again with the
    /// body, one that is lost without it. A driver that has died is started again meanwhile. None if
    /// Docker never gets the answer.
    async fn call(&mut self, method: &str, request: &Value) -> Option<Answer> {
        self.dockerd.before(method, request);
        let mut body = request.to_string();
        for _ in 0..3 {
            let sent = async {
                let mut connection = Connection::try_open(&self.path("cni.sock")).await?;
                let answer = connection.try_call(&format!("NetworkDriver.{method}"), &body).await;
                Some(answer)
            };
            match sent.await {
                Some(Some(answer)) if body.is_empty() => {
                    assert_eq!(answer.status, 400, "{method}: {answer:?}");
                    assert!(answer.error().contains("the body is empty"), "{answer:?}");
                    self.dockerd.lost(method, request);
                    self.lost.push(method.to_owned());
                    return None;
                }
                Some(Some(answer)) => {
                    if answer.error().is_empty() {
                        self.dockerd.after(method, request, &answer);
                    } else {
                        self.dockerd.lost(method, request);
                    }
                    return Some(answer);
                }
                // The driver has read it, or may have.
                Some(None) => body.clear(),
                None => {}
            }
            self.buried().await;
            self.start_next().await;
        }
        panic!("{method} is not answered");
    }

    /// Waits until no attachment is on record.
    async fn forgotten(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !files(&self.path("state/attachments")).is_empty() {
            assert!(Instant::now() < deadline, "{:?}", self.look());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills the driver; what it has logged.
    async fn kill(&mut self) -> String {
        self.driver.as_ref().expect("a driver").signal(Signal::SIGKILL);
        self.buried().await
    }

    /// Waits until the driver has died; what it has logged.
    async fn buried(&mut self) -> String {
        let (status, log) = self.driver.take().expect("a driver").end().await;
        self.has_died = true;
        assert!(status.code().is_none(), "it ended by itself, {status}: {log}");
        std::mem::take(&mut self.log) + &log
    }

    /// A container's life, as long as its calls succeed; and its end. A driver that is to die has
    /// died then, and the next one runs.
    async fn life(&mut self) {
        assert!(self.dies_in_life(None).await, "the driver has not passed its crash point");
    }

    /// The same; the next driver is to die too, at this crash point. Which points a recovery passes depends on
    /// how far it is when Docker calls: one that does not pass this point is killed. Whether the last one that was
    /// to die did so by itself.
    async fn dies_in_life(&mut self, next: Option<&str>) -> bool {
        self.next = next.map(str::to_owned);
        self.live().await;
        let mut has_died = true;
        while self.doomed {
            has_died = self.driver.as_mut().expect("a driver").ends_within(UNTIL_DEAD).await;
            match has_died {
                true => self.buried().await,
                false => self.kill().await,
            };
            self.start_next().await;
        }
        has_died
    }

    async fn start_next(&mut self) {
        let next = self.next.take();
        self.start(next.as_deref()).await;
    }

    async fn live(&mut self) {
        self.begin().await;
        self.finish().await;
    }

    /// Makes the network and starts the container, as far as calls succeed; whether all did.
    async fn begin(&mut self) -> bool {
        self.join().await
            && self.program().await
            && self.succeeds("EndpointOperInfo", &ids()).await
            && self.succeeds("RevokeExternalConnectivity", &ids()).await
            && self.program().await
    }

    /// Makes the network and the container's endpoint, which joins, as far as calls succeed; whether all did.
    async fn join(&mut self) -> bool {
        let network = json!({
            "NetworkID": NETWORK,
            "Options": {"com.docker.network.generic": {"forward": "always"}},
            "IPv4Data": [{"AddressSpace": "cni", "Gateway": "10.22.0.1/16", "Pool": "0.0.0.0/0"}],
            "IPv6Data": [],
        });
        let endpoint = with(json!({"Interface": {}, "Options": ports()}));
        let sandbox = self.path("sandbox").display().to_string();
        let join = with(json!({"SandboxKey": sandbox, "Options": {}}));

        self.network = self.network || self.succeeds("CreateNetwork", &network).await;
        if self.network && self.spare {
            self.has_a_spare().await;
        }
        self.endpoint = self.network && self.succeeds("CreateEndpoint", &endpoint).await;
        self.joined = self.endpoint && self.succeeds("Join", &join).await;
        self.joined
    }

    async fn program(&mut self) -> bool {
        self.succeeds("ProgramExternalConnectivity", &with(json!({"Options": ports()}))).await
    }

    /// Removes the container and the network, as far as there are.
    async fn finish(&mut self) {
        if std::mem::take(&mut self.joined) {
            self.succeeds("Leave", &ids()).await;
        }
        if std::mem::take(&mut self.endpoint) {
            self.succeeds("DeleteEndpoint", &ids()).await;
        }
        self.remove_network().await;
    }

    async fn remove_network(&mut self) {
        let id = json!({"NetworkID": NETWORK});
        // A failure is told to Docker's user, who tries again.
        if self.network
            && (self.succeeds("DeleteNetwork", &id).await
                || self.succeeds("DeleteNetwork", &id).await)
        {
            self.network = false;
        }
    }

    /// Whether the call is answered, and without an error.
    async fn succeeds(&mut self, method: &str, request: &Value) -> bool {
        self.call(method, request).await.is_some_and(|answer| answer.error().is_empty())
    }

    /// What is left in the end; none if nothing is.
    async fn end(&mut self) -> Option<String> {
        let remains = self.remains().await;
        self.assert_each_add_has_its_del();
        (!remains.is_empty()).then(|| format!("{remains:?}, lost: {:?}", self.lost))
    }

    /// `cnm-cni gc --apply --grace 0`.
    async fn collect(&self) -> Value {
        let wanted = json!({"apply": true, "grace": 0, "exclusive": false});
        let mut connection = Connection::open(&self.path("cni.sock")).await;
        connection.call("Control.Collect", &wanted).await.body
    }

    /// Waits until nothing of any attachment is left; what is left after all.
    async fn remains(&self) -> Vec<String> {
        if self.lost.iter().any(|call| call.ends_with("teEndpoint")) {
            // Docker does not know of what was made, or does not say that it is over. The driver
            // finds out when Docker has had its time; and when it is asked to.
            self.collect().await;
        }
        self.settled().await
    }

    /// The same without asking.
    async fn settled(&self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let remains = self.look();
            if remains.is_empty() || Instant::now() > deadline {
                return remains;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn look(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["state/attachments", "run/netns"] {
            found.extend(files(&self.path(folder)));
        }
        // Docker never speaks of a network again whose making was lost.
        if !self.lost.iter().any(|call| call == "CreateNetwork") {
            found.extend(files(&self.path("state/networks")));
        }
        let lease = fs::read_to_string(self.path("lease"));
        found.extend(lease.ok().map(|owner| format!("the lease of {owner:?}")));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let here = self.folder.path().display().to_string();
        found.extend(mounts.lines().filter(|mount| mount.contains(&here)).map(str::to_owned));
        found.extend(
            files(Path::new("/sys/class/net")).into_iter().filter(|link| !link.ends_with("/lo")),
        );
        let rules = sh(
            "iptables -S FORWARD; ip6tables -S FORWARD; nft list tables | sed s/cnm_cni/cnm-cni/",
        );
        found.extend(rules.lines().filter(|rule| rule.contains("cnm-cni")).map(str::to_owned));
        found
    }

    /// Whatever a plugin has begun for an attachment it has also ended.
    fn assert_each_add_has_its_del(&self) {
        let log = fs::read_to_string(self.path("plugin.log")).unwrap_or_default();
        let mut last = HashMap::new();
        for line in log.lines() {
            let call: Value = serde_json::from_str(line).unwrap();
            let of = [&call["env"]["CNI_CONTAINERID"], &call["type"]].map(Value::to_string);
            last.insert(of, call["command"].to_string());
        }
        assert!(last.values().all(|verb| verb == "\"DEL\""), "{last:?}");
    }
}

fn ids() -> Value {
    json!({"NetworkID": NETWORK, "EndpointID": ENDPOINT})
}

/// A request for the endpoint, with more.
fn with(more: Value) -> Value {
    let mut request = ids();
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// The options of a container that publishes a port.
fn ports() -> Value {
    json!({"com.docker.network.portmap": [{
        "Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080,
    }]})
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}
