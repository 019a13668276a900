//! End to end: real dockerds, real CNI plugins, real containers.
//!
//! Every test has a *host* to itself: a network, a mount and a process namespace around a Debian with its
//! own Docker, which `tests/testbed/host` makes in under a second. Every case runs on the oldest and the
//! newest Docker of [`Suite`], and on the one between where it may differ. A case is the body of
//! [`on_a_host`], which starts the driver before it, and fails the test afterwards if anything new is left.
//!
//! | file | what a user sees |
//! |---|---|
//! | `addresses` | who chooses them, and what Docker shows of them |
//! | `reach` | containers reach each other, by name and by address |
//! | `ports` | published ports |
//! | `built_in` | the network of a host without conflists, beside Docker's own |
//! | `conflists` | the ready-to-copy configurations |
//! | `refusals` | what cannot work is refused, with the reason and the remedy |
//! | `restart` | started again while the removal of the last life is under way |
//! | `lifecycle` | stop, start, restart, kill, rm; the driver restarted in between |
//! | `check` | `cnm-cni check`, and `--repair` |
//! | `reload` | what a reload of the host's firewall took away is put back |
//! | `crash` | the driver killed at any point of a container's life |
//! | `garbage` | DEL behind Docker's back: reuse at once, orphans, `cnm-cni gc` |
//! | `graph` | the picture, in a real browser: `make test-graph` |
//! | `fidelity` | a container gets what a pod gets, chain by chain |
//! | `ipam` | every way to choose addresses, and that all of them reach the container |
//! | `mac` | `--mac-address` |
//! | `neighbours` | a container is found at once where it was found before |
//! | `netfilter` | rules that a chain writes inside of the container's namespace |
//! | `networks` | several networks on one container; gateway and ports move |
//! | `internal` | `--internal` |
//! | `ipv6` | chains that give IPv6 addresses alone |
//! | `metrics` | Prometheus reads the driver's metrics under load |
//! | `operations` | the operator's questions, each answered by one command |
//! | `options` | what `-o` and `--driver-opt` say to plugins |
//! | `names` | DNS, aliases, links, and what goes into `/etc` |
//! | `compose` | `docker compose` |
//! | `daemon` | dockerd restarted, killed; restart policies; the classic builder |
//! | `dhcp` | addresses of a DHCP server; leases that live in the container |
//! | `demo` | the tour of `make demo` |
//! | `flags` | flags of Docker's that are little or nothing to a driver |
//! | `install` | what is installed, and the driver replaced while containers run |
//! | `packages` | each way of installation that builds first: `make test-install` |
//! | `mass` | hundreds of containers at once: `make mass` |
//! | `arm64` | what is built for arm64, by its headers: `make test-arm64` |
//! | `managed` | the managed plugin, from a registry; upgraded; in a swarm |
//! | `podman`, `containerd` | other runtimes on the same conflists and leases |
//! | `pods` | the same with pods, which containerd makes as a kubelet asks |
//! | `contributing` | a test host that is kept up, by the steps of CONTRIBUTING.md |
//! | `kubernetes` | the conflists of pod networks, as their daemons write them |
//! | `several_hosts` | one network over several hosts: Flannel, and a network in the manner of Weave |
//! | `two_hosts` | two families over two hosts, and one bridge over both |
//! | `plugin` | `docker cni …`: networks made, and explained before, from Docker's own command line |
//! | `defaults` | a host's own defaults for the networks of the driver |
//! | `troubleshooting` | the page of symptoms and remedies |
//! | `routed` | a gateway outside the subnet, as pod networks without a bridge have it |
//!
//! Needs root. `make test` prepares the Debian folders; without it the first test does.

#![allow(clippy::print_stderr, reason = "the logs of a host whose test fails")]

mod browser;
mod host;
mod leaks;
mod readme;
mod traffic;

mod addresses;
mod arm64;
mod built_in;
mod check;
mod compose;
mod conflists;
mod containerd;
mod contributing;
mod crash;
mod cri;
mod daemon;
mod defaults;
mod demo;
mod dhcp;
mod fidelity;
mod flags;
mod garbage;
mod graph;
mod install;
mod internal;
mod ipam;
mod ipv6;
mod kubernetes;
mod lifecycle;
mod mac;
mod managed;
mod mass;
mod metrics;
mod names;
mod neighbours;
mod netfilter;
mod networks;
mod operations;
mod options;
mod packages;
mod plugin;
mod podman;
mod pods;
mod ports;
mod reach;
mod refusals;
mod reload;
mod restart;
mod results;
mod routed;
mod several_hosts;
mod spares;
mod troubleshooting;
mod two_hosts;

use host::{Host, Suite};
use leaks::Footprint;

/// Makes a test of each case on the oldest and the newest Docker, which differ most:
/// `reach::docker_20_10::by_name`. A case may be marked `#[ignore = "make …"]`.
macro_rules! on_both_dockers {
    ($($(#[$ignore:meta])? $case:ident,)+) => {
        mod docker_20_10 {
            $(#[test] $(#[$ignore])? fn $case() {
                super::$case(crate::e2e::host::Suite::Bookworm);
            })+
        }
        mod docker_28_5 {
            $(#[test] $(#[$ignore])? fn $case() {
                super::$case(crate::e2e::host::Suite::Forky);
            })+
        }
    };
}
use on_both_dockers;

/// Makes a test of each case on the Docker between them: for what may differ there.
macro_rules! and_on_docker_26_1 {
    ($($case:ident,)+) => {
        mod docker_26_1 {
            $(#[test] fn $case() { super::$case(crate::e2e::host::Suite::Trixie); })+
        }
    };
}
use and_on_docker_26_1;

/// A CNI configuration file: its name in `/etc/cni/net.d`, and what is in it.
type ConfFile<'f> = (&'f str, &'f str);

/// A bridge with published ports. No `firewall` plugin, as on a node whose pod network has its own rules.
const PODS: ConfFile<'_> = (
    "10-pods.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isDefaultGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}]]}
            },
            {"type": "portmap", "capabilities": {"portMappings": true}}
        ]
    }"#,
);

/// The same, for a second network: on another bridge, and on the subnet 10.98.0.0/24.
fn more_pods() -> String {
    PODS.1.replace("pods", "more").replace("10.99.", "10.98.")
}

/// The one to copy, with addresses of both families: 10.201.0.0/24 and fd00:c9::/64.
const BRIDGE: ConfFile<'_> =
    ("10-bridge.conflist", include_str!("../../../conflists/bridge.conflist"));

/// Plays `scene` on a new host with the driver and these configuration files, and fails if it
/// leaves anything behind.
fn on_a_host(suite: Suite, files: &[ConfFile<'_>], scene: impl Fn(&Host)) {
    let host = host_with(suite, files);
    host.start_driver();
    leaves_nothing(&host, scene);
}

/// The same without spares, whose making and whose look at the host's rules would come between: where the scene
/// counts what there is, or damages it.
fn on_a_host_without_spares(suite: Suite, files: &[ConfFile<'_>], scene: impl Fn(&Host)) {
    let host = host_with(suite, files);
    host.start_driver_without_spares();
    leaves_nothing(&host, scene);
}

/// The same with spares, also where others are played without: where the scene is about them.
fn on_a_host_with_spares(suite: Suite, files: &[ConfFile<'_>], scene: impl Fn(&Host)) {
    let host = host_with(suite, files);
    host.start_driver_with_spares();
    leaves_nothing(&host, scene);
}

fn host_with(suite: Suite, files: &[ConfFile<'_>]) -> Host {
    let host = Host::up(suite);
    for (name, text) in files {
        host.write(&format!("/etc/cni/net.d/{name}"), text);
    }
    host
}

/// Plays `scene` twice, and fails if the second time leaves anything behind.
///
/// Twice, because plugins share some things by design and keep them: the bridge, their empty
/// chains, the allocator's last address. The first time makes them, so that "before" and "after"
/// can be compared exactly. It also shows that what was removed can be made again.
fn leaves_nothing(host: &Host, scene: impl Fn(&Host)) {
    scene(host);
    let mut before = Footprint::settled(host);
    scene(host);
    if before.has_only_shrunk(host) {
        // Something of the first time was taken for a thing that stays, such as a namespace that the kernel
        // removes slowly. The second try starts without it.
        before = Footprint::settled(host);
        scene(host);
    }
    before.assert_nothing_more(host);
}
