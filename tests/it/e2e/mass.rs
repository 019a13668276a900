//! Hundreds of containers on one network, and what happens to all of them at once: a check, a driver that
//! is killed, their removal, a reboot. Docker must stay as fast for users meanwhile, and the driver must
//! not need more for many containers than for a few.
//!
//! `make mass`, with a release. `CNM_CNI_MASS` is how many containers there are.

#![allow(clippy::print_stdout, reason = "the table is the output")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::ConfFile;
use super::host::{Host, IMAGE, Suite, within};

const CONFLIST: ConfFile<'_> = (
    "10-mass.conflist",
    r#"{"cniVersion": "1.0.0", "name": "mass", "plugins": [
        {"type": "bridge", "bridge": "mass0", "isDefaultGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.97.0.0/16"}]]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]}"#,
);

const LOG: &str = "/run/driver.log";
const RECORDS: &str = "/var/lib/cnm-cni/attachments";

/// Containers that are started or removed at a time.
const AT_ONCE: usize = 16;

/// Longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// What has to hold, see [`verdict`].
const MOST_THREADS: usize = 30;
/// Plugins that run at a time, and the programs that they and the driver run.
const MOST_PROCESSES: usize = 64;
/// What the driver may have open beyond what it has when it does nothing.
const MOST_MORE_FILES: usize = 120;
const MOST_DELETE_MS: f64 = 50.0;
const MOST_CHECK_MS: f64 = 15.0;
const MOST_TIMES_OWN: f64 = 2.0;

/// A host with both networks, and containers that come and go by the hundred.
struct Mass {
    host: Host,
    count: usize,
}

/// The resources that the driver needs, at one moment or at most.
#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    threads: usize,
    /// All processes that it has started, directly or indirectly.
    processes: usize,
    files: usize,
}

/// What was seen while something happened to all containers.
#[derive(Debug, Default)]
struct Event {
    what: &'static str,
    /// Seconds until it was over.
    took: f64,
    /// Seconds of each `docker run` meanwhile: on the network, and on Docker's own bridge.
    runs: [Vec<f64>; 2],
    /// Milliseconds of each answer to DeleteEndpoint.
    deletes: Vec<f64>,
    peak: Figures,
}

#[test]
#[ignore = "takes minutes: make mass"]
fn hundreds_of_containers_delay_no_other() {
    let count = std::env::var("CNM_CNI_MASS").map_or(300, |text| text.parse().unwrap());
    let mass = Mass::new(count);
    let quiet = mass.figures();
    let mut events = vec![mass.event("nothing", || thread::sleep(Duration::from_secs(5)), || true)];

    mass.start_all("net");
    let alone = mass.check_alone();
    events.push(mass.event("check", || mass.run_aside("cnm-cni check"), || mass.is_done()));
    let each = |took: f64| took * 1000.0 / count as f64;
    let (check_ms, busy_ms) = (each(alone), each(events[1].took));
    let mut answered = 0.0;
    let restart = || {
        mass.host.stop_driver("KILL");
        let begun = Instant::now();
        mass.start_driver();
        answered = begun.elapsed().as_secs_f64();
    };
    events.push(mass.event("driver killed", restart, || true));
    let all = "docker rm -f $(docker ps -aq --filter label=mass)";
    let some = format!("docker ps -aq --filter label=mass | xargs -P {AT_ONCE} -n 1 docker rm -f");
    events.push(mass.removal("rm, one command", all));
    mass.start_all("net");
    events.push(mass.removal("rm, 16 at a time", &some));
    mass.start_all("own");
    events.push(mass.removal("own: rm, one command", all));
    mass.start_all("own");
    events.push(mass.removal("own: rm, 16 at a time", &some));
    mass.start_all("net");
    mass.shut_down();
    let left = mass.records();
    let boot = || {
        mass.start_driver();
        mass.host.start_dockerd(&[]);
    };
    events.push(mass.event("reboot", boot, || left.iter().all(|record| !record.exists())));

    println!("{count} containers; docker run meanwhile, in seconds: median (most)\n");
    println!(
        "{:<22} {:>7} {:>14} {:>14} {:>22} {:>8} {:>10} {:>6}",
        "event",
        "took s",
        "this network",
        "own bridge",
        "DeleteEndpoint p99 ms",
        "threads",
        "processes",
        "files"
    );
    for event in &events {
        println!("{event}");
    }
    println!("\nthe driver, doing nothing: {quiet:?}");
    println!("check: {check_ms:.1} ms an attachment; {busy_ms:.1} beside docker run without pause");
    println!("started again with {count} records: answers after {answered:.2} s");
    let failed = verdict(&events, quiet, check_ms);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The conditions that do not hold.
fn verdict(events: &[Event], quiet: Figures, check_ms: f64) -> Vec<String> {
    let mut failed = Vec::new();
    let mut bound = |what: String, value: f64, most: f64| {
        if value > most {
            failed.push(format!("{what}: {value:.1}, at most {most:.1}"));
        }
    };
    bound("check, ms an attachment".to_owned(), check_ms, MOST_CHECK_MS);
    // Containers on Docker's own network are only for comparison.
    for event in events.iter().filter(|event| !event.what.starts_with("own: ")) {
        let [ours, own] = event.runs.each_ref().map(|times| quantile(times, 0.5));
        bound(
            format!("{}: docker run, of the own bridge's", event.what),
            ours / own,
            MOST_TIMES_OWN,
        );
        let unseen = event.what.starts_with("rm") && event.deletes.is_empty();
        let what = format!("{}: removals without an answer in the log", event.what);
        bound(what, f64::from(unseen), 0.0);
        let delete = quantile(&event.deletes, 0.99);
        bound(format!("{}: DeleteEndpoint, ms", event.what), delete, MOST_DELETE_MS);
        let Figures { threads, processes, files } = event.peak;
        bound(format!("{}: threads", event.what), threads as f64, MOST_THREADS as f64);
        bound(format!("{}: processes", event.what), processes as f64, MOST_PROCESSES as f64);
        let more = files.saturating_sub(quiet.files);
        bound(format!("{}: more files", event.what), more as f64, MOST_MORE_FILES as f64);
    }
    failed
}

impl Mass {
    fn new(count: usize) -> Self {
        let host = Host::up(Suite::Forky);
        if let Some(release) = std::env::var_os("CNM_CNI_BINARY") {
            fs::copy(release, host.path("/usr/local/bin/cnm-cni")).unwrap();
        }
        host.write(&format!("/etc/cni/net.d/{}", CONFLIST.0), CONFLIST.1);
        let mass = Self { host, count };
        mass.start_driver();
        mass.host.create_network("net", Some("mass"));
        mass.host.docker(&["network", "create", "own"]);
        for network in ["net", "own"] {
            mass.try_run(network);
        }
        assert!(within(LIMIT, || mass.records().is_empty()));
        mass
    }

    /// Without spares, whose records and plugins would be counted, too. Its log tells how long answers took.
    fn start_driver(&self) {
        let serve = format!("exec cnm-cni serve --spares=0 --log-level=debug >>{LOG} 2>&1");
        self.host.start("cnm-cni", &["sh", "-c", &serve]);
        let answers = || {
            let ask = "curl --silent --max-time 5 --unix-socket /run/docker/plugins/cni.sock \
                --data '{\"NetworkID\": \"a\", \"EndpointID\": \"a\"}' \
                http://cni/NetworkDriver.EndpointOperInfo";
            self.host.try_exec(&["sh", "-c", ask]).is_ok()
        };
        assert!(within(LIMIT, answers), "the driver does not answer");
    }

    /// Starts the containers on a network.
    fn start_all(&self, network: &str) {
        let begun = Instant::now();
        let run = format!("docker run -d --label mass --network {network} {IMAGE} sleep 3600");
        let all = format!("seq {} | xargs -P {AT_ONCE} -I N {run}", self.count);
        self.run_aside(&format!("{all} >/dev/null"));
        assert!(within(LIMIT, || self.is_done()), "they do not start");
        let running = self.host.docker(&["ps", "-q", "--filter", "label=mass"]).lines().count();
        assert_eq!(running, self.count, "on network {network}");
        println!("{running} on network {network} after {:.0} s", begun.elapsed().as_secs_f64());
    }

    /// Runs a line of shell in the host, and does not wait for it.
    fn run_aside(&self, line: &str) {
        fs::remove_file(self.host.path("/run/done")).ok();
        let line = format!("{line} >/run/aside.log 2>&1; touch /run/done");
        self.host.start("aside", &["sh", "-c", &line]);
    }

    fn is_done(&self) -> bool {
        self.host.path("/run/done").exists()
    }

    /// How long a check of all containers takes while nothing else happens, in seconds.
    fn check_alone(&self) -> f64 {
        let begun = Instant::now();
        self.host.exec(&["cnm-cni", "check"]);
        begun.elapsed().as_secs_f64()
    }

    /// The records that there are now.
    fn records(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.host.path(RECORDS)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some()).collect()
    }

    /// How long a container takes that does nothing, in seconds; none if it fails.
    fn try_run(&self, network: &str) -> Option<f64> {
        let begun = Instant::now();
        let run = ["docker", "run", "--rm", "--network", network, IMAGE, "true"];
        self.host.try_exec(&run).ok().map(|_| begun.elapsed().as_secs_f64())
    }

    /// Removes all containers by a line of shell, and waits until nothing of them is left.
    fn removal(&self, what: &'static str, line: &str) -> Event {
        let left = self.records();
        let is_over = || self.is_done() && left.iter().all(|record| !record.exists());
        self.event(what, || self.run_aside(line), is_over)
    }

    /// Starts an event, runs containers until it is over, at least three on each network, and observes the
    /// driver meanwhile.
    fn event(
        &self,
        what: &'static str,
        begin: impl FnOnce() + Send,
        is_over: impl Fn() -> bool + Sync,
    ) -> Event {
        let log = self.host.path(LOG);
        let logged = fs::metadata(&log).unwrap().len();
        let (mut event, over) = (Event { what, ..Event::default() }, AtomicBool::new(false));
        let begun = Instant::now();
        thread::scope(|scope| {
            let looks = scope.spawn(|| {
                let mut peak = Figures::default();
                while !over.load(Ordering::Relaxed) {
                    peak = peak.most(self.figures());
                    thread::sleep(Duration::from_millis(20));
                }
                peak
            });
            let waits = scope.spawn(|| {
                begin();
                assert!(within(LIMIT, &is_over), "{what}: it is not over");
                begun.elapsed().as_secs_f64()
            });
            while !waits.is_finished() || event.runs.iter().any(|runs| runs.len() < 3) {
                for (network, runs) in ["net", "own"].iter().zip(&mut event.runs) {
                    // While dockerd is down there is nothing to be measured.
                    runs.extend(self.try_run(network));
                }
                assert!(begun.elapsed() < 2 * LIMIT, "{what}: no container runs");
            }
            event.took = waits.join().unwrap();
            over.store(true, Ordering::Relaxed);
            event.peak = looks.join().unwrap();
        });
        assert!(within(LIMIT, || self.records().len() <= self.count));
        let text =
            String::from_utf8_lossy(&fs::read(&log).unwrap()[logged as usize..]).into_owned();
        let answers =
            text.lines().filter(|line| line.contains("method=NetworkDriver.DeleteEndpoint"));
        event.deletes =
            answers.filter_map(|line| field(line, "duration_ms=")?.parse().ok()).collect();
        println!("{event}");
        event
    }

    /// What the driver needs just now; nothing while it does not run.
    fn figures(&self) -> Figures {
        let pid =
            fs::read_to_string(self.host.path("/run/testbed/cnm-cni.pid")).unwrap_or_default();
        let proc = self.host.path("/proc");
        Figures::of(&proc, pid.trim()).unwrap_or_default()
    }

    /// Simulates a loss of power: processes, namespaces, links and rules are lost; files stay, except those
    /// of this boot.
    fn shut_down(&self) {
        let pids = "docker inspect --format '{{.State.Pid}}' $(docker ps -q --filter label=mass)";
        let pids = self.host.exec(&["sh", "-c", pids]);
        self.host.stop_dockerd("KILL");
        self.host.stop_driver("KILL");
        let proc = self.host.path("/proc");
        let shims = entries(&proc).into_iter().filter(|process| {
            fs::read_to_string(process.join("comm"))
                .is_ok_and(|name| name.starts_with("containerd"))
        });
        let shims: Vec<_> =
            shims.map(|it| it.file_name().unwrap().to_string_lossy().into_owned()).collect();
        let kill = format!("kill -9 {} {} || true", shims.join(" "), pids.replace('\n', " "));
        self.host.exec(&["sh", "-c", &kill]);
        self.host.exec(&["sh", "-c", "umount /run/cnm-cni/netns/* /run/docker/netns/*; true"]);
        let rules = "for t in filter nat; do iptables -t $t -F; iptables -t $t -X; done";
        let files = "rm -rf /run/cnm-cni /run/docker/netns /run/docker/containerd /run/docker.pid";
        self.host.exec(&["sh", "-c", &format!("ip link delete mass0; {rules}; {files}")]);
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        for record in self.records() {
            let text = fs::read_to_string(&record).unwrap();
            fs::write(&record, text.replace(boot_id.trim(), "the-boot-before")).unwrap();
        }
    }
}

impl Figures {
    fn of(proc: &Path, pid: &str) -> Option<Self> {
        let process = proc.join(pid);
        let mut figures = Self { files: entries(&process.join("fd")).len(), ..Self::default() };
        let mut tasks = entries(&process.join("task"));
        figures.threads = tasks.len();
        while let Some(task) = tasks.pop() {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                figures.processes += 1;
                tasks.extend(entries(&proc.join(child).join("task")));
            }
        }
        (figures.threads > 0).then_some(figures)
    }

    fn most(self, other: Self) -> Self {
        Self {
            threads: self.threads.max(other.threads),
            processes: self.processes.max(other.processes),
            files: self.files.max(other.files),
        }
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [ours, own] = self
            .runs
            .each_ref()
            .map(|times| format!("{:.2} ({:.2})", quantile(times, 0.5), quantile(times, 1.0)));
        let deletes = format!("{:.1} of {}", quantile(&self.deletes, 0.99), self.deletes.len());
        let Self { what, took, peak: Figures { threads, processes, files }, .. } = self;
        write!(
            f,
            "{what:<22} {took:>7.1} {ours:>14} {own:>14} {deletes:>22} {threads:>8} {processes:>10} {files:>6}"
        )
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.split_once(key)?.1.split([' ', '}']).next()
}

/// The value that so many are at most; 0 of none.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
}
