//! Published ports, which a chain publishes through its `portMappings` capability.

use std::fs;

use serde_json::Value;

use super::host::{Host, Suite, answers, within};
use super::{BRIDGE, ConfFile, PODS, and_on_docker_26_1, on_a_host, on_both_dockers};

const WITHOUT_PORTMAP: ConfFile<'_> = (
    "20-plain.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "plain",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "plain0",
                "isDefaultGateway": true,
                "ipMasq": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.98.0.0/24"}]]}
            }
        ]
    }"#,
);

on_both_dockers! {
    a_published_port_answers_on_loopback_on_the_hosts_address_and_from_outside,
    a_port_published_on_one_address_answers_on_no_other,
    publishing_on_a_chain_that_cannot_is_refused_with_reason_and_remedy,
    a_network_that_cannot_publish_leaves_the_ports_to_another_one_of_the_container,
    the_driver_chooses_where_no_host_port_is_given_and_shows_it,
    a_port_that_another_container_has_is_refused_with_its_name,
    ranges_udp_sctp_and_ipv6_addresses_are_published,
    a_udp_flow_does_not_outlive_its_container,
}

and_on_docker_26_1! {
    publishing_on_a_chain_that_cannot_is_refused_with_reason_and_remedy,
    a_network_that_cannot_publish_leaves_the_ports_to_another_one_of_the_container,
    the_driver_chooses_where_no_host_port_is_given_and_shows_it,
    a_port_that_another_container_has_is_refused_with_its_name,
    ranges_udp_sctp_and_ipv6_addresses_are_published,
}

fn a_published_port_answers_on_loopback_on_the_hosts_address_and_from_outside(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
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
    on_a_host(suite, &[PODS], |host| {
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

fn a_network_that_cannot_publish_leaves_the_ports_to_another_one_of_the_container(suite: Suite) {
    on_a_host(suite, &[PODS, WITHOUT_PORTMAP], |host| {
        // Docker gives the gateway to the first by name, and starts with any.
        for (plain, web) in [("anna", "web"), ("zoe", "web")] {
            host.create_network(plain, Some("plain"));
            host.create_network(web, Some("pods"));
            host.run("alice", web, &["-p", "8080:80"]);
            host.docker(&["network", "connect", plain, "alice"]);
            let published = || {
                answers("alice", || host.get("http://127.0.0.1:8080/"));
                answers("alice", || host.get_from_outside(8080));
                let ports = ports(host);
                assert_eq!(ports.len(), 1, "{ports:?}");
                assert_eq!(ports[0]["endpoint"], host.endpoint("alice", web)["EndpointID"]);
            };
            published();
            for _ in 0..3 {
                host.docker(&["restart", "-t", "0", "alice"]);
                published();
            }
            // Docker's own bridge publishes the port meanwhile, and needs it alone.
            host.docker(&["network", "create", "a"]);
            host.docker(&["network", "connect", "a", "alice"]);
            answers("alice", || host.get("http://127.0.0.1:8080/"));
            assert_eq!(ports(host).len(), 0);
            host.docker(&["network", "disconnect", "a", "alice"]);
            host.docker(&["network", "rm", "a"]);
            published();

            host.docker(&["network", "disconnect", plain, "alice"]);
            published();
            host.docker(&["network", "connect", plain, "alice"]);
            published();
            host.docker(&["network", "disconnect", web, "alice"]);
            assert!(host.get("http://127.0.0.1:8080/").is_err(), "nobody publishes it");
            // Another container, only on the network that cannot publish.
            let error = host.run_refuses("bob", plain, &["-p", "8081:80"]);
            assert!(error.contains("no other network of the container does"), "{error}");
            host.remove(&["alice"], &[plain, web]);
        }
    });
}

fn the_driver_chooses_where_no_host_port_is_given_and_shows_it(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "80"]);
        host.run("bob", "web", &["-p", "20000-20001:80"]);
        host.run("carol", "web", &["-p", "20000-20001:80"]);
        // What the image exposes.
        host.run("dave", "web", &["-P", "--expose", "80"]);
        for name in ["alice", "bob", "carol", "dave"] {
            let port = port_of(host, name);
            let expected = match name {
                "bob" => 20000..=20000,
                "carol" => 20001..=20001,
                _ => 32768..=60999,
            };
            assert!(expected.contains(&port), "{name} has {port}");
            answers(name, || host.get(&format!("http://127.0.0.1:{port}/")));
            answers(name, || host.get_from_outside(port));
        }
        let table = host.exec(&["cnm-cni", "ports"]);
        assert!(table.contains("*:20001/tcp") && table.lines().count() == 5, "{table}");
        let error = host.run_refuses("erin", "web", &["-p", "20000-20001:80"]);
        assert!(error.contains("20000 to 20001/tcp"), "{error}");
        host.remove(&["alice", "bob", "carol", "dave"], &["web"]);
        assert_eq!(host.exec(&["cnm-cni", "ports", "--format", "json"]).trim(), "[]");
    });
}

fn a_port_that_another_container_has_is_refused_with_its_name(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        let held = held_by(host, "alice");
        let refused = || {
            let error = host.run_refuses("bob", "web", &["-p", "127.0.0.1:8080:80"]);
            assert!(error.contains(&held), "{held:?} is not in: {error}");
        };
        refused();
        // A driver that was restarted holds the port again.
        host.stop_driver("KILL");
        host.start_driver();
        refused();
        answers("alice", || host.get_from_outside(8080));
        // Docker's own bridge finds the port taken, too.
        let error = host.run_refuses("bob", "bridge", &["-p", "8080:80"]);
        assert!(error.contains("8080"), "{error}");

        let httpd = ["docker", "run", "-d", "--name", "other", "--network", "host"];
        let serve = ["cnm-cni/busybox", "httpd", "-f", "-p", "8090", "-h", "/www"];
        host.exec(&[&httpd[..], &serve].concat());
        assert!(within(std::time::Duration::from_secs(5), || {
            host.exec(&["ss", "-lnt"]).contains(":8090 ")
        }));
        let error = host.run_refuses("bob", "web", &["-p", "8090:80"]);
        assert!(error.contains("8090/tcp is in use by another process"), "{error}");
        host.remove(&["alice", "other"], &["web"]);
        // No server is there, and the connection is refused at once.
        let error = host.get("http://127.0.0.1:8080/").unwrap_err();
        assert!(error.contains("refused") || error.contains("connect"), "{error}");
    });
}

fn ranges_udp_sctp_and_ipv6_addresses_are_published(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.exec(&["ip", "address", "replace", "fd00:77::1/64", "dev", "eth0", "nodad"]);
        host.create_network("web", None);
        let ports = [
            ["-p", "7000-7001:80-81"],
            ["-p", "5353:53/udp"],
            ["-p", "9899:9899/sctp"],
            ["-p", "[fd00:77::1]:8081:80"],
        ];
        host.run("alice", "web", &ports.concat());
        answers("alice", || host.get("http://127.0.0.1:7000/"));
        answers("alice", || host.get_from_outside(7000));
        // From another network namespace, as a neighbour on the wire.
        host.run("bob", "bridge", &[]);
        let rules = host.exec(&["iptables", "-t", "nat", "-S"]);
        for rule in ["-p udp -m udp --dport 5353", "-p sctp -m sctp --dport 9899", "--dport 7001"] {
            assert!(rules.contains(rule), "no {rule:?} in {rules}");
        }
        answers("alice", || host.get("http://[fd00:77::1]:8081/"));
        let sockets = host.exec(&["ss", "-lnu"]);
        assert!(sockets.contains(":5353 "), "not held: {sockets}");
        let error = host.run_refuses("carol", "web", &["-p", "9899:1/sctp"]);
        assert!(error.contains("9899/sctp is held by endpoint"), "{error}");
        let error = host.run_refuses("carol", "web", &["-p", "192.0.2.9:80:80"]);
        assert!(error.contains("192.0.2.9:80/tcp") && error.contains("address"), "{error}");
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn a_udp_flow_does_not_outlive_its_container(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "5353:53/udp"]);
        // A datagram is enough: the kernel remembers where it went for half a minute.
        let send = "echo hello >/dev/udp/127.0.0.1/5353";
        let flows = || {
            let all = fs::read_to_string(host.path("/proc/1/net/nf_conntrack")).unwrap();
            all.lines().filter(|flow| flow.contains("udp") && flow.contains("=5353 ")).count()
        };
        assert_eq!(flows(), 0);
        host.exec(&["bash", "-c", send]);
        assert_eq!(flows(), 1, "the kernel tracks no flows");
        host.docker(&["rm", "-f", "alice"]);
        assert_eq!(flows(), 0, "the flow outlives its container");
        host.docker(&["network", "rm", "web"]);
    });
}

/// The ports that `cnm-cni ports` shows.
fn ports(host: &Host) -> Vec<Value> {
    let text = host.exec(&["cnm-cni", "ports", "--format", "json"]);
    serde_json::from_str(&text).unwrap()
}

/// The host port of a container that publishes one.
fn port_of(host: &Host, container: &str) -> u16 {
    let endpoint = host.endpoint(container, "web");
    let ports = ports(host);
    let port = ports.iter().find(|port| port["endpoint"] == endpoint["EndpointID"]).unwrap();
    port["host_port"].as_u64().unwrap().try_into().unwrap()
}

/// The message about a container that holds a port.
fn held_by(host: &Host, container: &str) -> String {
    let endpoint = host.endpoint(container, "web");
    let short = |field: &str| endpoint[field].as_str().unwrap()[..12].to_owned();
    format!("is held by endpoint {} of network {}", short("EndpointID"), short("NetworkID"))
}
