//! One network over several hosts.
//!
//! Flannel's own plugin, which Debian 11 packages, on its own conflist, with an etcd.
//! `tests/testbed/flanneld` replaces flanneld, and leaves the same on a host. Two hosts have Docker; on the
//! third a plain CNI runtime attaches a namespace, as a kubelet attaches a pod.
//!
//! `make hosts` prints what was checked.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::host::{Host, Suite, answers, bullseye, within};
use super::leaks::{Footprint, LIMIT};
use super::readme::{FOLDER, Steps};
use super::{ConfFile, PODS, on_a_host_without_spares, on_both_dockers};

const FLANNELD: &str = include_str!("../../testbed/flanneld");
pub(super) const CONFLIST: &str = include_str!("../../../conflists/flannel.conflist");
const PAGE: &str = "docs/several-hosts.md";
pub(super) const NETWORK: &str = "pods";

#[test]
fn flannel_over_vxlan() {
    everything_reaches_everything("vxlan", 1450);
}

#[test]
fn flannel_over_routes() {
    let site = everything_reaches_everything("host-gw", 1500);
    site.loses_rules_and_records(1500);
    site.gets_another_subnet();
    site.waits_for_its_agent();
}

/// Plays a life of the site twice: the first time makes what stays, such as the bridge.
fn everything_reaches_everything(backend: &str, mtu: u32) -> Site {
    let site = Site::up(backend);
    let [old, new, pods] = &site.hosts;
    for host in [old, new] {
        let forward = host.exec(&["iptables", "-S", "FORWARD"]);
        assert!(forward.starts_with("-P FORWARD DROP"), "{forward}");
    }
    site.live(|members| _ = check(members, mtu));
    let before = [old, new, pods].map(Footprint::settled);
    site.live(|members| {
        let table = check(members, mtu);
        eprintln!("\nFlannel, {backend}, every host's FORWARD at DROP:\n\n{table}");
        // Packets do not pass through the driver.
        old.stop_driver("KILL");
        check(members, mtu);
        old.start_driver();
        check(members, mtu);
    });
    for (footprint, host) in before.iter().zip([old, new, pods]) {
        footprint.assert_nothing_more(host);
    }
    site
}

/// A Docker 20.10, a Docker 28.5, and a host for a pod, which also has the etcd.
struct Site {
    hosts: [Host; 3],
}

/// Somebody on the network.
pub(super) struct Member<'h> {
    name: &'h str,
    host: &'h Host,
    pub(super) address: String,
    is_pod: bool,
}

impl Site {
    /// Sets the hosts up by the steps of the documentation.
    fn up(backend: &str) -> Self {
        let site = Self { hosts: [Suite::Bookworm, Suite::Forky, Suite::Bookworm].map(Host::up) };
        let [old, new, pods] = &site.hosts;
        old.cable_to(new);
        old.cable_to(pods);
        new.cable_to(pods);
        // The machine's own busybox is static.
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new);
        let busybox = busybox.into_iter().find(|path| path.exists()).expect("busybox-static");
        install(busybox, pods, "/usr/local/bin/busybox");
        let debian_11 = bullseye();
        install(&debian_11.join("usr/bin/etcd"), pods, "/usr/local/bin/etcd");
        for host in &site.hosts {
            install(&debian_11.join("usr/bin/etcdctl"), host, "/usr/local/bin/etcdctl");
            install(&debian_11.join("usr/lib/cni/flannel"), host, "/opt/cni/bin/flannel");
        }
        for host in [old, new] {
            host.write(&format!("{FOLDER}/conflists/flannel.conflist"), CONFLIST);
            host.start_driver();
        }
        site.step("etcd").with("\"vxlan\"", &format!("\"{backend}\"")).on(pods);
        for host in &site.hosts {
            host.write_program("/usr/local/bin/flanneld", FLANNELD);
            site.step("agent").on(host);
        }
        for host in [old, new] {
            Steps::read("README.md", "several-hosts").on(host);
        }
        pods.write("/etc/cni/net.d/10-flannel.conflist", CONFLIST);
        site
    }

    fn step(&self, name: &str) -> Steps {
        Steps::read(PAGE, name).with("192.168.1.10", &self.hosts[2].address())
    }

    /// If flanneld does not masquerade, the plugin lets `bridge` do so. One host loses its rules, another
    /// its records.
    fn loses_rules_and_records(&self, mtu: u32) {
        let [old, new, pods] = &self.hosts;
        for host in &self.hosts {
            end_agent(host);
            host.exec(&["iptables", "-t", "nat", "-F", "FLANNEL-POSTRTG"]);
            self.step("agent").with(" --ip-masq", "").on(host);
            let told = host.exec(&["cat", "/run/flannel/subnet.env"]);
            assert!(told.contains("FLANNEL_IPMASQ=false"), "{told}");
        }
        old.exec(&["sh", "-c", "iptables-save -t nat >/run/nat"]);
        let lose = || old.exec(&["sh", "-c", "iptables -t nat -F; iptables -t nat -X"]);
        let put_back = || old.exec(&["iptables-restore", "-T", "nat", "/run/nat"]);
        // A first run that does not count: what is put back is in another order.
        lose();
        put_back();
        let before = [old, new, pods].map(Footprint::settled);
        self.live(|members| {
            check(members, mtu);
            new.stop_driver("KILL");
            new.exec(&["sh", "-c", "rm /var/lib/cnm-cni/attachments/*"]);
            new.start_driver();
            let found = new.exec(&["cnm-cni", "gc", "--format", "wide", "--apply", "--grace", "0"]);
            assert!(found.contains("has its address"), "{found}");
            check(members, mtu);
            lose();
            // The driver has read the rules, and so knows what is lost.
            let lost =
                || old.try_exec(&["cnm-cni", "check"]).is_err_and(|told| told.contains("masq"));
            assert!(within(LIMIT, lost), "{:?}", old.try_exec(&["cnm-cni", "check"]));
        });
        let rules = old.exec(&["iptables", "-t", "nat", "-S"]);
        assert!(!rules.contains("id: "), "{rules}");
        assert!(!old.driver_log().contains("attempt=2"), "{}", old.driver_log());
        put_back();
        let collect =
            || new.exec(&["cnm-cni", "gc", "--format", "wide", "--apply", "--grace", "0"]);
        assert!(within(LIMIT, || collect() == "No garbage.\n"), "{}", collect());
        for (footprint, host) in before.iter().zip([old, new, pods]) {
            footprint.assert_nothing_more(host);
        }
    }

    /// A host's agent comes back with another subnet while containers run.
    fn gets_another_subnet(&self) {
        let [old, new, pods] = &self.hosts;
        new.run("bob", NETWORK, &["--restart", "always"]);
        old.run("alice", NETWORK, &[]);
        let address = |name| new.endpoint(name, NETWORK)["IPAddress"].as_str().unwrap().to_owned();
        let first = address("bob");
        old.ping("alice", &first).unwrap();
        let lease =
            format!("/coreos.com/network/subnets/{}.0-24", first.rsplit_once('.').unwrap().0);
        let etcd = format!("ETCDCTL_ENDPOINTS=http://{}:2379", pods.address());
        let etcdctl = |args: &[&str]| {
            pods.exec(&[&["env", "ETCDCTL_API=3", &etcd, "etcdctl"], args].concat())
        };
        end_agent(new);
        etcdctl(&["put", &lease, "taken"]);
        self.step("agent").on(new);
        etcdctl(&["del", &lease]);
        // It runs as before on its host, but other hosts have no route to it.
        answers("bob", || new.get(&format!("http://{first}/")));
        assert!(within(LIMIT, || old.ping("alice", &first).is_err()));
        let refused = new.run_refuses("carol", NETWORK, &[]);
        assert!(refused.contains("already has an IP address different from"), "{refused}");
        new.docker(&["stop", "bob"]);
        new.exec(&["ip", "link", "delete", "cni0"]);
        new.docker(&["start", "bob"]);
        let second = address("bob");
        assert_ne!(second.rsplit_once('.'), first.rsplit_once('.'));
        assert!(within(LIMIT, || old.ping("alice", &second).is_ok()));
    }

    /// As after a boot: Docker is there before the agent.
    fn waits_for_its_agent(&self) {
        let [old, new, _] = &self.hosts;
        end_agent(new);
        new.stop_dockerd("TERM");
        new.start_dockerd(&[]);
        let state = || new.docker(&["inspect", "-f", "{{.State.Status}}: {{.State.Error}}", "bob"]);
        let failed = || state().contains("open /run/flannel/subnet.env: no such file or directory");
        assert!(within(LIMIT, failed), "{}", state());
        self.step("agent").on(new);
        assert!(state().starts_with("exited"), "Docker tries again by itself: {}", state());
        self.step("too-late").on(new);
        assert!(state().starts_with("running"), "{}", state());
        let bob = new.endpoint("bob", NETWORK);
        assert!(within(LIMIT, || old.ping("alice", bob["IPAddress"].as_str().unwrap()).is_ok()));
        new.remove(&["bob"], &[NETWORK]);
        old.remove(&["alice"], &[NETWORK]);
    }

    /// Attaches a container on each Docker, and a pod; plays a scene with them; removes them.
    fn live(&self, scene: impl Fn(&[Member<'_>])) {
        let [old, new, pods] = &self.hosts;
        old.run("alice", NETWORK, &["-p", "8080:80"]);
        new.run("bob", NETWORK, &["-p", "8080:80"]);
        pods.exec(&["ip", "netns", "add", "pod"]);
        pods.exec(&["cnm-cni", "cni", "add", "cbr0", "/var/run/netns/pod"]);
        pods.write("/www/index.html", "pod\n");
        pods.exec(&["ip", "netns", "exec", "pod", "busybox", "httpd", "-h", "/www"]);
        let members = [("alice", old, false), ("bob", new, false), ("pod", pods, true)];
        scene(&members.map(|(name, host, is_pod)| Member::look_up(name, host, is_pod)));
        old.docker(&["rm", "-f", "alice"]);
        new.docker(&["rm", "-f", "bob"]);
        pods.exec(&["sh", "-c", "kill $(ip netns pids pod)"]);
        pods.exec(&["cnm-cni", "cni", "del", "cbr0", "/var/run/netns/pod"]);
        pods.exec(&["ip", "netns", "delete", "pod"]);
    }
}

/// Checks that all reach each other, with packets of every size, by address and by published port. Prints a
/// table; fails after all checks if one failed.
#[track_caller]
pub(super) fn check(members: &[Member<'_>], mtu: u32) -> String {
    // The packet includes an IPv4 header and an ICMP header.
    let full = mtu - 28;
    let mut table = "| from | to | ping | full ping | HTTP | published port |\n".to_owned();
    table += "|---|---|---|---|---|---|\n";
    let mut failed = String::new();
    for from in members {
        let link = from.run("cat /sys/class/net/eth0/mtu").unwrap();
        assert_eq!(link.trim(), mtu.to_string(), "MTU of {}", from.name);
        for to in members.iter().filter(|to| to.name != from.name) {
            let ping = |size| format!("ping -c 1 -W 3 -s {size} {}", to.address);
            let get = |url| format!("timeout 3 wget -q -O - http://{url}/");
            let published = (!to.is_pod).then(|| get(format!("{}:8080", to.host.address())));
            let checks = [
                (Some(ping(56)), "1 packets received"),
                (Some(ping(full)), "1 packets received"),
                (Some(get(to.address.clone())), to.name),
                (published, to.name),
            ];
            _ = write!(table, "| {} | {} |", from.name, to.name);
            for (command, expected) in checks {
                let Some(command) = command else {
                    table += " – |";
                    continue;
                };
                let mut answer = Err(String::new());
                let good = within(Duration::from_secs(5), || {
                    answer = from.run(&command);
                    answer.as_ref().is_ok_and(|answer| answer.contains(expected))
                });
                table += if good { " ok |" } else { " FAILED |" };
                if !good {
                    _ = writeln!(failed, "{}: {command}: {answer:?}", from.name);
                }
            }
            table += "\n";
        }
    }
    assert_eq!(failed, "", "of these:\n{table}");
    table
}

impl<'h> Member<'h> {
    pub(super) fn look_up(name: &'h str, host: &'h Host, is_pod: bool) -> Self {
        let mut member = Self { name, host, address: String::new(), is_pod };
        let text = member.run("ip -4 -o address show dev eth0").unwrap();
        let net = text.split_whitespace().skip_while(|word| *word != "inet").nth(1).unwrap();
        member.address = net.split('/').next().unwrap().to_owned();
        member
    }

    /// Runs a busybox command there.
    pub(super) fn run(&self, command: &str) -> Result<String, String> {
        let words = command.split(' ').collect::<Vec<_>>();
        let prefix: &[&str] = match self.is_pod {
            true => &["ip", "netns", "exec", "pod", "busybox"],
            false => &["docker", "exec", self.name],
        };
        self.host.try_exec(&[prefix, &words].concat())
    }
}

on_both_dockers! {
    a_plugin_in_the_manner_of_weave_attaches_ten_at_once,
    flannel_that_masquerades_itself_outlives_lost_rules_and_lost_records,
}

#[test]
fn another_host_reaches_a_container_of_an_open_network() {
    let (host, other) = (Host::up(Suite::Forky), Host::up(Suite::Bookworm));
    host.cable_to(&other);
    host.write(&format!("/etc/cni/net.d/{}", PODS.0), PODS.1);
    host.start_driver();
    // As a pod network's routes lead.
    other.exec(&["ip", "route", "add", "10.99.0.0/24", "via", &host.address()]);
    let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
    host.docker(&[&create[..], &["closed"]].concat());
    host.docker(&[&create[..], &["-o", "forward=open", "open"]].concat());
    host.run("alice", "closed", &[]);
    host.run("bob", "open", &[]);
    let url = |name: &str, network: &str| {
        format!("http://{}/", host.endpoint(name, network)["IPAddress"].as_str().unwrap())
    };
    answers("bob", || other.get(&url("bob", "open")));
    // It answers to the host itself, so it is FORWARD that drops packets of others.
    answers("alice", || host.get(&url("alice", "closed")));
    other.get(&url("alice", "closed")).unwrap_err();
    host.exec(&["cnm-cni", "check"]);
    host.remove(&["alice", "bob"], &["closed", "open"]);
    // They are removed in the background, once Docker has its answer.
    let rules = || host.exec(&["iptables", "-S", "FORWARD"]);
    assert!(within(Duration::from_secs(10), || !rules().contains("cnm-cni")), "{}", rules());
}

/// If flanneld does not masquerade, the plugin lets `bridge` do so, and its configuration does not show
/// this.
fn flannel_that_masquerades_itself_outlives_lost_rules_and_lost_records(suite: Suite) {
    on_a_host_without_spares(suite, &[("10-flannel.conflist", CONFLIST)], |host| {
        install(&bullseye().join("usr/lib/cni/flannel"), host, "/opt/cni/bin/flannel");
        host.write(
            "/run/flannel/subnet.env",
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.21.1/24\n\
             FLANNEL_IPV6_NETWORK=fd00:f4::/48\nFLANNEL_IPV6_SUBNET=fd00:f4:0:21::1/64\n\
             FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
        );
        // Leases, and what the plugin keeps for its DEL.
        let kept = || {
            let list = "ls -d /var/lib/cni/networks/cbr0/10.* /var/lib/cni/flannel/* 2>/dev/null";
            host.exec(&["sh", "-c", &format!("{list} || true")]).lines().count()
        };
        let collect =
            || host.exec(&["cnm-cni", "gc", "--format", "wide", "--apply", "--grace", "0"]);
        host.create_network("web", Some("cbr0"));

        // As a restart of a firewall does it.
        host.run("alice", "web", &["-p", "8080:80"]);
        // This plugin is older than its agent's other family.
        assert_eq!(host.endpoint("alice", "web")["GlobalIPv6Address"], "");
        assert!(host.exec(&["iptables", "-t", "nat", "-S"]).contains("MASQUERADE"));
        host.exec(&["sh", "-c", "iptables -t nat -F; iptables -t nat -X"]);
        host.docker(&["rm", "-f", "alice"]);
        assert!(within(Duration::from_secs(10), || kept() == 0), "{}", host.driver_log());
        host.run("alice", "web", &["-p", "8080:80"]);
        answers("alice", || host.get("http://127.0.0.1:8080/"));

        let before = kept();
        host.stop_driver("KILL");
        host.exec(&["sh", "-c", "rm /var/lib/cnm-cni/attachments/*"]);
        host.start_driver_without_spares();
        let found = collect();
        assert!(found.contains("10.244.21.") && kept() == before, "{found}");
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        host.docker(&["rm", "-f", "alice"]);
        let found = collect();
        assert!(within(Duration::from_secs(10), || kept() == 0), "{found}");
        host.docker(&["network", "rm", "web"]);
    });
}

/// The plugin does what weave-net does, and needs no agent.
pub(super) const WEAVE_LIKE: &str = include_str!("weave-like-plugin");
pub(super) const WEAVE: ConfFile<'_> =
    ("10-weave.conflist", include_str!("../../../conflists/weave.conflist"));

fn a_plugin_in_the_manner_of_weave_attaches_ten_at_once(suite: Suite) {
    on_a_host_without_spares(suite, &[WEAVE], |host| {
        host.write_program("/opt/cni/bin/weave-net", WEAVE_LIKE);
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        host.docker(
            &[&create[..], &["-o", "conflist=weave", "-o", "forward=open", "web"]].concat(),
        );
        let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
        thread::scope(|scope| {
            for name in &names {
                let port = format!("{}:80", 8080 + u16::from(name.as_bytes()[1] - b'0'));
                scope.spawn(move || host.run(name, "web", &["-p", &port]));
            }
        });
        let endpoints = names.iter().map(|name| host.endpoint(name, "web"));
        let addresses: BTreeSet<String> = endpoints
            .map(|endpoint| {
                assert_eq!(endpoint["Gateway"], "10.32.0.1");
                endpoint["IPAddress"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(addresses.len(), 10, "{addresses:?}");
        let routes = host.docker(&["exec", "c0", "ip", "route"]);
        assert!(routes.contains("default via 10.32.0.1 dev eth0"), "{routes}");
        for address in &addresses {
            host.ping("c0", address).unwrap();
        }
        answers("c9", || host.get_from_outside(8089));
        // An agent's leases have no record either: unused leases are removed, all others stay.
        let leases = || host.exec(&["ls", "/run/weaver"]).lines().count() - "lock".lines().count();
        let collect =
            || host.exec(&["cnm-cni", "gc", "--format", "wide", "--apply", "--grace", "0"]);
        host.stop_driver("KILL");
        host.exec(&["sh", "-c", "rm /var/lib/cnm-cni/attachments/*"]);
        host.start_driver_without_spares();
        let (names, kept) = (names.iter().map(String::as_str).collect::<Vec<_>>(), collect());
        assert_eq!((kept.matches("has its address").count(), leases()), (10, 10), "{kept}");
        host.docker(&[&["rm", "-f"], &names[..9]].concat());
        assert!(
            within(LIMIT, || {
                collect();
                leases() == 1
            }),
            "{}",
            collect()
        );
        answers("c9", || host.get_from_outside(8089));
        host.docker(&["rm", "-f", "c9"]);
        assert!(within(LIMIT, || collect() == "No garbage.\n"), "{}", collect());
        assert_eq!(leases(), 0);
        host.docker(&["network", "rm", "web"]);
    });
}

/// Ends the agent of a host, and removes what it has written for the plugin, as a reboot does.
fn end_agent(host: &Host) {
    // The patterns do not match themselves, on this command's own line.
    let agents = "grep -l -e '[f]lanneld' -e '[s]ubnets/' /proc/[0-9]*/cmdline | cut -d / -f 3";
    host.exec(&["sh", "-c", &format!("kill $({agents}); rm /run/flannel/subnet.env")]);
}

/// Copies a program into a host.
fn install(from: &Path, host: &Host, to: &str) {
    let to = host.path(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, &to).unwrap();
    fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
}
