//! Flags of Docker's that are nothing to a driver, or little.

use super::host::{Suite, answers};
use super::{ConfFile, on_a_host, on_both_dockers};

const CONFLIST: ConfFile<'_> =
    ("10-bridge.conflist", include_str!("../../../conflists/bridge.conflist"));

const CREATE: [&str; 4] = ["network", "create", "-d", "cni"];
const NULL: [&str; 2] = ["--ipam-driver", "null"];

on_both_dockers! {
    flags_that_never_reach_a_driver,
    a_network_takes_its_options_from_another,
    swarm_is_refused,
    a_node_of_a_swarm_keeps_its_own_networks,
    a_link_local_address_is_dockers_to_set,
    a_sysctl_of_the_users_reaches_the_container,
}

fn flags_that_never_reach_a_driver(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        let flags = ["--ipam-opt", "a=b", "--attachable", "--scope", "local", "web"];
        host.docker(&[&CREATE[..], &NULL, &flags].concat());
        host.run("alice", "web", &[]);
        host.ping("alice", "10.201.0.1").unwrap();
        host.docker(&["network", "disconnect", "--force", "web", "alice"]);
        host.remove(&["alice"], &["web"]);
    });
}

fn a_network_takes_its_options_from_another(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        let mtu = "com.docker.network.driver.mtu=1350";
        let config = ["network", "create", "--config-only", "-o", "conflist=cni-bridge", "-o", mtu];
        host.docker(&[&config[..], &NULL, &["template"]].concat());
        host.docker(&[&CREATE[..], &["--config-from", "template", "web"]].concat());
        host.run("alice", "web", &[]);
        let mtu = host.docker(&["exec", "alice", "cat", "/sys/class/net/eth0/mtu"]);
        assert_eq!(mtu, "1350");
        host.remove(&["alice"], &["web", "template"]);
    });
}

fn swarm_is_refused(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        let error = host.docker_refuses(&[&CREATE[..], &["--scope", "swarm", "web"]].concat());
        assert!(error.contains("swarm"), "{error}");
        let error = host.docker_refuses(&[&CREATE[..], &["--ingress", "web"]].concat());
        assert!(error.to_lowercase().contains("swarm") || error.contains("ngress"), "{error}");
    });
}

fn a_node_of_a_swarm_keeps_its_own_networks(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.docker(&["swarm", "init", "--advertise-addr", &host.address()]);
        let error = host.docker_refuses(&[&CREATE[..], &["--scope", "swarm", "all"]].concat());
        assert!(error.contains("legacy plugin cni of type NetworkDriver"), "{error}");
        host.create_network("web", Some("cni-bridge"));
        host.run("alice", "web", &["-p", "8080:80"]);
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice"], &["web"]);
        host.docker(&["swarm", "leave", "--force"]);
    });
}

fn a_link_local_address_is_dockers_to_set(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.docker(
            &[&CREATE[..], &["--subnet", "10.201.0.0/24", "--gateway", "10.201.0.1", "web"]]
                .concat(),
        );
        host.run("alice", "web", &["--link-local-ip", "169.254.77.7"]);
        host.run("bob", "web", &[]);
        let addresses = host.docker(&["exec", "alice", "ip", "-o", "address"]);
        assert!(addresses.contains(" 169.254.77.7/16 "), "{addresses}");
        answers("alice", || host.get_in("bob", "http://alice/"));
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn a_sysctl_of_the_users_reaches_the_container(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["--sysctl", "net.ipv4.ip_default_ttl=42"]);
        let ttl = host.docker(&["exec", "alice", "cat", "/proc/sys/net/ipv4/ip_default_ttl"]);
        assert_eq!(ttl, "42");
        host.remove(&["alice"], &["web"]);
    });
}
