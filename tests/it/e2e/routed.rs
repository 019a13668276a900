//! A pod network without a bridge: an address of its own (/32), a gateway that is outside of every
//! subnet (169.254.1.1), and the host as router. Calico and Cilium attach like this.

use super::host::{Suite, answers};
use super::{ConfFile, on_a_host, on_both_dockers};

/// A plugin in that manner, because the reference plugins have none; it does the real thing.
const PLUGIN: &str = include_str!("routed-plugin");

const CONFLIST: ConfFile<'_> = (
    "10-routed.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "routed",
        "plugins": [
            {
                "type": "routed",
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.97.0.0/24"}]]}
            },
            {"type": "portmap", "capabilities": {"portMappings": true}}
        ]
    }"#,
);

on_both_dockers! {
    a_gateway_outside_the_subnet_works,
    a_default_route_that_the_plugin_does_not_report_is_there,
}

fn a_gateway_outside_the_subnet_works(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.write_program("/opt/cni/bin/routed", PLUGIN);
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        host.docker(&[&create[..], &["-o", "forward=always", "web"]].concat());
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "web", &[]);
        let alice = host.endpoint("alice", "web");
        assert_eq!(alice["IPPrefixLen"], 32);
        assert_eq!(alice["Gateway"], "169.254.1.1");
        let routes = host.docker(&["exec", "alice", "ip", "route"]);
        assert!(routes.contains("default via 169.254.1.1 dev eth0"), "{routes}");
        host.ping("bob", "alice").unwrap();
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn a_default_route_that_the_plugin_does_not_report_is_there(suite: Suite) {
    // As calico and the VPC plugin of AWS answer.
    let (told, untold) = (r#""gateway": "169.254.1.1", "#, r#""routes": ["#);
    let plugin = PLUGIN.replace(told, "").replace(untold, r#""other": ["#);
    on_a_host(suite, &[CONFLIST], |host| {
        host.write_program("/opt/cni/bin/routed", &plugin);
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        let options = ["-o", "forward=always", "-o", "cni.args.K8S_POD_NAME=", "web"];
        host.docker(&[&create[..], &options].concat());
        host.run("alice", "web", &[]);
        host.run("bob", "web", &[]);
        assert_eq!(host.endpoint("alice", "web")["Gateway"], "169.254.1.1");
        host.ping("bob", "alice").unwrap();
        host.ping("bob", &host.address()).unwrap();
        // Which has calico take it for no pod.
        let args = host.exec(&["cat", "/run/routed-plugin.args"]);
        assert!(args.trim().split(';').any(|pair| pair == "K8S_POD_NAME="), "{args}");
        host.exec(&["cnm-cni", "check"]);
        host.remove(&["alice", "bob"], &["web"]);
    });
}
