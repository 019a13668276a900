//! `--mac-address`, with or without the `mac` capability of a plugin.

use super::host::Suite;
use super::{BRIDGE, ConfFile, and_on_docker_26_1, on_a_host, on_both_dockers};

const WITH_TUNING: ConfFile<'_> = (
    "20-tuned.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "tuned",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "tuned0",
                "isDefaultGateway": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.95.0.0/24"}]]}
            },
            {"type": "tuning", "capabilities": {"mac": true}}
        ]
    }"#,
);

/// Frames are dropped if their MAC is not the one with which the plugin made the interface.
const CHECKED: ConfFile<'_> = (
    "30-checked.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "checked",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "checked0",
                "isDefaultGateway": true,
                "macspoofchk": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.96.0.0/24"}]]}
            }
        ]
    }"#,
);

/// Its plugin takes no MAC.
const FIXED: ConfFile<'_> = (
    "40-fixed.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "fixed",
        "plugins": [
            {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.97.0.0/24"}]]}}
        ]
    }"#,
);

on_both_dockers! {
    a_containers_mac_is_the_one_that_the_user_gave,
    a_mac_is_passed_to_a_plugin_that_checks_it,
    a_mac_that_no_plugin_takes_is_refused_with_the_remedy,
}

and_on_docker_26_1! {
    a_containers_mac_is_the_one_that_the_user_gave,
    a_mac_is_passed_to_a_plugin_that_checks_it,
}

fn a_mac_is_passed_to_a_plugin_that_checks_it(suite: Suite) {
    on_a_host(suite, &[CHECKED], |host| {
        const MAC: &str = "02:99:00:00:00:01";
        host.create_network("web", None);
        host.run("alice", "web", &["--mac-address", MAC]);
        let link = host.docker(&["exec", "alice", "cat", "/sys/class/net/eth0/address"]);
        assert_eq!(link, MAC);
        host.ping("alice", "10.96.0.1").unwrap();
        // Frames from another container with its MAC are dropped.
        let key = host.docker(&["inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "alice"]);
        let other = ["ip", "link", "set", "eth0", "address", "02:99:00:00:00:02"];
        host.exec(&[&["nsenter", &format!("--net={key}")], &other[..]].concat());
        host.ping("alice", "10.96.0.1").unwrap_err();
        let back = ["ip", "link", "set", "eth0", "address", MAC];
        host.exec(&[&["nsenter", &format!("--net={key}")], &back[..]].concat());
        host.remove(&["alice"], &["web"]);
    });
}

fn a_mac_that_no_plugin_takes_is_refused_with_the_remedy(suite: Suite) {
    on_a_host(suite, &[FIXED], |host| {
        const MAC: &str = "02:99:00:00:00:01";
        host.create_network("web", None);
        let error = host.run_refuses("alice", "web", &["--mac-address", MAC]);
        for part in ["fixed", MAC, "tuning"] {
            assert!(error.contains(part), "no {part}: {error}");
        }
        host.run("alice", "web", &[]);
        host.remove(&["alice"], &["web"]);
        // The remedy.
        let tuned =
            FIXED.1.replace("}}\n        ]", "}},\n            {\"type\": \"tuning\"}\n        ]");
        assert!(tuned.contains("tuning"));
        host.write("/etc/cni/net.d/40-fixed.conflist", &tuned);
        host.create_network("web", None);
        host.run("alice", "web", &["--mac-address", MAC]);
        let link = host.docker(&["exec", "alice", "cat", "/sys/class/net/eth0/address"]);
        assert_eq!(link, MAC);
        host.remove(&["alice"], &["web"]);
        host.write("/etc/cni/net.d/40-fixed.conflist", FIXED.1);
    });
}

fn a_containers_mac_is_the_one_that_the_user_gave(suite: Suite) {
    on_a_host(suite, &[BRIDGE, WITH_TUNING], |host| {
        const MAC: &str = "02:42:ac:00:00:99";
        for conflist in ["cni-bridge", "tuned"] {
            host.create_network("web", Some(conflist));
            host.run("alice", "web", &["--mac-address", MAC]);
            let link = host.docker(&["exec", "alice", "cat", "/sys/class/net/eth0/address"]);
            assert_eq!(link, MAC, "{conflist}");
            assert_eq!(host.endpoint("alice", "web")["MacAddress"], MAC, "{conflist}");
            host.run("bob", "web", &[]);
            host.ping("bob", "alice").unwrap();
            let neighbours = host.docker(&["exec", "bob", "ip", "neigh"]);
            assert!(neighbours.contains(MAC), "{conflist}: {neighbours}");
            host.remove(&["alice", "bob"], &["web"]);
        }
    });
}
