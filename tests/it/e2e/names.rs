//! Names: Docker's own DNS, and what goes into the container's files.

use super::host::{Suite, answers};
use super::{BRIDGE, and_on_docker_26_1, on_a_host, on_both_dockers};

on_both_dockers! {
    containers_find_one_another_by_every_kind_of_name,
}

and_on_docker_26_1! {
    containers_find_one_another_by_every_kind_of_name,
}

fn containers_find_one_another_by_every_kind_of_name(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["--network-alias", "wonderland"]);
        let bobs = ["--link", "alice:rabbit", "--add-host", "hatter:10.201.0.1", "--domainname"];
        host.run("bob", "web", &[&bobs[..], &["test"]].concat());
        for name in ["alice", "wonderland", "rabbit"] {
            answers("alice", || host.get_in("bob", &format!("http://{name}/")));
        }
        host.ping("bob", "hatter").unwrap();
        assert_eq!(host.docker(&["exec", "bob", "hostname", "-f"]), "bob.test");

        // No server answers there: it takes long until an unknown name fails.
        let dns =
            ["--dns", "192.0.2.53", "--dns-search", "example.test", "--dns-option", "ndots:2"];
        host.run("dave", "web", &dns);
        let resolver = host.docker(&["exec", "dave", "cat", "/etc/resolv.conf"]);
        for line in ["nameserver 127.0.0.11", "search example.test", "ndots:2"] {
            assert!(resolver.contains(line), "no {line:?} in {resolver}");
        }

        // An alias and a link of a network that is joined later.
        host.run("carol", "bridge", &[]);
        let connect = ["network", "connect", "--alias", "duchess", "--link", "alice:cat", "web"];
        host.docker(&[&connect[..], &["carol"]].concat());
        answers("carol", || host.get_in("bob", "http://duchess/"));
        answers("alice", || host.get_in("carol", "http://cat/"));
        // The container's own namespace, shared.
        let share = ["run", "--rm", "--network", "container:alice", "cnm-cni/busybox"];
        let shared = host.docker(&[&share[..], &["ip", "-o", "address"]].concat());
        assert!(shared.contains("10.201.0."), "{shared}");
        host.remove(&["alice", "bob", "carol", "dave"], &["web"]);
    });
}
