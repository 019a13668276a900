//! `--mac-address`, by the `mac` capability of a plugin or without.

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

on_both_dockers! {
    a_containers_mac_is_the_one_that_the_user_gave,
}

and_on_docker_26_1! {
    a_containers_mac_is_the_one_that_the_user_gave,
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
