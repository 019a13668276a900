//! Containers whose addresses a DHCP server of the LAN leases, by the plugin's daemon and Debian's dnsmasq.
//!
//! The host's `eth0` leads to a LAN of its own, a namespace with the server in it. Leases are renewed after some
//! seconds. How often a lease was released is counted there: version 1.9.1 of the plugin sends DHCPRELEASE from
//! no address, which Linux drops before dnsmasq gets it.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::host::{Host, IMAGE, Suite, within};
use super::leaks::Footprint;
use super::readme::{FOLDER, Steps};
use super::{ConfFile, and_on_docker_26_1, on_both_dockers};

const MACVLAN: ConfFile<'_> =
    ("10-dhcp.conflist", include_str!("../../../conflists/dhcp.conflist"));
const BRIDGE: ConfFile<'_> =
    ("20-dhcp-bridge.conflist", include_str!("../../../conflists/dhcp-bridge.conflist"));

const REPAIR: &str = include_str!("../../../plugin-spec/dhcp/repair.conf");

const DAEMON_SOCKET: &str = "/run/cni/dhcp.sock";

/// The addresses that the server leases.
const RANGE: &str = "10.88.0.50,10.88.0.69";

/// How long the plugin's daemon, and the server, may need.
const LIMIT: Duration = Duration::from_secs(30);

on_both_dockers! {
    a_lease_lives_in_the_container,
    what_is_wrong_with_a_lease_is_said,
    a_lease_moves_wherever_the_driver_dies,
    a_bridge_on_the_lan_leases_too,
}

and_on_docker_26_1! {
    a_lease_lives_in_the_container,
}

/// systemd starts the plugin's daemon for the first container, and has leases taken anew when it starts again.
#[test]
fn the_units_start_the_daemon_and_lease_anew() {
    let host = &Host::up_with_systemd(Suite::Forky);
    host.install_binary();
    host.write(&format!("{FOLDER}/plugin-spec/dhcp/repair.conf"), REPAIR);
    host.write(&format!("/etc/cni/net.d/{}", MACVLAN.0), MACVLAN.1);
    let lan = Lan::of(host, "eth0");
    Steps::read("docs/dhcp.md", "units").on(host);
    host.start_driver();
    host.create_network("web", Some("cni-dhcp"));
    host.run("alice", "web", &[]);
    let alice = agrees(host, "alice");
    lan.renews(&[&alice]);
    host.exec(&["systemctl", "restart", "cni-dhcp.service"]);
    lan.renews(&[&alice]);
    host.remove(&["alice"], &["web"]);
    assert!(within(LIMIT, || lan.released() == 1));
}

/// The LAN behind `eth0`, with the server; and the plugin's daemon.
struct Lan<'h> {
    host: &'h Host,
}

impl<'h> Lan<'h> {
    /// `wire` is the host's interface on the LAN.
    fn of(host: &'h Host, wire: &str) -> Self {
        // The test host's own uplink makes room.
        host.exec(&["ip", "link", "set", "eth0", "down", "name", "up0"]);
        host.exec(&["ip", "netns", "add", "lan"]);
        host.exec(&[
            "ip", "link", "add", wire, "type", "veth", "peer", "name", "port", "netns", "lan",
        ]);
        host.exec(&["ip", "link", "set", wire, "up"]);
        let lan = Self { host };
        lan.inside("ip address add 10.88.0.1/24 dev port; ip link set port up; ip link set lo up");
        // The type of a message is the first of its options: 53, of one byte, 7.
        lan.inside(
            "nft add table ip seen; nft add counter ip seen released; \
             nft add chain ip seen in '{type filter hook prerouting priority raw;}'; \
             nft add rule ip seen in udp dport 67 @th,1984,24 0x350107 counter name released",
        );
        lan.start_server(RANGE);
        lan
    }

    fn inside(&self, script: &str) -> String {
        self.host.exec(&["ip", "netns", "exec", "lan", "sh", "-ec", script])
    }

    fn start_server(&self, range: &str) {
        let range = format!("--dhcp-range={range},2m");
        let command = [
            "ip",
            "netns",
            "exec",
            "lan",
            "dnsmasq",
            "--no-daemon",
            "--port=0",
            "--interface=port",
            &range,
            "--dhcp-option=3,10.88.0.1",
            "--dhcp-option=58,3",
            "--dhcp-option=59,60",
            "--dhcp-leasefile=/run/leases",
            "--dhcp-authoritative",
            // Nobody else is on this network: it need not ask for 3 s before it gives an address.
            "--no-ping",
            "--log-dhcp",
            "--user=root",
        ];
        self.host.start("dnsmasq", &command);
    }

    fn stop_server(&self) {
        self.host.stop("dnsmasq", "TERM");
    }

    /// The flags are for a server that does not answer: the daemon gives up after some seconds.
    fn start_daemon(&self) {
        // Version 1.1.1 leaves its socket.
        let _ = self.host.try_exec(&["rm", "-f", DAEMON_SOCKET]);
        let old = ["/usr/lib/cni/dhcp", "daemon", "-timeout", "2s", "-resendmax", "1s"];
        let limit = ["-resendtimeout", "8s"];
        let help = self.host.exec(&["sh", "-c", "/usr/lib/cni/dhcp daemon -help 2>&1 || true"]);
        let command = [&old[..], if help.contains(limit[0]) { &limit } else { &[] }].concat();
        self.host.start("dhcp", &command);
        let listens = || self.host.path(DAEMON_SOCKET).exists();
        assert!(within(LIMIT, listens), "{}", self.host.log("dhcp"));
    }

    fn log(&self) -> String {
        self.host.log("dnsmasq")
    }

    /// How often the server was asked to renew the lease of an address, or to give it.
    fn requests(&self, address: &str) -> usize {
        self.log().matches(&format!("DHCPREQUEST(port) {address} ")).count()
    }

    /// Each of the leases is renewed from now on.
    #[track_caller]
    fn renews(&self, addresses: &[&String]) {
        let before: Vec<_> = addresses.iter().map(|address| self.requests(address)).collect();
        let renewed = || {
            let mut each = addresses.iter().zip(&before);
            each.all(|(address, before)| self.requests(address) >= before + 2)
        };
        assert!(within(LIMIT, renewed), "{}\n{}", self.log(), self.host.log("dhcp"));
    }

    /// The client id that the server has a lease by: the last word of its line.
    fn client_id(&self, address: &str) -> String {
        let leases = self.inside("cat /run/leases");
        let lease = leases.lines().find(|line| line.contains(&format!(" {address} ")));
        lease.and_then(|line| line.split(' ').next_back()).unwrap_or_default().to_owned()
    }

    /// How many leases were released.
    fn released(&self) -> usize {
        let counter = self.inside("nft list counter ip seen released");
        counter.split("packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    #[track_caller]
    fn has_released(&self, count: usize) {
        let all = || self.released() == count;
        assert!(within(LIMIT, all), "{} of {count}\n{}", self.released(), self.host.log("dhcp"));
        if self.says_release() {
            let none = || self.inside("cat /run/leases").trim().is_empty();
            assert!(within(LIMIT, none), "{}", self.inside("cat /run/leases"));
        }
    }

    /// Whether dnsmasq hears of a release.
    fn says_release(&self) -> bool {
        self.log().contains("DHCPRELEASE")
    }
}

fn host(suite: Suite, files: &[ConfFile<'_>]) -> Host {
    let host = Host::up(suite);
    for (name, text) in files {
        host.write(&format!("/etc/cni/net.d/{name}"), text);
    }
    host
}

fn address(host: &Host, container: &str, network: &str) -> String {
    text(&host.endpoint(container, network), "IPAddress").to_owned()
}

fn text<'e>(endpoint: &'e Value, field: &str) -> &'e str {
    endpoint[field].as_str().unwrap()
}

/// What the host has once the network `web` was used: what stays by design was made then.
fn used_once(host: &Host) -> Footprint {
    host.run("alice", "web", &[]);
    host.docker(&["rm", "-f", "alice"]);
    Footprint::settled(host)
}

/// Docker, the container and the server agree about the address.
#[track_caller]
fn agrees(host: &Host, container: &str) -> String {
    let address = address(host, container, "web");
    // Docker before 28 counts on when an interface comes back: eth1.
    let inside = host.docker(&["exec", container, "ip", "-o", "-4", "address"]);
    assert!(inside.contains(&format!(" {address}/24 ")), "no {address} in {inside}");
    let routes = host.docker(&["exec", container, "ip", "route"]);
    assert!(routes.contains("default via 10.88.0.1 dev "), "{routes}");
    address
}

/// Everything is well, as soon as a watch of an older Docker has ended.
#[track_caller]
fn is_well(host: &Host) {
    let check = || host.try_exec(&["cnm-cni", "check"]);
    assert!(within(LIMIT, || check().is_ok()), "{:?}\n{}", check(), host.driver_log());
}

fn a_lease_lives_in_the_container(suite: Suite) {
    let host = &host(suite, &[]);
    let lan = Lan::of(host, "eth0");
    lan.start_daemon();
    host.start_driver();
    host.write(&format!("{FOLDER}/conflists/dhcp.conflist"), MACVLAN.1);
    Steps::read("docs/dhcp.md", "macvlan").renamed("lan", "web").on(host);
    let before = used_once(host);
    let options = ["--mac-address", "02:00:0a:58:00:07"];
    host.run("alice", "name=web,driver-opt=cni.args.hostname=alices-own", &options);
    host.run("bob", "web", &[]);
    let (alice, bob) = (agrees(host, "alice"), agrees(host, "bob"));
    assert_ne!(alice, bob);
    // Bob has not said otherwise.
    for name in ["alices-own", "bob"] {
        assert!(lan.log().contains(&format!("client provides name: {name}\n")), "{}", lan.log());
    }
    host.ping("alice", &bob).unwrap();
    host.ping("alice", "10.88.0.1").unwrap();
    is_well(host);
    lan.renews(&[&alice, &bob]);

    // The driver takes no part in it.
    host.stop_driver("KILL");
    lan.renews(&[&alice]);
    host.start_driver();
    is_well(host);

    // The daemon forgets its leases when it ends.
    host.stop("dhcp", "TERM");
    let check = || host.try_exec(&["cnm-cni", "check"]).unwrap_or_else(|told| told);
    // A process that ends closes its socket last.
    assert!(within(LIMIT, || check().contains("does not run")), "{}", check());
    assert!(check().contains(&format!("nobody renews the lease of {alice}")), "{}", check());
    lan.start_daemon();
    let told = host.try_exec(&["cnm-cni", "doctor", "alice"]).unwrap_err();
    assert!(told.contains("nobody renews") && told.contains("check --repair"), "{told}");
    host.exec(&["cnm-cni", "check", "--repair"]);
    is_well(host);
    lan.renews(&[&alice, &bob]);

    host.docker(&["network", "disconnect", "web", "bob"]);
    host.docker(&["network", "connect", "web", "bob"]);
    agrees(host, "bob");
    is_well(host);
    assert!(within(LIMIT, || lan.released() == 2), "{}", host.log("dhcp"));
    // The same MAC is given the same address, if the server has heard of the release.
    host.docker(&["restart", "--time", "1", "alice"]);
    if lan.says_release() {
        assert_eq!(agrees(host, "alice"), alice);
    }
    is_well(host);
    host.docker(&["rm", "-f", "alice", "bob"]);
    lan.has_released(5);
    before.assert_nothing_more(host);
}

fn what_is_wrong_with_a_lease_is_said(suite: Suite) {
    // Has the server forget its leases, and give addresses of another range, once a lease was given.
    const SWAP: &str = "#!/bin/sh
        case $CNI_COMMAND in
        VERSION) exec echo '{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"1.0.0\"]}' ;;
        ADD) sed 's/.*\"prevResult\": *//; s/}$//' >/run/had
            touch /run/swap; while [ -e /run/swap ]; do sleep 0.05; done
            exec cat /run/had ;;
        esac";
    let swap = MACVLAN.1.replace("cni-dhcp", "swap");
    let swap = swap.replace("\n    }\n  ]\n", "\n    },\n    { \"type\": \"swap\" }\n  ]\n");
    let host = &host(suite, &[MACVLAN, ("30-swap.conflist", &swap)]);
    host.write_program("/usr/lib/cni/swap", SWAP);
    let lan = Lan::of(host, "eth0");
    lan.start_daemon();
    host.start_driver();
    host.create_network("web", Some("cni-dhcp"));
    let before = used_once(host);

    lan.stop_server();
    let told = host.run_refuses("alice", "web", &[]);
    assert!(told.contains("no DHCP server has answered"), "{told}");

    host.stop("dhcp", "TERM");
    let told = host.run_refuses("alice", "web", &[]);
    assert!(told.contains("daemon") && told.contains(DAEMON_SOCKET), "{told}");
    let told = host.try_exec(&["cnm-cni", "validate", "cni-dhcp"]).unwrap_err();
    assert!(told.contains("daemon") && told.contains(DAEMON_SOCKET), "{told}");
    lan.start_server(RANGE);
    lan.start_daemon();
    host.exec(&["cnm-cni", "validate", "cni-dhcp"]);
    let orphans = host.exec(&["cnm-cni", "orphans"]);
    assert!(orphans.starts_with("No orphans"), "{orphans}");
    before.assert_nothing_more(host);

    host.create_network("other", Some("swap"));
    let run =
        || host.try_exec(&["docker", "run", "-d", "--name", "bob", "--network", "other", IMAGE]);
    let (ran, had) = thread::scope(|scope| {
        let ran = scope.spawn(run);
        assert!(within(LIMIT, || host.path("/run/swap").exists()));
        let had: Value = serde_json::from_str(&host.exec(&["cat", "/run/had"])).unwrap();
        let had = text(&had["ips"][0], "address").split('/').next().unwrap().to_owned();
        lan.stop_server();
        host.exec(&["rm", "/run/leases"]);
        lan.start_server("10.88.0.150,10.88.0.169");
        host.exec(&["rm", "/run/swap"]);
        (ran.join().unwrap(), had)
    });
    match suite {
        // The process has not started.
        Suite::Forky => {
            let told = ran.unwrap_err();
            assert!(
                told.contains("10.88.0.1") && told.contains(&format!("it has {had}")),
                "{told}"
            );
        }
        _ => {
            ran.unwrap();
            let logged = || host.driver_log().contains(&format!("it has {had}"));
            assert!(within(LIMIT, logged), "{}", host.driver_log());
            let told = host.try_exec(&["cnm-cni", "check"]).unwrap_err();
            assert!(told.contains(&format!("nobody renews the lease of {had}")), "{told}");
            let told = host.try_exec(&["cnm-cni", "check", "--repair"]).unwrap_err();
            assert!(told.contains("cannot be repaired") && told.contains(&had), "{told}");
        }
    }
    host.remove(&["bob"], &["other"]);
    lan.stop_server();
    lan.start_server(RANGE);
    before.assert_nothing_more(host);
}

/// The driver dies between the two steps of a move, and after them.
fn a_lease_moves_wherever_the_driver_dies(suite: Suite) {
    let host = &host(suite, &[MACVLAN]);
    let lan = Lan::of(host, "eth0");
    lan.start_daemon();
    host.start_driver();
    host.create_network("web", Some("cni-dhcp"));
    let before = used_once(host);
    lan.has_released(1);
    for point in ["lease: left staging/1", "lease: in the container/1"] {
        host.stop_driver("TERM");
        host.begin_driver(point);
        let run = thread::scope(|scope| {
            let run = scope.spawn(|| {
                host.try_exec(&[
                    "docker",
                    "run",
                    "-d",
                    "--name",
                    "alice",
                    "--network",
                    "web",
                    IMAGE,
                ])
            });
            assert!(within(LIMIT, || !host.driver_runs()), "{}", host.driver_log());
            host.start_driver();
            run.join().unwrap()
        });
        // Docker 28 waits for the call that broke off, repeats it without its body, and gives up.
        assert_eq!(run.is_ok(), suite != Suite::Forky, "{run:?}");
        if suite == Suite::Forky {
            host.docker(&["rm", "-f", "alice"]);
            host.run("alice", "web", &[]);
        }
        is_well(host);
        lan.renews(&[&agrees(host, "alice")]);
        host.docker(&["rm", "-f", "alice"]);
        before.assert_nothing_more(host);
    }
    // In Docker 28 the lease of the second death was in the container too. That of the first was, if the next driver
    // had moved it before Docker gave up.
    let all = if suite == Suite::Forky { 4..=5 } else { 3..=3 };
    assert!(within(LIMIT, || all.contains(&lan.released())), "{}", lan.released());
}

/// On a bridge; and with a client id of the MAC, as docs/dhcp.md advises.
fn a_bridge_on_the_lan_leases_too(suite: Suite) {
    const NAME: &str = r#"{ "option": "host-name", "fromArg": "hostname" }"#;
    const ID: &str = r#"{ "option": "dhcp-client-identifier", "fromArg": "MAC" }"#;
    const MAC: &str = "02:00:0a:58:00:09";
    assert!(include_str!("../../../docs/dhcp.md").contains(ID));
    let with_id = BRIDGE.1.replace(NAME, &format!("{NAME}, {ID}"));
    // Version 1.1.1 of the plugin knows no such option.
    let newer = suite == Suite::Forky;
    let host = &host(suite, &[if newer { (BRIDGE.0, &with_id) } else { BRIDGE }]);
    let lan = Lan::of(host, "eth0");
    lan.start_daemon();
    Steps::read("docs/dhcp.md", "bridge").on(host);
    host.start_driver();
    host.create_network("web", Some("cni-dhcp-bridge"));
    host.run("alice", "web", &[]);
    host.run("bob", "web", &["--mac-address", MAC]);
    let (alice, bob) = (agrees(host, "alice"), agrees(host, "bob"));
    host.ping("alice", &bob).unwrap();
    host.ping("alice", "10.88.0.1").unwrap();
    is_well(host);
    lan.renews(&[&alice, &bob]);
    if newer {
        let id: Vec<_> = MAC.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(lan.client_id(&bob), id.join(":"));
        assert_ne!(lan.client_id(&alice), lan.client_id(&bob));
        host.docker(&["restart", "--time", "0", "bob"]);
        assert_eq!(agrees(host, "bob"), bob);
        assert_eq!(lan.client_id(&bob), id.join(":"));
    }
    host.docker(&["rm", "-f", "alice", "bob"]);
    lan.has_released(if newer { 3 } else { 2 });
    host.docker(&["network", "rm", "web"]);
}
