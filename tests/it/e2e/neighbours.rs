//! What a container's neighbours know about it.

use std::time::Duration;

use serde_json::Value;

use super::host::{Host, Suite, within};
use super::{BRIDGE, ConfFile, and_on_docker_26_1, on_a_host, on_both_dockers};

on_both_dockers! {
    a_neighbour_reaches_a_container_at_once_that_came_back_with_another_mac,
}

and_on_docker_26_1! {
    a_neighbour_reaches_a_container_at_once_that_came_back_with_another_mac,
}

/// Addresses of both families that Docker may choose.
const DOCKERS: ConfFile<'_> = (
    "20-dockers.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "dockers",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "dockers0",
                "isDefaultGateway": true,
                "capabilities": {"ips": true},
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": "10.96.0.0/24"}], [{"subnet": "fd00:96::/64"}]]
                }
            }
        ]
    }"#,
);

fn a_neighbour_reaches_a_container_at_once_that_came_back_with_another_mac(suite: Suite) {
    on_a_host(suite, &[BRIDGE, DOCKERS], |host| {
        host.create_network("cnis", Some("cni-bridge"));
        let of_docker = [
            &["network", "create", "-d", "cni", "-o", "conflist=dockers", "--ipv6"][..],
            &["--subnet", "10.96.0.0/24", "--gateway", "10.96.0.1"],
            &["--subnet", "fd00:96::/64", "--gateway", "fd00:96::1", "dockers"],
        ];
        host.docker(&of_docker.concat());
        for (network, options) in [
            ("name=cnis,driver-opt=ip=10.201.0.50+fd00:c9::50", &[][..]),
            ("dockers", &["--ip", "10.96.0.50", "--ip6", "fd00:96::50"][..]),
        ] {
            host.run("alice", network, options);
            let network = network.split([',', '=']).find(|it| *it != "name").unwrap();
            host.run("bob", network, &[]);
            let before = host.endpoint("alice", network);
            let addresses = ["IPAddress", "GlobalIPv6Address"].map(|key| text(&before, key));
            for address in &addresses {
                host.ping("bob", address).unwrap();
            }
            let inside = format!("--net={}", sandbox(host, "bob"));
            let known = || {
                let of_bob = host.exec(&["nsenter", &inside, "ip", "neigh", "show", "dev", "eth0"]);
                let knows = |address: &String| {
                    of_bob.lines().find(|line| line.starts_with(&format!("{address} ")))
                };
                addresses.iter().filter_map(knows).map(str::to_owned).collect::<Vec<_>>()
            };
            // The neighbour sends no new request while its entry is fresh.
            for family in ["ipv4", "ipv6"] {
                let file = format!("/proc/sys/net/{family}/neigh/eth0/base_reachable_time_ms");
                let write = format!("echo 600000 >{file}");
                host.exec(&["nsenter", &inside, "sh", "-c", &write]);
            }
            for address in &addresses {
                host.ping("bob", address).unwrap();
            }
            let old = text(&before, "MacAddress");
            let knows = |mac: &str| {
                let known = known();
                known.len() == addresses.len() && known.iter().all(|line| line.contains(mac))
            };
            assert!(knows(&old), "{:?}", known());

            host.docker(&["restart", "-t", "0", "alice"]);
            let after = host.endpoint("alice", network);
            assert_eq!(["IPAddress", "GlobalIPv6Address"].map(|key| text(&after, key)), addresses);
            let new = text(&after, "MacAddress");
            assert_ne!(new, old);
            assert!(within(Duration::from_secs(3), || knows(&new)), "{new}: {:?}", known());
            for address in &addresses {
                host.ping("bob", address).unwrap();
            }
            host.docker(&["rm", "-f", "alice", "bob"]);
        }
        host.docker(&["network", "rm", "cnis", "dockers"]);
    });
}

fn sandbox(host: &Host, container: &str) -> String {
    host.docker(&["inspect", "-f", "{{.NetworkSettings.SandboxKey}}", container])
}

fn text(endpoint: &Value, key: &str) -> String {
    endpoint[key].as_str().unwrap().to_owned()
}
