//! `--internal`: containers reach each other, and nothing else.

use super::host::{Suite, answers};
use super::{BRIDGE, and_on_docker_26_1, on_a_host, on_both_dockers};

on_both_dockers! {
    an_internal_network_has_no_way_out_and_publishes_nothing,
}

and_on_docker_26_1! {
    an_internal_network_has_no_way_out_and_publishes_nothing,
}

fn an_internal_network_has_no_way_out_and_publishes_nothing(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null", "--internal"];
        host.docker(&[&create[..], &["web"]].concat());
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "web", &["--cap-add", "NET_ADMIN"]);
        host.ping("bob", "alice").unwrap();
        answers("alice", || host.get_in("bob", "http://alice/"));
        let routes = host.docker(&["exec", "bob", "ip", "route"]);
        assert!(!routes.contains("default"), "{routes}");
        assert!(host.ping("bob", &host.machine()).is_err());
        // A container that may make routes does not get out by a route of its own either.
        host.docker(&["exec", "bob", "ip", "route", "add", "default", "via", "10.201.0.1"]);
        assert!(host.ping("bob", &host.machine()).is_err());

        assert!(host.get("http://127.0.0.1:8080/").is_err());
        assert!(host.get_from_outside(8080).is_err());
        assert_eq!(host.exec(&["cnm-cni", "ports", "--format", "json"]).trim(), "[]");
        host.remove(&["alice", "bob"], &["web"]);
    });
}
