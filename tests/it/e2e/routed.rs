//! A pod network without a bridge: a /32 address, a gateway outside of every subnet (169.254.1.1), and the
//! host as router. Calico and Cilium attach like this.

use super::host::{Suite, answers, within};
use super::leaks::LIMIT;
use super::{ConfFile, PODS, on_a_host, on_both_dockers};

/// A plugin of this kind, because the reference plugins have none; it makes real links and routes.
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
    a_default_route_without_a_gateway_is_there_and_gives_way_to_dockers,
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
    // The result has the form of calico and the VPC plugin of AWS.
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
        // With this, calico does not treat it as a pod.
        let args = host.exec(&["cat", "/run/routed-plugin.args"]);
        assert!(args.trim().split(';').any(|pair| pair == "K8S_POD_NAME="), "{args}");
        host.exec(&["cnm-cni", "check"]);
        host.remove(&["alice", "bob"], &["web"]);
    });
}

/// On a link where the host answers for all addresses, no gateway is needed.
fn a_default_route_without_a_gateway_is_there_and_gives_way_to_dockers(suite: Suite) {
    let plugin = PLUGIN
        .replace("route add default via 169.254.1.1 dev", "route add default scope link dev")
        .replace("inside route add 169.254.1.1", "# ")
        .replace(r#""gateway": "169.254.1.1", "#, "")
        .replace(r#""routes": ["#, r#""other": ["#)
        .replace(
            "\n    ip route add",
            "\n    echo 1 >/proc/sys/net/ipv4/conf/$peer/proxy_arp\n    ip route add",
        );
    on_a_host(suite, &[CONFLIST, PODS], |host| {
        host.write_program("/opt/cni/bin/routed", &plugin);
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        let options = ["-o", "conflist=routed", "-o", "forward=always", "web"];
        host.docker(&[&create[..], &options].concat());
        host.create_network("pods", Some("pods"));
        host.run("alice", "web", &[]);
        host.run("bob", "web", &[]);
        assert_eq!(host.endpoint("alice", "web")["Gateway"], "");
        // Before Docker 28 the process may be a little ahead of its network.
        let routes = || host.docker(&["exec", "alice", "ip", "route"]);
        assert!(within(LIMIT, || routes().contains("default dev eth0 scope link")), "{}", routes());
        host.ping("bob", "alice").unwrap();
        host.ping("alice", &host.address()).unwrap();
        host.exec(&["cnm-cni", "check"]);
        let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "alice"]);
        let inside = ["nsenter", &format!("--net=/proc/{pid}/ns/net")];
        host.exec(&[&inside[..], &["ip", "route", "delete", "default"]].concat());
        host.exec(&["cnm-cni", "check", "--repair", "alice"]);
        assert!(routes().contains("default dev eth0 scope link"), "{}", routes());
        host.docker(&["network", "connect", "pods", "alice"]);
        let gave_way = || {
            let routes = routes();
            routes.contains("default via 10.99.0.1 dev eth1")
                && !routes.contains("default dev eth0")
        };
        assert!(within(LIMIT, gave_way), "{}", routes());
        host.ping("alice", &host.machine()).unwrap();
        host.remove(&["alice", "bob"], &["web", "pods"]);
    });
}
