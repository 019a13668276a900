//! Containers with several networks: the gateway and the published ports move between them.

use std::time::Duration;

use super::host::{Host, IMAGE, Suite, answers, within};
use super::{PODS, and_on_docker_26_1, more_pods, on_a_host, on_both_dockers};

/// Two pod networks without bridges, with the same gateway outside of their subnets.
const FAR: &str = r#"{
    "cniVersion": "1.0.0",
    "name": "NAME",
    "plugins": [
        {
            "type": "routed",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.96.NUMBER.0/24"}]]}
        },
        {"type": "portmap", "capabilities": {"portMappings": true}}
    ]
}"#;

on_both_dockers! {
    published_ports_follow_the_gateway_from_network_to_network,
    two_networks_with_the_same_far_gateway_meet_in_one_container,
    networks_that_overlap_are_refused_to_one_container,
    two_networks_that_route_by_source_do_not_share_a_table,
}

and_on_docker_26_1! {
    published_ports_follow_the_gateway_from_network_to_network,
    two_networks_with_the_same_far_gateway_meet_in_one_container,
    networks_that_overlap_are_refused_to_one_container,
}

fn published_ports_follow_the_gateway_from_network_to_network(suite: Suite) {
    on_a_host(suite, &[PODS, ("20-more.conflist", &more_pods())], |host| {
        host.create_network("anna", Some("pods"));
        host.create_network("bert", Some("more"));
        host.docker(&["network", "create", "plain"]);
        let options = ["-p", "8080:80", "-p", "8081:80", "-p", "80"];
        host.run("alice", "anna", &options);
        let both_answer = || {
            for port in [8080, 8081] {
                answers("alice", || host.get(&format!("http://127.0.0.1:{port}/")));
                answers("alice", || host.get_from_outside(port));
            }
        };
        // Only one of the two networks publishes the ports, including the port that the driver has chosen.
        let three_are_published = || {
            let ports = host.exec(&["cnm-cni", "ports"]);
            assert_eq!(ports.lines().count(), 4, "{ports}");
        };
        host.docker(&["network", "connect", "bert", "alice"]);
        three_are_published();
        assert_eq!(gateway(host, "alice"), "10.99.0.1");
        both_answer();
        // Another container gets an error, also on another network.
        host.create_network("carl", Some("more"));
        let error = host.run_refuses("bob", "carl", &["-p", "8080:80"]);
        assert!(error.contains("8080/tcp is held by endpoint"), "{error}");
        let error = host.run_refuses("bob", "carl", &options);
        assert!(error.contains("/tcp is held by endpoint"), "{error}");

        host.docker(&["network", "disconnect", "anna", "alice"]);
        assert_eq!(gateway(host, "alice"), "10.98.0.1");
        both_answer();
        three_are_published();
        host.docker(&["network", "connect", "plain", "alice"]);
        host.docker(&["network", "disconnect", "bert", "alice"]);
        both_answer();
        host.docker(&["network", "connect", "anna", "alice"]);
        host.docker(&["network", "disconnect", "plain", "alice"]);
        assert_eq!(gateway(host, "alice"), "10.99.0.1");
        both_answer();
        host.docker(&["restart", "alice"]);
        both_answer();
        // Another container that leaves the choice to the driver has a port of its own.
        host.run("bob", "carl", &["-p", "80"]);
        host.run("carol", "anna", &["-p", "80"]);
        let ports = host.exec(&["cnm-cni", "ports"]);
        assert_eq!(ports.lines().count(), 6, "{ports}");
        // Before version 28, Docker makes no further call for a network that a container joins while it runs,
        // if its ports are on Docker's own bridge.
        host.run("dave", "plain", &["-p", "8090:80"]);
        host.docker(&["network", "connect", "anna", "dave"]);
        let told = || host.exec(&["sh", "-c", "cnm-cni check dave || true"]);
        let is_settled = || told().contains("ok       as ADD left it");
        assert!(within(Duration::from_secs(10), is_settled), "{}", told());
        let containers = ["alice", "bob", "carol", "dave"];
        host.remove(&containers, &["anna", "bert", "carl", "plain"]);
    });
}

fn two_networks_with_the_same_far_gateway_meet_in_one_container(suite: Suite) {
    let far = |name, number| FAR.replace("NAME", name).replace("NUMBER", number);
    let (one, two) = (far("one", "1"), far("two", "2"));
    on_a_host(suite, &[("10.conflist", &one), ("20.conflist", &two)], |host| {
        host.write_program("/opt/cni/bin/routed", include_str!("routed-plugin"));
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        let forward = ["-o", "forward=always", "-o"];
        host.docker(&[&create[..], &forward, &["conflist=one", "anna"]].concat());
        host.docker(&[&create[..], &forward, &["conflist=two", "bert"]].concat());
        host.run("alice", "anna", &["-p", "8080:80"]);
        host.run("bob", "bert", &[]);
        host.docker(&["network", "connect", "bert", "alice"]);
        let routes = host.docker(&["exec", "alice", "ip", "route"]);
        assert!(routes.contains("default via 169.254.1.1 dev eth0"), "{routes}");
        answers("alice", || host.get("http://127.0.0.1:8080/"));

        host.docker(&["network", "disconnect", "anna", "alice"]);
        let routes = host.docker(&["exec", "alice", "ip", "route"]);
        assert!(routes.contains("default via 169.254.1.1 dev eth1"), "{routes}");
        host.ping("alice", "bob").unwrap();
        answers("alice", || host.get("http://127.0.0.1:8080/"));

        // Both at once, when it starts.
        host.docker(&["network", "connect", "anna", "alice"]);
        host.docker(&["restart", "alice"]);
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        host.ping("alice", "bob").unwrap();
        if suite == Suite::Forky {
            let prefer = ["network", "connect", "--gw-priority", "100", "bert", "alice"];
            host.docker(&["network", "disconnect", "bert", "alice"]);
            host.docker(&prefer);
            let link = host.docker(&[
                "exec",
                "alice",
                "sh",
                "-c",
                "ip -o address | sed -n 's/^[0-9]*: \\(eth[0-9]*\\) .*10.96.2.*/\\1/p'",
            ]);
            let routes = host.docker(&["exec", "alice", "ip", "route"]);
            let default = format!("default via 169.254.1.1 dev {link}");
            assert!(routes.contains(&default), "no {default:?} in {routes}");
            answers("alice", || host.get("http://127.0.0.1:8080/"));
        }
        host.remove(&["alice", "bob"], &["anna", "bert"]);
    });
}

/// `sbr` takes table 100 for each of them.
fn two_networks_that_route_by_source_do_not_share_a_table(suite: Suite) {
    let conflist =
        |name: &str, number: &str| SOURCES.replace("NAME", name).replace("NUMBER", number);
    let (one, two) = (conflist("one", "1"), conflist("two", "2"));
    on_a_host(suite, &[("10-one.conflist", &one), ("20-two.conflist", &two)], |host| {
        host.create_network("anna", Some("one"));
        host.create_network("bert", Some("two"));
        host.docker(&["create", "--init", "--name", "alice", "--network", "anna", IMAGE]);
        // Both at start; later another one joins as it runs.
        host.docker(&["network", "connect", "bert", "alice"]);
        host.docker(&["start", "alice"]);
        let leaves_by_its_own = |network: &str, number: &str| {
            let address = host.endpoint("alice", network)["IPAddress"].as_str().unwrap().to_owned();
            let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "alice"]);
            let inside = format!("--net=/proc/{pid}/ns/net");
            let way = ["nsenter", &inside, "ip", "route", "get", "192.0.2.1", "from", &address];
            let gateway = format!("via 10.7{number}.0.1 ");
            let by_its_own = || host.exec(&way).contains(&gateway);
            assert!(within(Duration::from_secs(5), by_its_own), "{}", host.exec(&way));
        };
        leaves_by_its_own("anna", "1");
        leaves_by_its_own("bert", "2");
        host.exec(&["cnm-cni", "check", "alice"]);

        host.docker(&["network", "disconnect", "anna", "alice"]);
        leaves_by_its_own("bert", "2");
        host.docker(&["network", "connect", "anna", "alice"]);
        leaves_by_its_own("anna", "1");
        leaves_by_its_own("bert", "2");
        host.exec(&["cnm-cni", "check", "alice"]);
        host.remove(&["alice"], &["anna", "bert"]);
    });
}

const SOURCES: &str = r#"{
    "cniVersion": "1.0.0",
    "name": "NAME",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "NAME0",
            "isGateway": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.7NUMBER.0.0/24"}]],
                     "routes": [{"dst": "0.0.0.0/0"}]}
        },
        {"type": "sbr"}
    ]
}"#;

fn networks_that_overlap_are_refused_to_one_container(suite: Suite) {
    // The same subnet on two bridges.
    let other = PODS.1.replace("pods", "more");
    on_a_host(suite, &[PODS, ("20-more.conflist", &other)], |host| {
        host.create_network("anna", Some("pods"));
        host.create_network("bert", Some("more"));
        host.run("alice", "anna", &[]);
        let error = host.docker_refuses(&["network", "connect", "bert", "alice"]);
        assert!(error.contains("overlaps subnet 10.99.0.0/24"), "{error}");
        // The first network is as it was.
        host.ping("alice", "10.99.0.1").unwrap();
        host.remove(&["alice"], &["anna", "bert"]);
    });
}

/// Where a container's default route leads.
fn gateway(host: &Host, container: &str) -> String {
    let routes = host.docker(&["exec", container, "ip", "route"]);
    let default = routes.lines().find_map(|route| route.strip_prefix("default via "));
    default.and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned()
}
