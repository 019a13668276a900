//! Two containers on one bridge, on a host whose FORWARD policy is DROP.

use super::host::{Host, Suite, answers};
use super::{PODS, on_a_host, on_both_dockers};

on_both_dockers! {
    containers_reach_each_other_by_name_and_by_address_although_forward_drops,
    without_the_exemption_the_drop_policy_parts_containers,
    a_container_reaches_beyond_its_host,
}

fn containers_reach_each_other_by_name_and_by_address_although_forward_drops(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        host.create_network("web", Some("pods"));
        host.run("alice", "web", &[]);
        host.run("bob", "web", &[]);
        let policy = host.exec(&["iptables", "-S", "FORWARD"]);
        assert!(policy.starts_with("-P FORWARD DROP"), "{policy}");
        for (from, to) in [("alice", "bob"), ("bob", "alice")] {
            let address = address(host, to);
            for target in [to, &address] {
                host.ping(from, target).unwrap();
                answers(to, || host.get_in(from, &format!("http://{target}/")));
            }
        }
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn without_the_exemption_the_drop_policy_parts_containers(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        if !host.path("/proc/sys/net/bridge").exists() {
            // Frames on a bridge do not pass the FORWARD chain at all.
            return;
        }
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        host.docker(&[&create[..], &["-o", "forward=never", "web"]].concat());
        host.run("alice", "web", &[]);
        host.run("bob", "web", &[]);
        assert!(host.ping("alice", &address(host, "bob")).is_err());
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn a_container_reaches_beyond_its_host(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &[]);
        // The machine knows no route to 10.99.0.0/24: an answer needs the masquerade.
        host.ping("alice", &host.machine()).unwrap();
        host.remove(&["alice"], &["web"]);
    });
}

fn address(host: &Host, container: &str) -> String {
    host.endpoint(container, "web")["IPAddress"].as_str().unwrap().to_owned()
}
