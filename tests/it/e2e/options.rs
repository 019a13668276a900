//! The options of networks and endpoints.

use std::fs;

use super::host::{Host, Suite, answers};
use super::{ConfFile, PODS, and_on_docker_26_1, on_a_host, on_both_dockers};

const SHAPED: ConfFile<'_> = (
    "10-shaped.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "shaped",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "shaped0",
                "isDefaultGateway": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.91.0.0/24"}]]}
            },
            {"type": "bandwidth", "capabilities": {"bandwidth": true}}
        ]
    }"#,
);

const ROUTED: ConfFile<'_> = (
    "20-routed.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "routed",
        "plugins": [
            {
                "type": "routed",
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.97.0.0/24"}]]}
            }
        ]
    }"#,
);

on_both_dockers! {
    capabilities_and_the_mtu_are_the_endpoints_or_else_the_networks,
    packets_are_as_large_as_the_mtu_that_the_user_gave,
    an_mtu_that_a_chain_cannot_make_is_refused_with_the_network,
    plugins_made_for_kubernetes_get_names_that_last,
    an_unknown_option_is_refused_with_those_that_are_known,
    what_docker_itself_sets_for_an_endpoint_is_no_option_of_the_users,
}

and_on_docker_26_1! {
    an_unknown_option_is_refused_with_those_that_are_known,
    what_docker_itself_sets_for_an_endpoint_is_no_option_of_the_users,
    capabilities_and_the_mtu_are_the_endpoints_or_else_the_networks,
    packets_are_as_large_as_the_mtu_that_the_user_gave,
}

fn packets_are_as_large_as_the_mtu_that_the_user_gave(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        let large = |from: &str, to: &str| {
            host.exec(&["docker", "exec", from, "ping", "-c", "1", "-W", "3", "-s", "8000", to])
        };
        // A bridge that is there already, with the MTU of an earlier container.
        host.create_network("small", None);
        host.run("carol", "small", &[]);
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        let mtu = "com.docker.network.driver.mtu=9000";
        host.docker(&[&create[..], &["-o", mtu, "web"]].concat());
        host.run("alice", "web", &[]);
        host.run("bob", "web", &[]);
        assert_eq!(mtu_of(host, "alice", "eth0"), "9000");
        large("alice", "bob");
        large("alice", "10.99.0.1");
        assert_eq!(mtu_of(host, "carol", "eth0"), "1500");
        let carol = host.endpoint("carol", "small")["IPAddress"].as_str().unwrap().to_owned();
        host.ping("alice", &carol).unwrap();
        let page = format!("http://{carol}/");
        answers("carol", || host.get_in("bob", &page));
        host.remove(&["alice", "bob", "carol"], &["web", "small"]);
    });
}

fn an_mtu_that_a_chain_cannot_make_is_refused_with_the_network(suite: Suite) {
    on_a_host(suite, &[ROUTED], |host| {
        host.write_program("/opt/cni/bin/routed", include_str!("routed-plugin"));
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        let mtu = "com.docker.network.driver.mtu=9000";
        let error = host.docker_refuses(&[&create[..], &["-o", mtu, "web"]].concat());
        assert!(error.contains("routed") && error.contains("driver.mtu"), "{error}");
        host.create_network("web", None);
        let network = format!("name=web,driver-opt={mtu}");
        let error = host.run_refuses("alice", &network, &[]);
        assert!(error.contains("routed") && error.contains("driver.mtu"), "{error}");
        host.docker(&["network", "rm", "web"]);
    });
}

fn capabilities_and_the_mtu_are_the_endpoints_or_else_the_networks(suite: Suite) {
    on_a_host(suite, &[SHAPED], |host| {
        let rate = |rate| {
            let burst = "\"ingressBurst\":80000";
            format!("cni.capability.bandwidth={{\"ingressRate\":{rate},{burst}}}")
        };
        let (slow, fast) = (rate(8_000_000), rate(16_000_000));
        let mtu = "com.docker.network.driver.mtu";
        let options = ["-o", &slow, "-o", &format!("{mtu}=1400"), "web"];
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        host.docker(&[&create[..], &options].concat());
        host.run("alice", "web", &[]);
        assert!(host.exec(&["tc", "qdisc"]).contains("rate 8Mbit"));
        assert_eq!(mtu_of(host, "alice", "eth0"), "1400");

        host.run("bob", "bridge", &[]);
        // The command line reads this flag as CSV.
        let fast = format!("\"{}\"", fast.replace('"', "\"\""));
        let connect = ["network", "connect", "--driver-opt", &fast, "--driver-opt"];
        host.docker(&[&connect[..], &[&format!("{mtu}=1300"), "web", "bob"]].concat());
        assert!(host.exec(&["tc", "qdisc"]).contains("rate 16Mbit"));
        assert_eq!(mtu_of(host, "bob", "eth1"), "1300");
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn plugins_made_for_kubernetes_get_names_that_last(suite: Suite) {
    on_a_host(suite, &[ROUTED], |host| {
        host.write_program("/opt/cni/bin/routed", include_str!("routed-plugin"));
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        host.docker(&[&create[..], &["-o", "cni.args.K8S_POD_NAMESPACE=mine", "web"]].concat());
        host.run("alice", "name=web,driver-opt=cni.args.colour=blue", &[]);
        let told = fs::read_to_string(host.path("/run/routed-plugin.args")).unwrap();
        let pairs: Vec<_> = told.trim().split(';').collect();
        for pair in ["IgnoreUnknown=1", "K8S_POD_NAMESPACE=mine", "colour=blue"] {
            assert!(pairs.contains(&pair), "no {pair} in {told}");
        }
        let id = pairs.iter().find_map(|pair| pair.strip_prefix("K8S_POD_INFRA_CONTAINER_ID="));
        let id = id.unwrap_or_else(|| panic!("no id in {told}"));
        let name = format!("K8S_POD_NAME=attachment-{}", &id[..12]);
        assert!(pairs.contains(&&*name), "no {name} in {told}");
        host.remove(&["alice"], &["web"]);
    });
}

fn an_unknown_option_is_refused_with_those_that_are_known(suite: Suite) {
    on_a_host(suite, &[SHAPED], |host| {
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        for option in ["cni.arg=x", "ip=10.91.0.9", "com.docker.network.driver.mtu=large"] {
            let error = host.docker_refuses(&[&create[..], &["-o", option, "web"]].concat());
            let key = option.split('=').next().unwrap();
            assert!(error.contains(key), "{option}: {error}");
        }
        for (option, words) in [
            ("confilst=nosuch", "did you mean \"conflist\"?"),
            ("Conflist=x", "did you mean \"conflist\"?"),
            (
                "theirs=x",
                "option \"theirs\" is unknown; known are conflist, forward, isolate, spares, ip, ",
            ),
            (
                "com.docker.network.driver.mut=1400",
                "did you mean \"com.docker.network.driver.mtu\"?",
            ),
            ("parent=eth0", "\"master\" of macvlan, ipvlan or vlan"),
            ("com.docker.network.bridge.name=br7", "\"bridge\" of plugin bridge"),
            (
                "cni.capability.nosuch={}",
                "no plugin of conflist \"shaped\" declares that capability",
            ),
        ] {
            let error = host.docker_refuses(&[&create[..], &["-o", option, "web"]].concat());
            assert!(error.contains(words), "{option}: no {words:?} in {error}");
            assert_eq!(host.docker(&["network", "ls", "-q", "--filter", "name=web"]), "");
        }
        // Labels are anybody's.
        host.docker(&[&create[..], &["--label", "theirs=x", "web"]].concat());
        let error = host.run_refuses("alice", "name=web,driver-opt=cni.arg=x", &[]);
        for key in ["cni.args.KEY=VALUE", "cni.capability.NAME=JSON", "conflist", "ip"] {
            assert!(error.contains(key), "no {key} in {error}");
        }
        host.run("bob", "bridge", &[]);
        for (option, words) in [
            (
                "com.docker.network.driver.mut=1400",
                "did you mean \"com.docker.network.driver.mtu\"?",
            ),
            ("conflist=x", "is a network's, not a container's"),
            ("cni.capability.Bandwidth={}", "did you mean \"bandwidth\"?"),
            ("com.docker.network.bridge.name=br7", "it is a network's"),
        ] {
            let connect = ["network", "connect", "--driver-opt", option, "web", "bob"];
            let error = host.docker_refuses(&connect);
            assert!(error.contains(words), "{option}: no {words:?} in {error}");
        }
        host.remove(&["bob"], &["web"]);
    });
}

fn what_docker_itself_sets_for_an_endpoint_is_no_option_of_the_users(suite: Suite) {
    on_a_host(suite, &[SHAPED], |host| {
        host.create_network("web", Some("shaped"));
        let flags = ["--expose", "80", "--dns", "9.9.9.9", "--mac-address", "02:10:20:30:40:50"];
        let aliases =
            ["--network-alias", "al", "--sysctl", "net.ipv4.ip_unprivileged_port_start=0"];
        host.run("alice", "web", &[&flags[..], &aliases].concat());
        host.remove(&["alice"], &["web"]);
    });
}

fn mtu_of(host: &Host, container: &str, interface: &str) -> String {
    host.docker(&["exec", container, "cat", &format!("/sys/class/net/{interface}/mtu")])
}
