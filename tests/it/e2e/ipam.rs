//! Who chooses the addresses, and that they reach the container.

use serde_json::json;

use super::host::{Host, Suite};
use super::{BRIDGE, and_on_docker_26_1, on_a_host, on_both_dockers};

/// A conflist with these IPAM ranges, by a name of its own. The bridge takes the part of the
/// gateway, which it can for one subnet of a family only.
fn pods(name: &str, capabilities: &str, ranges: &str) -> String {
    let gateway = ranges.matches("subnet").count() < 2;
    format!(
        r#"{{
            "cniVersion": "1.0.0",
            "name": "{name}",
            "plugins": [
                {{
                    "type": "bridge",
                    "bridge": "{name}0",
                    "isDefaultGateway": {gateway},
                    "capabilities": {capabilities},
                    "ipam": {{"type": "host-local"{ranges}}}
                }}
            ]
        }}"#
    )
}

on_both_dockers! {
    cni_chooses_one_family_or_several_addresses_of_each,
    docker_chooses_by_its_own_ipam_and_the_chain_obeys,
    a_user_asks_for_an_address_by_option,
    docker_keeps_to_a_range_of_the_conflists_by_the_flags_of_the_error,
    addresses_of_the_chains_choice_cannot_be_dockers_too,
}

and_on_docker_26_1! {
    docker_chooses_by_its_own_ipam_and_the_chain_obeys,
    a_user_asks_for_an_address_by_option,
}

fn cni_chooses_one_family_or_several_addresses_of_each(suite: Suite) {
    let six = pods("six", "{}", r#", "ranges": [[{"subnet": "fd00:94::/64"}]]"#);
    let many = pods(
        "many",
        "{}",
        r#", "ranges": [[{"subnet": "10.94.1.0/24"}], [{"subnet": "10.94.2.0/24"}],
                        [{"subnet": "fd00:941::/64"}], [{"subnet": "fd00:942::/64"}]]"#,
    );
    on_a_host(suite, &[("10-six.conflist", &six), ("20-many.conflist", &many)], |host| {
        host.create_network("six", Some("six"));
        host.run("alice", "six", &[]);
        let endpoint = host.endpoint("alice", "six");
        assert_eq!(endpoint["IPAddress"], "");
        let address = endpoint["GlobalIPv6Address"].as_str().unwrap();
        assert!(address.starts_with("fd00:94::"), "{endpoint}");
        assert!(addresses(host, "alice").contains(address));
        host.ping("alice", "fd00:94::1").unwrap();

        host.create_network("many", Some("many"));
        host.run("bob", "many", &[]);
        host.run("carol", "many", &[]);
        let endpoint = host.endpoint("bob", "many");
        assert!(endpoint["IPAddress"].as_str().unwrap().starts_with("10.94.1."), "{endpoint}");
        let inside = addresses(host, "bob");
        for net in ["10.94.1.", "10.94.2.", "fd00:941::", "fd00:942::"] {
            let address = inside
                .split_whitespace()
                .find(|word| word.starts_with(net))
                .unwrap_or_else(|| panic!("no {net} in {inside}"));
            let (address, _prefix) = address.split_once('/').unwrap();
            host.ping("carol", address).unwrap();
        }
        host.remove(&["alice", "bob", "carol"], &["six", "many"]);
    });
}

fn docker_chooses_by_its_own_ipam_and_the_chain_obeys(suite: Suite) {
    let open = pods("open", r#"{"ipRanges": true}"#, "");
    on_a_host(suite, &[BRIDGE, ("20-open.conflist", &open)], |host| {
        let create = ["network", "create", "-d", "cni"];
        // Addresses outside of the conflist are refused, with commands that work.
        let other = [&create[..], &["--subnet", "10.92.0.0/24", "-o", "conflist=cni-bridge", "no"]];
        let error = host.docker_refuses(&other.concat());
        assert!(error.contains("--ipam-driver null") && error.contains("--subnet 10.201.0.0/24"));
        let other = ["--subnet", "10.201.0.0/24", "--ipv6", "--subnet", "fd00:92::/64", "no"];
        let error =
            host.docker_refuses(&[&create[..], &["-o", "conflist=cni-bridge"], &other].concat());
        assert!(error.contains("--ipv6 --subnet fd00:c9::/64"), "{error}");

        let both = [
            "--subnet",
            "10.201.0.0/24",
            "--gateway",
            "10.201.0.1",
            "--ip-range",
            "10.201.0.128/25",
            "--aux-address",
            "reserved=10.201.0.129",
            "--ipv6",
            "--subnet",
            "fd00:c9::/64",
            "--gateway",
            "fd00:c9::1",
        ];
        host.docker(&[&create[..], &both, &["-o", "conflist=cni-bridge", "web"]].concat());
        host.run("alice", "web", &[]);
        host.run("bob", "web", &["--ip", "10.201.0.77", "--ip6", "fd00:c9::77"]);
        let alice = host.endpoint("alice", "web");
        let address = alice["IPAddress"].as_str().unwrap();
        let last: u8 = address.rsplit('.').next().unwrap().parse().unwrap();
        assert!(last >= 128 && last != 129, "not of --ip-range: {address}");
        assert!(addresses(host, "alice").contains(&format!(" {address}/24 ")));
        let inside = addresses(host, "bob");
        assert!(inside.contains(" 10.201.0.77/24 ") && inside.contains(" fd00:c9::77/64 "));
        host.ping("alice", "bob").unwrap();
        host.ping("alice", "fd00:c9::77").unwrap();
        // An address that another runtime has of the same allocator.
        host.write("/var/lib/cni/networks/cni-bridge/10.201.0.99", "a-pod\r\neth0");
        let error = host.run_refuses("carol", "web", &["--ip", "10.201.0.99"]);
        assert!(error.contains("10.201.0.99"), "{error}");
        host.exec(&["rm", "/var/lib/cni/networks/cni-bridge/10.201.0.99"]);

        // A chain without ranges of its own takes Docker's.
        let pool = ["--subnet", "10.93.0.0/24", "-o", "conflist=open", "any"];
        host.docker(&[&create[..], &pool].concat());
        host.run("dave", "any", &["--ip", "10.93.0.40"]);
        assert!(addresses(host, "dave").contains(" 10.93.0.40/24 "));
        host.ping("dave", "10.93.0.1").unwrap();
        host.remove(&["alice", "bob", "dave"], &["web", "any"]);
    });
}

fn a_user_asks_for_an_address_by_option(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "name=web,driver-opt=ip=10.201.0.50", &[]);
        assert_eq!(host.endpoint("alice", "web")["IPAddress"], "10.201.0.50");
        assert!(addresses(host, "alice").contains(" 10.201.0.50/24 "));
        host.docker(&["create", "--name", "bob", "cnm-cni/busybox"]);
        let connect = ["network", "connect", "--driver-opt"];
        host.docker(&[&connect[..], &["ip=fd00:c9::50", "web", "bob"]].concat());
        host.docker(&["start", "bob"]);
        assert_eq!(host.endpoint("bob", "web")["GlobalIPv6Address"], "fd00:c9::50");
        // One of each family.
        host.run("dave", "name=web,driver-opt=ip=10.201.0.60+fd00:c9::60", &[]);
        let dave = host.endpoint("dave", "web");
        assert_eq!(
            (&dave["IPAddress"], &dave["GlobalIPv6Address"]),
            (&json!("10.201.0.60"), &json!("fd00:c9::60"))
        );
        let inside = addresses(host, "dave");
        assert!(
            inside.contains(" 10.201.0.60/24 ") && inside.contains(" fd00:c9::60/64 "),
            "{inside}"
        );
        let error = host.run_refuses("carol", "name=web,driver-opt=ip=192.0.2.7", &[]);
        assert!(error.contains("192.0.2.7"), "{error}");
        host.docker(&["kill", "bob"]);
        host.remove(&["alice", "bob", "dave"], &["web"]);
    });
}

fn docker_keeps_to_a_range_of_the_conflists_by_the_flags_of_the_error(suite: Suite) {
    let range = r#", "ranges": [[{"subnet": "10.92.0.0/24", "rangeStart": "10.92.0.100",
                                  "rangeEnd": "10.92.0.200"}]]"#;
    on_a_host(suite, &[("10-narrow.conflist", &pods("narrow", "{}", range))], |host| {
        let create = ["network", "create", "-d", "cni"];
        host.docker(&[&create[..], &["--subnet", "10.92.0.0/24", "web"]].concat());
        let error = host.run_refuses("alice", "web", &[]);
        assert!(error.contains("10.92.0.100 to 10.92.0.200"), "{error}");
        host.run("alice", "web", &["--ip", "10.92.0.100"]);
        host.remove(&["alice"], &["web"]);

        let flags = error.split_once("create the network with ").unwrap().1;
        let flags: Vec<_> = flags.split(',').next().unwrap().split(' ').collect();
        host.docker(&[&create[..], &flags, &["web"]].concat());
        host.run("alice", "web", &[]);
        host.run("bob", "web", &[]);
        host.ping("alice", "bob").unwrap();
        host.remove(&["alice", "bob"], &["web"]);
        // Docker may reserve the first address of the range in place of the gateway's.
        let range = ["--subnet", "10.92.0.0/24", "--ip-range", "10.92.0.128/26", "web"];
        match host.try_exec(&[&["docker"], &create[..], &range].concat()) {
            Ok(_) => drop(host.docker(&["network", "rm", "web"])),
            Err(error) => assert!(error.contains("--gateway 10.92.0.1"), "{error}"),
        }
    });
}

fn addresses(host: &Host, container: &str) -> String {
    host.docker(&["exec", container, "ip", "-o", "address"])
}

fn addresses_of_the_chains_choice_cannot_be_dockers_too(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        let subnet = ["--subnet", "10.201.0.0/24", "web"];
        host.docker_refuses(&[&create[..], &subnet].concat());
        host.create_network("web", None);
        let error = host.run_refuses("alice", "web", &["--ip", "10.201.0.9"]);
        assert!(error.contains("subnet"), "{error}");
        host.docker(&["network", "rm", "web"]);

        // A network without IPv4 of Docker's choice.
        if suite == Suite::Forky {
            let six = ["--ipv4=false", "--ipv6", "--subnet", "fd00:c9::/64", "six"];
            host.docker(&[&["network", "create", "-d", "cni"], &six[..]].concat());
            host.run("alice", "six", &["--ip6", "fd00:c9::6"]);
            assert!(addresses(host, "alice").contains(" fd00:c9::6/64 "));
            host.remove(&["alice"], &["six"]);
        }
    });
}
