//! The conflists of pod networks that look nothing up, as their daemons write them on a node: see
//! docs/kubernetes.md.

use super::host::{Suite, answers};
use super::{ConfFile, on_a_host, on_both_dockers};

/// `images/kindnetd/cmd/kindnetd/cni.go` of kind v0.33.0-alpha, of a dual-stack node.
const KINDNET: ConfFile<'_> = (
    "10-kindnet.conflist",
    r#"{
        "cniVersion": "0.3.1",
        "name": "kindnet",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-ipam-state",
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                    "ranges": [
                        [{"subnet": "10.244.5.0/24"}],
                        [{"subnet": "fd00:10:244:5::/64"}]
                    ]
                },
                "mtu": 1400
            },
            {"type": "portmap", "capabilities": {"portMappings": true}}
        ]
    }"#,
);

/// `daemonset/generic-kuberouter-all-features.yaml` of kube-router v2.11.1, with the ranges that
/// the daemon adds.
const KUBE_ROUTER: ConfFile<'_> = (
    "20-kuberouter.conflist",
    r#"{
        "cniVersion": "0.3.0",
        "name": "mynet",
        "plugins": [
            {
                "name": "kubernetes",
                "type": "bridge",
                "bridge": "kube-bridge",
                "isDefaultGateway": true,
                "hairpinMode": true,
                "mtu": 1480,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.6.0/24"}]]}
            }
        ]
    }"#,
);

on_both_dockers! {
    kindnet_attaches_containers_as_pods,
    kube_router_attaches_containers_as_pods,
}

fn kindnet_attaches_containers_as_pods(suite: Suite) {
    on_a_host(suite, &[KINDNET], |host| {
        host.create_network("web", Some("kindnet"));
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "web", &[]);
        let alice = host.endpoint("alice", "web");
        assert_eq!(alice["Gateway"], "10.244.5.1");
        let address = alice["GlobalIPv6Address"].as_str().unwrap();
        assert!(address.starts_with("fd00:10:244:5::"), "{address}");
        host.ping("bob", "alice").unwrap();
        host.ping("bob", address).unwrap();
        answers("alice", || host.get_from_outside(8080));
        let mtu = host.docker(&["exec", "alice", "cat", "/sys/class/net/eth0/mtu"]);
        assert_eq!(mtu, "1400");
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn kube_router_attaches_containers_as_pods(suite: Suite) {
    on_a_host(suite, &[KUBE_ROUTER], |host| {
        host.create_network("web", Some("mynet"));
        host.run("alice", "web", &[]);
        host.run("bob", "web", &[]);
        assert_eq!(host.endpoint("alice", "web")["Gateway"], "10.244.6.1");
        host.ping("bob", "alice").unwrap();
        let error = host.run_refuses("carol", "web", &["-p", "8080:80"]);
        assert!(error.contains("portMappings"), "{error}");
        host.remove(&["alice", "bob"], &["web"]);
    });
}
