//! The ready-to-copy configurations of `conflists/`, as they are there.

use serde_json::Value;

use super::host::{Host, Suite, answers};
use super::readme::{FOLDER, Steps};
use super::{ConfFile, on_a_host, on_both_dockers};

const BRIDGE: ConfFile<'_> =
    ("bridge.conflist", include_str!("../../../conflists/bridge.conflist"));
const PTP: ConfFile<'_> = ("ptp.conflist", include_str!("../../../conflists/ptp.conflist"));
const DOCKER_IPAM: ConfFile<'_> =
    ("docker-ipam.conflist", include_str!("../../../conflists/docker-ipam.conflist"));
const MACVLAN: ConfFile<'_> =
    ("macvlan.conflist", include_str!("../../../conflists/macvlan.conflist"));

on_both_dockers! {
    bridge_gives_both_families,
    ptp_routes_between_containers_and_beyond,
    docker_ipam_takes_dockers_pools_and_no_other_addresses,
    macvlan_puts_containers_on_the_hosts_wire,
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
        // The host is the router between them: neither looks for the other one on the link.
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

fn docker_ipam_takes_dockers_pools_and_no_other_addresses(suite: Suite) {
    on_a_host(suite, &[], |host| {
        host.write(&format!("{FOLDER}/conflists/{}", DOCKER_IPAM.0), DOCKER_IPAM.1);
        Steps::read("conflists/README.md", "docker-ipam").on(host);
        let create = ["network", "create", "-d", "cni"];
        let error = host.docker_refuses(&[&create[..], &["--ipam-driver", "null", "no"]].concat());
        let reason = "its host-local takes the pools of Docker's IPAM; create the network without";
        assert!(error.contains(reason), "{error}");
        let both = ["--subnet", "10.72.0.0/24", "--ipv6", "--subnet", "fd72::/64", "six"];
        host.docker(&[&create[..], &both].concat());
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "web", &[]);
        host.run("carol", "shop", &["--ip", "10.71.0.9"]);
        host.run("dave", "six", &["--ip6", "fd72::9"]);
        let alice = host.endpoint("alice", "web");
        in_container(host, &alice, "IPAddress", "172.");
        host.ping("bob", "alice").unwrap();
        host.ping("bob", &host.machine()).unwrap();
        host.ping("carol", text(&alice, "IPAddress")).unwrap();
        let inside = |name| host.docker(&["exec", name, "ip", "-o", "address", "show", "eth0"]);
        assert!(inside("carol").contains(" 10.71.0.9/") && inside("dave").contains(" fd72::9/"));
        host.ping("dave", "fd72::1").unwrap();
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice", "bob", "carol", "dave"], &["web", "shop", "six"]);
        host.exec(&["rm", "/etc/cni/net.d/docker-ipam.conflist"]);
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
