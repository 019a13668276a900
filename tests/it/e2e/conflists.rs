//! The ready-to-copy configurations of `conflists/`, as they are there, and the built-in one.

use serde_json::Value;

use super::host::{Host, Suite, answers};
use super::readme::{FOLDER, Steps};
use super::{ConfFile, on_a_host, on_both_dockers};

const BRIDGE: ConfFile<'_> =
    ("bridge.conflist", include_str!("../../../conflists/bridge.conflist"));
const PTP: ConfFile<'_> = ("ptp.conflist", include_str!("../../../conflists/ptp.conflist"));
const MACVLAN: ConfFile<'_> =
    ("macvlan.conflist", include_str!("../../../conflists/macvlan.conflist"));

on_both_dockers! {
    bridge_gives_both_families,
    ptp_routes_between_containers_and_beyond,
    macvlan_puts_containers_on_the_hosts_wire,
    a_machine_without_configurations_has_the_built_in_one,
    the_first_file_is_the_default_network,
}

fn bridge_gives_both_families(suite: Suite) {
    on_a_host(suite, &[], |host| {
        host.write(&format!("{FOLDER}/conflists/{}", BRIDGE.0), BRIDGE.1);
        Steps::read("conflists/README.md", "copy-one").on(host);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "web", &[]);
        let alice = host.endpoint("alice", "web");
        assert_eq!(alice["Gateway"], "10.201.0.1");
        assert_eq!(alice["IPv6Gateway"], "fd00:c9::1");
        assert_eq!(alice["GlobalIPv6PrefixLen"], 64);
        in_container(host, &alice, "IPAddress", "10.201.0.");
        in_container(host, &alice, "GlobalIPv6Address", "fd00:c9::");
        host.ping("bob", "alice").unwrap();
        host.ping("bob", text(&alice, "IPAddress")).unwrap();
        host.ping("bob", text(&alice, "GlobalIPv6Address")).unwrap();
        host.ping("bob", "fd00:c9::1").unwrap();
        host.ping("bob", &host.machine()).unwrap();
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        answers("alice", || host.get_from_outside(8080));
        // Hairpin: out of the bridge's port and in again by the same one.
        let own = format!("http://{}:8080/", host.address());
        answers("alice", || host.get_in("alice", &own));
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn ptp_routes_between_containers_and_beyond(suite: Suite) {
    on_a_host(suite, &[PTP], |host| {
        host.create_network("web", Some("cni-ptp"));
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "web", &[]);
        let alice = host.endpoint("alice", "web");
        assert_eq!(alice["Gateway"], "10.202.0.1");
        in_container(host, &alice, "IPAddress", "10.202.0.");
        let routes = host.docker(&["exec", "alice", "ip", "route"]);
        assert!(routes.contains("default via 10.202.0.1 dev eth0"), "{routes}");
        host.ping("bob", "alice").unwrap();
        let address = text(&alice, "IPAddress");
        host.ping("bob", address).unwrap();
        // One router is between them, the host: nobody asks for the other one on the link.
        let ping = |hops| {
            let ping = ["docker", "exec", "bob", "ping", "-c", "1", "-W", "3", "-t", hops, address];
            host.try_exec(&ping)
        };
        ping("2").unwrap();
        assert!(ping("1").is_err(), "bob reaches alice without the host");
        let neighbours = host.docker(&["exec", "bob", "ip", "neigh"]);
        assert!(
            neighbours.contains("10.202.0.1 ") && !neighbours.contains(address),
            "{neighbours}"
        );
        host.ping("bob", &host.machine()).unwrap();
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn macvlan_puts_containers_on_the_hosts_wire(suite: Suite) {
    on_a_host(suite, &[MACVLAN], |host| {
        host.create_network("web", Some("cni-macvlan"));
        host.run("alice", "web", &[]);
        host.run("bob", "web", &[]);
        let alice = host.endpoint("alice", "web");
        assert_eq!(alice["Gateway"], "192.168.1.1");
        in_container(host, &alice, "IPAddress", "192.168.1.2");
        let link = host.docker(&["exec", "alice", "ip", "link", "show", "eth0"]);
        assert!(link.contains(text(&alice, "MacAddress")), "{link}");
        host.ping("bob", "alice").unwrap();
        host.ping("bob", text(&alice, "IPAddress")).unwrap();
        let error = host.run_refuses("carol", "web", &["-p", "8080:80"]);
        assert!(error.contains("portMappings"), "{error}");
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn a_machine_without_configurations_has_the_built_in_one(suite: Suite) {
    on_a_host(suite, &[], |host| {
        assert!(!host.path("/etc/cni/net.d").exists());
        host.create_network("by-default", None);
        host.create_network("by-name", Some("cnm-cni-default"));
        host.run("alice", "by-default", &["-p", "8080:80"]);
        host.run("bob", "by-name", &[]);
        let alice = host.endpoint("alice", "by-default");
        in_container(host, &alice, "IPAddress", "10.");
        host.ping("bob", text(&alice, "IPAddress")).unwrap();
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice", "bob"], &["by-default", "by-name"]);
    });
}

fn the_first_file_is_the_default_network(suite: Suite) {
    let (first, second) = (("10.conflist", PTP.1), ("20.conflist", BRIDGE.1));
    on_a_host(suite, &[second, first], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &[]);
        in_container(host, &host.endpoint("alice", "web"), "IPAddress", "10.202.0.");
        host.remove(&["alice"], &["web"]);
    });
}

/// The address of that name that Docker shows is one of the conflist's, and the container's.
#[track_caller]
fn in_container(host: &Host, alice: &Value, field: &str, prefix: &str) {
    let address = text(alice, field);
    assert!(address.starts_with(prefix), "{field} is {address}");
    let addresses = host.docker(&["exec", "alice", "ip", "-o", "address", "show", "eth0"]);
    assert!(addresses.contains(&format!(" {address}/")), "no {address} in {addresses}");
}

fn text<'e>(endpoint: &'e Value, field: &str) -> &'e str {
    endpoint[field].as_str().unwrap()
}
