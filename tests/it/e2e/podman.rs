//! podman 4, with its CNI backend, on the conflists and the leases of the driver's containers.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use super::host::{Host, IMAGE, Suite, answers, within};
use super::{ConfFile, on_a_host_without_spares};

/// How long the removal of orphans may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Containers of each runtime.
const EACH: usize = 4;

/// In the form of `podman network create`.
const SHARED: ConfFile<'_> = (
    "10-shared.conflist",
    r#"{
        "cniVersion": "0.4.0",
        "name": "shared",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "shared0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "ranges": [[{"subnet": "10.77.0.0/24", "gateway": "10.77.0.1"}]]
                },
                "capabilities": {"ips": true}
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "firewall", "backend": ""},
            {"type": "tuning"}
        ]
    }"#,
);

/// There is no systemd. Unlike runc, crun refuses a machine with cgroups of both versions.
const CONTAINERS_CONF: &str = r#"
    [network]
    network_backend = "cni"
    [engine]
    cgroup_manager = "cgroupfs"
    events_logger = "file"
    runtime = "runc"
"#;

/// The host's disk is an overlay itself.
const STORAGE_CONF: &str = r#"
    [storage]
    driver = "vfs"
    runroot = "/run/containers/storage"
    graphroot = "/var/lib/containers/storage"
"#;

#[test]
fn containers_of_both_come_and_go_at_once_and_leave_each_other_alone() {
    on_a_host_without_spares(Suite::Podman, &[SHARED], |host| {
        install(host);
        host.create_network("web", Some("shared"));
        let names: Vec<String> = (0..EACH).map(|number| format!("c{number}")).collect();
        at_once(
            &names,
            |name| {
                host.run(name, "web", &[]);
            },
            |name| {
                run(host, name, &[]);
            },
        );
        let addresses = addresses(host, &names);
        assert_eq!(addresses.len(), 2 * EACH, "{addresses:?}");
        assert_eq!(addresses, leases(host));

        let (ours, theirs) = (address(host, "docker", "c2"), address(host, "podman", "c2"));
        host.ping("c3", &theirs.to_string()).unwrap();
        ping(host, "c3", ours);

        // Each holds its ports against the other.
        host.run("docks", "web", &["-p", "8081:80"]);
        run(host, "pods", &["-p", "8082:80", "--hostname", "pods"]);
        answers("docks", || host.get_from_outside(8081));
        answers("pods", || host.get("http://127.0.0.1:8082/"));
        let refused = host.run_refuses("late", "web", &["-p", "8082:80"]);
        assert!(refused.contains("port 8082/tcp is in use by another process"), "{refused}");
        let late = ["create", "--name", "late", "--network", "shared", "-p", "8081:80", IMAGE];
        podman(host, &late);
        let refused = host.try_exec(&["podman", "start", "late"]).unwrap_err();
        assert!(refused.contains("address already in use"), "{refused}");
        podman(host, &["rm", "late"]);

        let before = leases(host);
        nothing_is_garbage(host);
        podman(host, &["system", "prune", "--force"]);
        podman(host, &["restart", "--time", "0", "pods"]);
        assert!(podman(host, &["network", "ls"]).contains("shared"));
        assert!(podman(host, &["network", "inspect", "shared"]).contains("10.77.0.0/24"));
        assert_eq!(leases(host).len(), before.len());
        answers("docks", || host.get_from_outside(8081));
        answers("pods", || host.get("http://127.0.0.1:8082/"));

        let (going, staying) = names.split_at(EACH / 2);
        let remove_ours = |name: &str| {
            host.docker(&["rm", "-f", name]);
        };
        let remove_theirs = |name: &str| {
            podman(host, &["rm", "--force", "--time", "0", name]);
        };
        at_once(going, remove_ours, remove_theirs);
        let rest = EACH + 2;
        assert!(within(LIMIT, || leases(host).len() == rest), "{:?}", leases(host));
        nothing_is_garbage(host);
        for name in staying {
            let state = host.exec(&["cnm-cni", "check", name]);
            assert!(state.contains("as ADD left it"), "{state}");
        }
        host.ping("c3", &theirs.to_string()).unwrap();
        ping(host, "c3", ours);

        remove_theirs("pods");
        answers("docks", || host.get_from_outside(8081));
        run(host, "pods", &["-p", "8082:80", "--hostname", "pods"]);
        remove_ours("docks");
        answers("pods", || host.get("http://127.0.0.1:8082/"));
        remove_theirs("pods");
        at_once(staying, remove_ours, remove_theirs);
        host.docker(&["network", "rm", "web"]);
    });
}

#[test]
fn what_podman_prunes_from_under_docker_is_reported_and_leaves_nothing() {
    on_a_host_without_spares(Suite::Podman, &[], |host| {
        install(host);
        host.write("/etc/cni/net.d/10-shared.conflist", SHARED.1);
        host.create_network("web", Some("shared"));
        host.run("alice", "web", &[]);
        // podman's default network is the one that it never removes.
        let keep =
            CONTAINERS_CONF.replacen("[network]", "[network]\ndefault_network = \"shared\"", 1);
        host.write("/etc/containers/containers.conf", &keep);
        podman(host, &["system", "prune", "--force"]);
        let state = host.exec(&["cnm-cni", "check", "alice"]);
        assert!(state.contains("as ADD left it"), "{state}");

        // podman removes the file and the bridge of any other network without its containers.
        host.write("/etc/containers/containers.conf", CONTAINERS_CONF);
        podman(host, &["system", "prune", "--force"]);
        let state = host.try_exec(&["cnm-cni", "check", "alice"]).unwrap_err();
        assert!(state.contains("shared0 not found"), "{state}");
        let refused = host.run_refuses("bob", "web", &[]);
        assert!(refused.contains("no network configuration with name \"shared\""), "{refused}");
        let collected =
            host.try_exec(&["cnm-cni", "gc", "--format", "wide", "--exclusive"]).unwrap_err();
        assert!(
            collected.contains("conflist shared  cannot be removed: no network"),
            "{collected}"
        );
        assert_eq!(leases(host).len(), 1);

        // Once the file is back, a new start makes the bridge.
        host.write("/etc/cni/net.d/10-shared.conflist", SHARED.1);
        host.docker(&["restart", "--time", "0", "alice"]);
        let state = host.exec(&["cnm-cni", "check", "alice"]);
        assert!(state.contains("as ADD left it"), "{state}");
        podman(host, &["system", "prune", "--force"]);
        host.remove(&["alice"], &["web"]);
        assert!(within(LIMIT, || leases(host).is_empty()), "{:?}", leases(host));
    });
}

/// Sets podman up, with the image that Docker has.
fn install(host: &Host) {
    host.write("/etc/containers/containers.conf", CONTAINERS_CONF);
    host.write("/etc/containers/storage.conf", STORAGE_CONF);
    host.exec(&["sh", "-c", "docker save \"$0\" | podman load --quiet", IMAGE]);
}

/// Checks that `cnm-cni gc` takes nothing of podman's for garbage, and that CNI's GC leaves podman's
/// conflists alone.
fn nothing_is_garbage(host: &Host) {
    let before = leases(host);
    for flags in [&[][..], &["--apply"], &["--exclusive"], &["--exclusive", "--apply"]] {
        let found =
            host.exec(&[&["cnm-cni", "gc", "--format", "wide", "--grace", "0"], flags].concat());
        match flags.contains(&"--exclusive") {
            false => assert_eq!(found, "No garbage.\n"),
            true => assert!(found.contains("kept: its cniVersion is 0.4.0"), "{found}"),
        }
    }
    assert_eq!(leases(host), before);
}

/// Lets two runtimes do something for each name, all at the same time.
fn at_once(names: &[String], ours: impl Fn(&str) + Sync, theirs: impl Fn(&str) + Sync) {
    thread::scope(|scope| {
        for name in names {
            scope.spawn(|| ours(name));
            scope.spawn(|| theirs(name));
        }
    });
}

#[track_caller]
fn podman(host: &Host, args: &[&str]) -> String {
    host.exec(&[&["podman"], args].concat())
}

/// Starts a container of podman's with the web server.
#[track_caller]
fn run(host: &Host, name: &str, options: &[&str]) {
    let group = host.group();
    let run = ["run", "-d", "--pull", "never", "--cgroup-parent", &group, "--name", name];
    let network = ["--network", "shared", "--cap-add", "NET_RAW"];
    podman(host, &[&run[..], &network, options, &[IMAGE]].concat());
}

/// Sends one ping from a container of podman's.
#[track_caller]
fn ping(host: &Host, from: &str, to: Ipv4Addr) {
    podman(host, &["exec", from, "ping", "-c", "1", "-W", "3", &to.to_string()]);
}

/// The address that a container really has.
fn address(host: &Host, runtime: &str, container: &str) -> Ipv4Addr {
    let shown = host.exec(&[runtime, "exec", container, "ip", "-4", "-o", "addr", "show", "eth0"]);
    let (_, address) = shown.split_once("inet ").unwrap();
    address.split_once('/').unwrap().0.parse().unwrap()
}

/// The addresses that the containers of these names have, in both runtimes.
fn addresses(host: &Host, names: &[String]) -> BTreeSet<Ipv4Addr> {
    let of = |name: &String| ["docker", "podman"].map(|runtime| address(host, runtime, name));
    names.iter().flat_map(of).collect()
}

/// The addresses that `host-local` has given out on the shared conflist.
fn leases(host: &Host) -> BTreeSet<Ipv4Addr> {
    let names = host.exec(&["ls", "/var/lib/cni/networks/shared"]);
    names.lines().filter_map(|name| name.parse().ok()).collect()
}
