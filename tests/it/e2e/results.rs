//! Results that look odd: what no container can have is an error that tells why, and the rest works.

use serde_json::{Value, json};

use super::host::{Host, Suite, within};
use super::leaks::LIMIT;
use super::{ConfFile, on_a_host, on_both_dockers};

/// A plugin that makes an interface with the addresses that a file has, as far as the kernel takes them, and
/// tells what the file says.
const PLUGIN: &str = r#"#!/bin/sh
set -e
cat >/dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD)
    echo ADD >>/run/odd.calls
    ip link add odd0 type veth peer name "$CNI_IFNAME" netns "$CNI_NETNS"
    ip link set odd0 up
    for address in $(grep -o '"address": *"[^"]*"' /etc/cni/result.json | cut -d '"' -f 4); do
        nsenter --net="$CNI_NETNS" ip address add "$address" dev "$CNI_IFNAME" 2>/dev/null || true
    done
    nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" up
    cat /etc/cni/result.json
    ;;
DEL)
    echo DEL >>/run/odd.calls
    nsenter --net="$CNI_NETNS" ip link delete "$CNI_IFNAME" 2>/dev/null || true
    ;;
esac
"#;

const CONFLIST: ConfFile<'_> =
    ("10-odd.conflist", r#"{"cniVersion": "1.0.0", "name": "odd", "plugins": [{"type": "odd"}]}"#);

on_both_dockers! {
    what_no_container_can_have_is_refused_with_the_reason_and_the_rest_works,
}

fn what_no_container_can_have_is_refused_with_the_reason_and_the_rest_works(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.write_program("/opt/cni/bin/odd", PLUGIN);
        host.write("/etc/cni/result.json", "{}");
        // A scene is played twice.
        host.write("/run/odd.calls", "");
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        // Nothing is made ahead of time, which would be told in the log alone.
        host.docker(&[&create[..], &["-o", "spares=0", "web"]].concat());
        let gives = |host: &Host, ips: Value, routes: Value| {
            let result = json!({"cniVersion": "1.0.0", "ips": ips, "routes": routes});
            host.write("/etc/cni/result.json", &result.to_string());
        };
        let usual = json!([{"address": "10.9.0.5/24", "gateway": "10.9.0.1"}]);
        for (ips, routes, what) in [
            (
                json!([{"address": "::ffff:10.1.2.3/120"}]),
                json!([]),
                "the address ::ffff:10.1.2.3/120, which is an IPv4 address written as IPv6",
            ),
            (
                json!([{"address": "10.9.0.5/24", "gateway": "10.9.0.5"}]),
                json!([{"dst": "0.0.0.0/0"}]),
                "the gateway 10.9.0.5 for 0.0.0.0/0, which is the container's own address",
            ),
            (
                usual.clone(),
                json!([{"dst": "10.7.0.0/16", "gw": "fd00::1"}]),
                "the gateway fd00::1 for 10.7.0.0/16, which is of the other family",
            ),
        ] {
            gives(host, ips, routes);
            let error = host.run_refuses("alice", "web", &[]);
            let told = format!("plugin \"odd\" of conflist \"odd\" gives {what}");
            assert!(error.contains(&told), "{error}");
        }
        // Each ADD is followed by DEL.
        let calls = || host.exec(&["cat", "/run/odd.calls"]);
        let ended = || calls().split_whitespace().eq(["ADD", "DEL"].repeat(3));
        assert!(within(LIMIT, ended), "{}", calls());

        // On the link, with bits of a host, and of a family that the container does not have.
        let routes = json!([
            {"dst": "0.0.0.0/0", "gw": "10.8.0.1"},
            {"dst": "10.6.0.0/16", "gw": "0.0.0.0"},
            {"dst": "10.7.0.9/16", "gw": "10.9.0.2"},
            {"dst": "fd01::/64"},
        ]);
        let twice = json!([usual[0], {"address": "10.9.0.5/24", "gateway": "10.9.0.1"}]);
        gives(host, twice, routes);
        host.run("alice", "web", &[]);
        let routes = || host.docker(&["exec", "alice", "ip", "route"]);
        let has = |told: &str| {
            [
                "default via 10.8.0.1 dev eth0",
                "10.6.0.0/16 dev eth0 scope link",
                "10.7.0.0/16 via 10.9.0.2 dev eth0",
                "10.8.0.1 dev eth0 scope link",
            ]
            .iter()
            .all(|route| told.contains(route))
        };
        assert!(within(LIMIT, || has(&routes())), "{}", routes());
        host.exec(&["cnm-cni", "check", "alice"]);
        host.remove(&["alice"], &["web"]);
    });
}
