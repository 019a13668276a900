//! The leak check: all that a host has, before and after.
//!
//! Nothing is filtered by name or pattern: all that the kernel, the files and Docker show of each kind is
//! compared.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::host::{Host, Suite, answers, within};
use super::on_both_dockers;

/// How long background work may take to end: processes, Docker's own clean-up.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Prints everything that an attachment could leave behind, except for processes and what Docker knows.
const INVENTORY: &str = r#"
    # Pinned namespaces. (Docker collects the empty files below them once a minute.)
    # In every mount namespace: a managed plugin has one of its own.
    cat /proc/[0-9]*/mountinfo 2>/dev/null |
        awk '/ - nsfs / {print "namespace: " $4 " on " $5}' | sort --unique
    # The allocator's leases, the records of "tuning", the driver's own records.
    find /var/lib/cni /run/cni /var/lib/cnm-cni /run/cnm-cni -printf 'file: %p\n' 2>/dev/null
    ip -brief link | awk '{print "link: " $1}'
    ip -oneline address | awk '{print "address: " $4 " on " $2}'
    for family in -4 -6; do
        # The kernel derives table "local" from the addresses, some of it seconds later; and
        # "linkdown" comes and goes with the last port of a bridge.
        ip $family route show table all |
            sed '/ table local /d; s/ linkdown//; s/^/route: /'
        ip $family rule | sed 's/^/rule: /'
    done
    # The rules of both families, also those that iptables made. Docker puts its jump to DOCKER-USER
    # anew for each network: for two that are made at once, Docker before 28 puts it twice.
    nft --stateless list ruleset 2>/dev/null |
        awk '/^table/ {table = $3} /^\tchain/ {chain = $2}
            /jump DOCKER-USER/ && jumps[table]++ {next}
            {print "nft: " table " " chain " " $0}'
"#;

/// Everything that an attachment could leave behind: a line each, and how often it is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Footprint(BTreeMap<String, usize>);

impl Footprint {
    /// The footprint once it does not change any more.
    pub(super) fn settled(host: &Host) -> Self {
        // Spares are removed after their network, when Docker waits for nothing.
        within(LIMIT, || rests(host));
        let deadline = Instant::now() + LIMIT;
        let mut last = Self::of(host);
        loop {
            let now = Self::of(host);
            if now == last {
                return now;
            }
            assert!(Instant::now() < deadline, "still changes: {}", last.changes_to(&now));
            last = now;
        }
    }

    /// Whether the host has a part of this footprint after some time, and nothing else.
    pub(super) fn has_only_shrunk(&self, host: &Host) -> bool {
        if within(LIMIT, || Self::of(host) == *self) {
            return false;
        }
        let now = Self::of(host);
        now.0.iter().all(|(line, count)| self.0.get(line).is_some_and(|before| count <= before))
    }

    /// Fails unless the host has exactly this footprint again after some time.
    #[track_caller]
    pub(super) fn assert_nothing_more(&self, host: &Host) {
        let same = within(LIMIT, || Self::of(host) == *self);
        assert!(same, "left behind (+) or lost (-):{}", self.changes_to(&Self::of(host)));
    }

    fn of(host: &Host) -> Self {
        let mut lines = processes(host);
        lines.extend(known_to_docker(host));
        lines.extend(host.exec(&["sh", "-c", INVENTORY]).lines().map(str::to_owned));
        let mut footprint = Self(BTreeMap::new());
        for line in lines {
            *footprint.0.entry(line).or_default() += 1;
        }
        footprint
    }

    fn changes_to(&self, now: &Self) -> String {
        let count = |lines: &BTreeMap<_, _>, line| lines.get(line).copied().unwrap_or(0);
        let lines = self.0.keys().chain(now.0.keys().filter(|line| !self.0.contains_key(*line)));
        let changed = lines.filter(|line| count(&self.0, *line) != count(&now.0, *line));
        changed.fold(String::new(), |text, line| {
            let sign = if count(&now.0, line) > count(&self.0, line) { '+' } else { '-' };
            format!("{text}\n  {sign} {line}")
        })
    }
}

/// The containers and the networks that Docker has.
fn known_to_docker(host: &Host) -> Vec<String> {
    let list = |path| host.ask_docker(path).as_array().unwrap().clone();
    let containers = list("/containers/json?all=true").into_iter();
    let containers = containers.map(|it| format!("container: {} {}", it["Id"], it["Names"]));
    // Without the id: dockerd makes its own bridge anew whenever it starts.
    let networks = list("/networks").into_iter().map(|it| format!("network: {}", it["Name"]));
    containers.chain(networks).collect()
}

/// Whether the driver makes and removes nothing now.
fn rests(host: &Host) -> bool {
    let state = host.path("/var/lib/cnm-cni");
    let Ok(records) = fs::read_dir(state.join("attachments")) else { return true };
    records.flatten().all(|entry| {
        let text = fs::read(entry.path()).unwrap_or_default();
        let record: Value = serde_json::from_slice(&text).unwrap_or_default();
        let (phase, network) = (&record["record"]["phase"], &record["record"]["network"]);
        let network = state.join(format!("networks/{}.json", network.as_str().unwrap_or_default()));
        phase != "Adding" && phase != "Deleting" && network.exists()
    })
}

/// Processes, and the network namespaces that they hold open.
fn processes(host: &Host) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(host.path("/proc")).unwrap() {
        let process = entry.unwrap().path();
        // An entry without a command line is no process, or a process that just ends.
        let Ok(command) = fs::read_to_string(process.join("cmdline")) else { continue };
        // One that has ended is reaped a moment later.
        if command.is_empty() && within(LIMIT, || !process.exists()) {
            continue;
        }
        let command = command.replace('\0', " ");
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        for target in open.filter_map(|fd| fs::read_link(fd.path()).ok()) {
            if target.to_string_lossy().starts_with("net:[") {
                lines.push(format!("open namespace: {} by {command}", target.display()));
            }
        }
        lines.push(format!("process: {command}"));
    }
    lines
}

mod tests {
    use super::*;

    on_both_dockers! {
        nothing_is_left_of_a_container_on_dockers_own_bridge,
        whatever_is_left_is_seen,
    }

    fn nothing_is_left_of_a_container_on_dockers_own_bridge(suite: Suite) {
        let host = Host::up(suite);
        let start = || {
            host.docker(&["network", "create", "web"]);
            host.run("alice", "web", &["-p", "8080:80"]);
            answers("alice", || host.get_from_outside(8080));
        };
        let remove = || host.remove(&["alice"], &["web"]);
        start();
        remove();
        let before = Footprint::settled(&host);
        start();
        assert_ne!(Footprint::of(&host), before);
        remove();
        before.assert_nothing_more(&host);
    }

    fn whatever_is_left_is_seen(suite: Suite) {
        let host = Host::up(suite);
        let before = Footprint::settled(&host);
        let leaks: [(&str, &[&str], &[&str]); 7] = [
            ("namespace", &["ip", "netns", "add", "x"], &["ip", "netns", "delete", "x"]),
            ("link", &["ip", "link", "add", "x", "type", "bridge"], &["ip", "link", "delete", "x"]),
            (
                "address",
                &["ip", "address", "add", "192.0.2.1", "dev", "lo"],
                &["ip", "address", "delete", "192.0.2.1/32", "dev", "lo"],
            ),
            (
                "route",
                &["ip", "route", "add", "blackhole", "192.0.2.2"],
                &["ip", "route", "delete", "192.0.2.2"],
            ),
            ("file", &["mkdir", "-p", "/var/lib/cni/x"], &["rm", "-r", "/var/lib/cni"]),
            ("nft", &["iptables", "-t", "nat", "-N", "x"], &["iptables", "-t", "nat", "-X", "x"]),
            ("nft", &["nft", "add", "table", "ip6", "x"], &["nft", "delete", "table", "ip6", "x"]),
        ];
        for (kind, leak, remedy) in leaks {
            host.exec(leak);
            let changes = before.changes_to(&Footprint::of(&host));
            assert!(changes.contains(&format!("+ {kind}: ")), "{leak:?}: {changes}");
            host.exec(remedy);
            before.assert_nothing_more(&host);
        }
    }
}
