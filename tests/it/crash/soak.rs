//! Under load: containers come and go, sixteen at a time, on the reference plugins, while the
//! driver is killed every few seconds.
//!
//! `make soak` sets how many (`CNM_CNI_SOAK`); `make test` has a few. The seed of what is random is
//! printed, and taken from `CNM_CNI_SEED`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::files;
use crate::alone::{alone, sh};
use crate::server::client::{Answer, Connection};
use crate::server::dockerd::{Dockerd, Order};

const NETWORK: &str = "a0ca6ece2c77192e6a30b8d43e6cc8ecf221af6fbcec1bdea408c1d29c467b9f";
const AT_ONCE: usize = 16;
const LIMIT: Duration = Duration::from_secs(60);

/// What the driver may need, in KiB, with a thousand live attachments.
const MOST_MEMORY: u64 = 20 << 10;

#[test]
fn a_driver_under_load_that_is_killed_now_and_then_loses_nothing() {
    alone("crash::soak::a_driver_under_load_that_is_killed_now_and_then_loses_nothing", async {
        let cycles = number("CNM_CNI_SOAK").unwrap_or(60);
        let site = Arc::new(Site::new().await);
        let mut random = Random::new();
        let mut driver = site.start().await;
        site.make_network().await;

        // With kills, of which each may lose a call.
        let begun = Instant::now();
        let mut work = site.cycles(cycles / 3);
        let mut kills = 0;
        loop {
            let pause = Duration::from_millis(500 + random.below(3000));
            if tokio::time::timeout(pause, &mut work).await.is_ok() {
                break;
            }
            driver.kill().await.unwrap();
            driver = site.start().await;
            kills += 1;
        }
        // Without, so that what piles up is seen.
        site.cycles(cycles / 3).await;
        let between = Figures::of(&driver);
        site.cycles(cycles - cycles / 3 * 2).await;
        let rate = cycles as f64 / begun.elapsed().as_secs_f64();
        let lost = site.lost.load(Ordering::Relaxed);
        site.nothing_is_left().await;
        let after = Figures::of(&driver);
        println!("{cycles} cycles, {rate:.1} a second, {kills} kills, {lost} calls lost");
        println!("after two thirds: {between:?}; at the end: {after:?}");
        assert!(after.files <= between.files, "{between:?} {after:?}");
        assert!(after.threads <= between.threads + 8, "{between:?} {after:?}");
        assert!(after.memory_kib < between.memory_kib + (2 << 10), "{between:?} {after:?}");
        driver.kill().await.unwrap();
    });
}

#[test]
#[ignore = "takes minutes: make soak"]
fn a_thousand_attachments_need_little_memory() {
    alone("crash::soak::a_thousand_attachments_need_little_memory", async {
        let site = Arc::new(Site::new().await);
        let mut driver = site.start().await;
        site.make_network().await;
        let mut ids: Vec<_> = (0..1000).map(|number| format!("{number:064x}")).collect();
        for some in ids.chunks_mut(AT_ONCE) {
            let made = some.iter().map(|id| {
                let (site, id) = (Arc::clone(&site), id.clone());
                tokio::spawn(async move { Life::begin(&site, &id).await.unwrap() })
            });
            for life in made.collect::<Vec<_>>() {
                life.await.unwrap();
            }
        }
        let live = Figures::of(&driver);
        driver.kill().await.unwrap();
        let begun = Instant::now();
        driver = site.start().await;
        let started = begun.elapsed();
        let again = Figures::of(&driver);
        println!("1000 live attachments: {live:?}; started again in {started:?}: {again:?}");
        driver.kill().await.unwrap();
        // Everything is in this test's own namespaces, and goes with them.
        assert!(live.memory_kib.max(again.memory_kib) < MOST_MEMORY, "{live:?} {again:?}");
    });
}

#[test]
fn two_runtimes_share_a_conflist() {
    alone("crash::soak::two_runtimes_share_a_conflist", async {
        let each = number("CNM_CNI_SOAK").map_or(10, |_| 100);
        let site = Arc::new(Site::new().await);
        let mut driver = site.start().await;
        site.make_network().await;
        let mut beginning = Vec::new();
        for number in 0..each {
            let of_site = Arc::clone(&site);
            let ours = async move { Life::begin(&of_site, &format!("{number:064x}")).await };
            let of_site = Arc::clone(&site);
            let theirs = async move { of_site.cni("add", number).await };
            beginning.push((tokio::spawn(ours), tokio::spawn(theirs)));
            if beginning.len() % (AT_ONCE / 2) == 0 {
                // The rest waits for these.
                while !beginning
                    .iter()
                    .all(|(ours, theirs)| ours.is_finished() && theirs.is_finished())
                {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
        let mut ours = Vec::new();
        for (our, their) in beginning {
            ours.push(our.await.unwrap().unwrap());
            let result: Value = serde_json::from_str(&their.await.unwrap()).unwrap();
            site.has(result["ips"][0]["address"].as_str().unwrap());
        }
        assert_eq!(site.leases().len(), 2 * each);
        println!("{} attachments of two runtimes, and no address twice", 2 * each);

        // Half of each goes, at once; and garbage is collected meanwhile.
        let mut going = Vec::new();
        for (number, life) in ours.drain(..each / 2).enumerate() {
            let of_site = Arc::clone(&site);
            going.push(tokio::spawn(async move { life.end(&of_site).await }));
            let of_site = Arc::clone(&site);
            going.push(tokio::spawn(async move { drop(of_site.cni("del", number).await) }));
            if number % 8 == 0 {
                site.collect().await;
            }
        }
        for one in going {
            one.await.unwrap();
        }
        let rest = 2 * (each - each / 2);
        site.until("half of the leases are left", || site.leases().len() == rest).await;
        assert_eq!(site.collect().await, json!([]), "nothing of the other one's is garbage");
        assert_eq!(site.leases().len(), rest);
        for number in each / 2..each {
            site.cni("check", number).await;
            site.cni("del", number).await;
        }
        for life in ours {
            life.end(&site).await;
        }
        site.nothing_is_left().await;
        driver.kill().await.unwrap();
    });
}

/// A machine with the reference plugins, and a conflist of bridge, host-local and portmap.
struct Site {
    folder: TempDir,
    plugins: PathBuf,
    /// Who has which address now.
    addresses: Mutex<HashMap<String, ()>>,
    next: AtomicUsize,
    lost: AtomicUsize,
}

impl Site {
    async fn new() -> Self {
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
        Self { folder, plugins, addresses, next, lost }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cnm-cni"));
        command
            .env("NETCONFPATH", self.folder.path().join("conf"))
            .env("CNI_PATH", &self.plugins)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts the driver, and waits until it answers.
    async fn start(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command();
        command.args(["serve", "--gc-interval=0"]).stderr(log);
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
    async fn cni(&self, verb: &str, number: usize) -> String {
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let worth = log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN"));
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

    async fn make_network(&self) {
        let answer = self.call("CreateNetwork", &network()).await.unwrap();
        assert_eq!(answer.body, json!({}));
    }

    /// So many containers come and go, some at a time.
    fn cycles(self: &Arc<Self>, count: usize) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
        let end = self.next.load(Ordering::Relaxed) + count;
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let site = Arc::clone(self);
                tokio::spawn(async move {
                    loop {
                        let number = site.next.fetch_add(1, Ordering::Relaxed);
                        if number >= end {
                            return;
                        }
                        if let Some(life) = Life::begin(&site, &format!("{number:064x}")).await {
                            life.end(&site).await;
                        }
                    }
                })
            })
            .collect();
        Box::pin(async move {
            for worker in workers {
                worker.await.unwrap();
            }
        })
    }

    /// Notes that somebody has this address, with prefix length; nobody else may.
    fn has(&self, address: &str) {
        let twice = self.addresses.lock().unwrap().insert(address.to_owned(), ());
        assert!(twice.is_none(), "{address} is given to two");
    }

    fn leases(&self) -> Vec<String> {
        let mut leases = files(&self.path("leases/soak"));
        leases.retain(|file| !file.contains("last_reserved_ip") && !file.ends_with("/lock"));
        leases
    }

    async fn collect(&self) -> Value {
        let wanted = json!({"apply": true, "grace": 0, "exclusive": false}).to_string();
        self.send("Control.Collect", &wanted).await.unwrap().unwrap().body
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < LIMIT, "not in time: {what}\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails unless nothing of any container is left, once what was lost has been collected.
    async fn nothing_is_left(&self) {
        self.collect().await;
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
struct Life {
    ids: Value,
    dockerd: Dockerd,
    address: String,
}

impl Life {
    /// None if a call was lost; nothing is left then that Docker would ask to be removed.
    async fn begin(site: &Site, endpoint: &str) -> Option<Self> {
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

    async fn end(mut self, site: &Site) {
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

/// What a process needs.
#[derive(Debug)]
struct Figures {
    memory_kib: u64,
    threads: u64,
    files: usize,
}

impl Figures {
    fn of(process: &Child) -> Self {
        let folder = format!("/proc/{}", process.id().unwrap());
        let status = fs::read_to_string(format!("{folder}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            memory_kib: field("VmRSS:"),
            threads: field("Threads:"),
            files: files(Path::new(&format!("{folder}/fd"))).len(),
        }
    }
}

/// Numbers as if by chance (SplitMix64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let seed = number("CNM_CNI_SEED").map_or(now.as_secs(), |seed| seed as u64);
        println!("CNM_CNI_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn links() -> Vec<String> {
    let mut links: Vec<_> = sh("ls /sys/class/net").split_whitespace().map(str::to_owned).collect();
    links.sort();
    links
}
