//! Published ports, which a chain publishes through its `portMappings` capability.

use super::host::{Suite, answers};
use super::{ConfFile, on_a_host, on_both_dockers};

const WITH_PORTMAP: ConfFile<'_> = (
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

const WITHOUT_PORTMAP: ConfFile<'_> = (
    "20-plain.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "plain",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "plain0",
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.98.0.0/24"}]]}
            }
        ]
    }"#,
);

on_both_dockers! {
    a_published_port_answers_on_loopback_on_the_hosts_address_and_from_outside,
    a_port_published_on_one_address_answers_on_no_other,
    publishing_on_a_chain_that_cannot_is_refused_with_reason_and_remedy,
    a_port_without_a_host_port_is_refused,
}

fn a_published_port_answers_on_loopback_on_the_hosts_address_and_from_outside(suite: Suite) {
    on_a_host(suite, &[WITH_PORTMAP], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80", "-p", "8081:80"]);
        host.run("bob", "web", &["-p", "8090:80"]);
        for (port, name) in [(8080, "alice"), (8081, "alice"), (8090, "bob")] {
            for address in ["127.0.0.1", &host.address()] {
                assert_eq!(host.get(&format!("http://{address}:{port}/")).unwrap().trim(), name);
            }
            answers(name, || host.get_from_outside(port));
        }
        host.docker(&["rm", "-f", "alice"]);
        assert!(host.get("http://127.0.0.1:8080/").is_err(), "the port outlives its container");
        assert!(host.get_from_outside(8080).is_err(), "the port outlives its container");
        answers("bob", || host.get_from_outside(8090));
        host.remove(&["bob"], &["web"]);
    });
}

fn a_port_published_on_one_address_answers_on_no_other(suite: Suite) {
    on_a_host(suite, &[WITH_PORTMAP], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "127.0.0.1:8080:80"]);
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        assert!(host.get_from_outside(8080).is_err());
        host.remove(&["alice"], &["web"]);
    });
}

fn publishing_on_a_chain_that_cannot_is_refused_with_reason_and_remedy(suite: Suite) {
    on_a_host(suite, &[WITHOUT_PORTMAP], |host| {
        host.create_network("web", Some("plain"));
        let error = host.run_refuses("alice", "web", &["-p", "8080:80"]);
        for words in ["plain", "portMappings", "portmap", "without -p"] {
            assert!(error.contains(words), "no {words:?} in: {error}");
        }
        host.run("alice", "web", &[]);
        host.remove(&["alice"], &["web"]);
    });
}

fn a_port_without_a_host_port_is_refused(suite: Suite) {
    on_a_host(suite, &[WITH_PORTMAP], |host| {
        host.create_network("web", None);
        let error = host.run_refuses("alice", "web", &["-p", "80"]);
        assert!(error.contains("-p 8080:80"), "no remedy in: {error}");
        host.docker(&["network", "rm", "web"]);
    });
}
