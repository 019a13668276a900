//! Chains that give IPv6 addresses alone.

use std::time::Duration;

use super::host::{Suite, answers, within};
use super::{BRIDGE, ConfFile, PODS, and_on_docker_26_1, on_a_host, on_both_dockers};

const IPV6_ONLY: ConfFile<'_> = (
    "20-v6only.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "v6only",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "brv6",
                "isDefaultGateway": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": "fd00:1234:2000::/64", "gateway": "fd00:1234:2000::1"}]]
                }
            }
        ]
    }"#,
);

on_both_dockers! {
    a_container_with_ipv6_alone_has_the_default_route_of_its_chain,
    there_is_one_default_route_for_ipv6_among_several_networks,
}

and_on_docker_26_1! {
    a_container_with_ipv6_alone_has_the_default_route_of_its_chain,
    there_is_one_default_route_for_ipv6_among_several_networks,
}

fn a_container_with_ipv6_alone_has_the_default_route_of_its_chain(suite: Suite) {
    on_a_host(suite, &[IPV6_ONLY], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &[]);
        for _ in 0..2 {
            let routes = || host.docker(&["exec", "alice", "ip", "-6", "route", "show", "default"]);
            let has = || routes().starts_with("default via fd00:1234:2000::1 dev eth0");
            assert!(within(Duration::from_secs(5), has), "{}", routes());
            assert_eq!(routes().lines().count(), 1, "{}", routes());
            let told = host.exec(&["cnm-cni", "check", "alice"]);
            assert!(told.contains("ok       as ADD left it"), "{told}");
            host.docker(&["restart", "alice"]);
        }
        host.remove(&["alice"], &["web"]);
    });
}

fn there_is_one_default_route_for_ipv6_among_several_networks(suite: Suite) {
    on_a_host(suite, &[BRIDGE, IPV6_ONLY], |host| {
        host.create_network("both", Some("cni-bridge"));
        host.create_network("web", Some("v6only"));
        let routes = || host.docker(&["exec", "alice", "ip", "-6", "route", "show", "default"]);
        let one = || routes().lines().count() == 1 && routes().starts_with("default via fd00:");
        host.run("alice", "web", &[]);
        assert!(within(Duration::from_secs(5), one), "{}", routes());
        host.docker(&["network", "connect", "both", "alice"]);
        assert!(one(), "{}", routes());
        // Before version 28, Docker takes that with an IPv4 gateway for the only one.
        if suite != Suite::Forky {
            assert!(routes().contains("via fd00:c9::1 dev eth1"), "{}", routes());
        }
        // Both at once, when it starts.
        host.docker(&["restart", "alice"]);
        let settled = || host.exec(&["sh", "-c", "cnm-cni check alice || true"]);
        let is_settled = || settled().matches("ok       as ADD left it").count() == 2;
        assert!(within(Duration::from_secs(5), is_settled), "{}", settled());
        assert!(one(), "{}", routes());
        // The one that is left has it again.
        host.docker(&["network", "disconnect", "both", "alice"]);
        let last = || one() && routes().contains("via fd00:1234:2000::1 ");
        assert!(within(Duration::from_secs(5), last), "{}", routes());
        // The same beside a network of Docker's own, whose end Docker tells no driver.
        let own = ["network", "create", "--ipv6", "--subnet", "fd00:77::/64", "own"];
        host.docker(&own);
        host.docker(&["network", "connect", "own", "alice"]);
        host.docker(&["restart", "alice"]);
        assert!(within(Duration::from_secs(5), one), "{}", routes());
        host.docker(&["network", "disconnect", "own", "alice"]);
        assert!(within(Duration::from_secs(5), last), "{}", routes());
        host.remove(&["alice"], &["both", "web", "own"]);
    });
}

/// Before version 28, Docker knows one gateway of a container, and has that one publish.
#[test]
fn docker_28_publishes_on_the_gateways_of_both_families() {
    let published = IPV6_ONLY.1.replace(
        "\n        ]\n",
        ",\n{\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}]\n",
    );
    on_a_host(Suite::Forky, &[PODS, (IPV6_ONLY.0, &published)], |host| {
        host.create_network("four", Some("pods"));
        host.create_network("six", Some("v6only"));
        let answer = || {
            answers("alice", || host.get("http://127.0.0.1:8080/"));
            answers("alice", || host.get_from_outside(8080));
            answers("alice", || host.get("http://[fd00:1234:2000::1]:8080/"));
        };
        host.run("alice", "four", &["-p", "8080:80", "--network", "six"]);
        answer();
        host.docker(&["restart", "alice"]);
        answer();
        // The one with the address that answers is gone, and then it is back.
        host.docker(&["network", "disconnect", "six", "alice"]);
        answers("alice", || host.get_from_outside(8080));
        host.docker(&["network", "connect", "six", "alice"]);
        answer();
        let told = host.exec(&["cnm-cni", "check"]);
        assert_eq!(told.matches("ok       as ADD left it").count(), 2, "{told}");
        host.remove(&["alice"], &["four", "six"]);
    });
}
