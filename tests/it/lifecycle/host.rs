//! What the host has for a container: if something is gone that ADD left there, it is reported with the
//! remedy, whatever the configuration says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cnm_cni::lifecycle::ChainCheck;
use serde_json::{Value, json};

use super::check::{attached, attached_with, check};
use super::{Bench, SANDBOX, scripted, until};
use crate::alone::{alone, sh};

/// A plugin that leaves on the host what a masquerading bridge leaves, and does not show it in its
/// configuration, like a plugin that delegates.
pub(super) fn bridged() -> Value {
    let masquerade = |iptables: &str, address: &str| {
        let comment = "-m comment --comment 'name: \"k8snet\" id: \"{id}\"'";
        format!(
            "{iptables} -t nat -N CNI-1; {iptables} -t nat -A CNI-1 {comment} -j MASQUERADE
             {iptables} -t nat -A POSTROUTING -s {address} {comment} -j CNI-1"
        )
    };
    let commands = [
        "ip link add cnibr type bridge; ip link set cnibr up
         ip addr add 10.22.0.1/16 dev cnibr; ip addr add fd00:22::1/64 dev cnibr nodad
         ip link set {host} master cnibr
         sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
         [ ! -e /proc/sys/net/bridge ] || sysctl -q -w net.bridge.bridge-nf-call-iptables=1",
        &masquerade("iptables", "10.22.3.7"),
        &masquerade("ip6tables", "fd00:22::7"),
    ];
    // A second gateway, of the other family.
    let mut result = json!({"ips": [{"address": "fd00:22::8/64", "gateway": "fd00:22::1"}]});
    result["interfaces"] = json!([{"name": "cnibr"}]);
    let more = json!({"host_commands": commands, "result": result,
                      "commands": ["ip addr add fd00:22::8/64 dev {ifname} nodad"]});
    scripted(more)
}

/// The report of a check, in one text; the rules for the container are known before.
async fn told(bench: &Bench) -> String {
    check(bench, false).await.differences.join("\n")
}

async fn seen(bench: &Bench) {
    let record = bench.records().remove(0);
    until(|| fs::read_to_string(&record).unwrap().contains("masqueraded")).await;
}

#[test]
fn what_add_left_on_the_host_is_reported_when_it_is_gone_with_how_to_repair_it() {
    alone(async {
        let bench = attached(json!([bridged()])).await;
        seen(&bench).await;
        assert_eq!(told(&bench).await, "");
        let host = sh("ls /sys/class/net/cnibr/brif").trim().to_owned();
        for (damage, told_of, repair) in [
            (
                "ip link set cnibr down",
                "interface cnibr of the host is down; run 'ip link set cnibr up'",
                // The kernel takes IPv6 addresses away with it.
                "ip link set cnibr up; ip addr add fd00:22::1/64 dev cnibr nodad",
            ),
            (
                "ip -4 addr flush dev cnibr",
                "run 'ip address add 10.22.0.1/16 dev cnibr'",
                "ip addr add 10.22.0.1/16 dev cnibr",
            ),
            (
                "ip -6 addr del fd00:22::1/64 dev cnibr",
                "run 'ip address add fd00:22::1/64 dev cnibr'",
                "ip addr add fd00:22::1/64 dev cnibr nodad",
            ),
            (
                "sysctl -q -w net.ipv4.ip_forward=0",
                "sysctl net/ipv4/ip_forward of the host is 0, not 1; \
                 run 'sysctl -w net.ipv4.ip_forward=1'",
                "sysctl -q -w net.ipv4.ip_forward=1",
            ),
            (
                "sysctl -q -w net.ipv4.conf.cnibr.forwarding=0",
                "run 'sysctl -w net.ipv4.conf.cnibr.forwarding=1'",
                "sysctl -q -w net.ipv4.conf.cnibr.forwarding=1",
            ),
            (
                "sysctl -q -w net.ipv6.conf.all.forwarding=0",
                "run 'sysctl -w net.ipv6.conf.all.forwarding=1'",
                "sysctl -q -w net.ipv6.conf.all.forwarding=1",
            ),
            (
                "[ ! -e /proc/sys/net/bridge ] || sysctl -q -w net.bridge.bridge-nf-call-iptables=0",
                match Path::new("/proc/sys/net/bridge").exists() {
                    true => "run 'sysctl -w net.bridge.bridge-nf-call-iptables=1'",
                    // Without br_netfilter nothing can be lost.
                    false => "",
                },
                "[ ! -e /proc/sys/net/bridge ] || sysctl -q -w net.bridge.bridge-nf-call-iptables=1",
            ),
            (
                &format!("ip link set {host} nomaster"),
                &format!("run 'ip link set {host} master cnibr'"),
                &format!("ip link set {host} master cnibr"),
            ),
            (
                &format!("ip link set {host} down"),
                &format!("run 'ip link set {host} up'"),
                &format!("ip link set {host} up"),
            ),
            (
                "iptables-save -t nat >/run/nat; iptables -t nat -F",
                "address 10.22.3.7 is not masqueraded any more",
                "iptables-restore /run/nat",
            ),
            (
                "ip6tables-save -t nat >/run/nat; ip6tables -t nat -F CNI-1",
                "address fd00:22::7 is not masqueraded any more",
                "ip6tables-restore /run/nat",
            ),
        ] {
            sh(damage);
            let differences = told(&bench).await;
            assert!(differences.contains(told_of), "{damage}: {told_of}:\n{differences}");
            let of_host = bench.driver.check_host(&[]).await.remove(0).differences.join("\n");
            assert!(of_host.contains(told_of), "{damage}: {told_of}:\n{of_host}");
            // Others use the host too.
            check(&bench, true).await;
            assert!(told(&bench).await.contains(told_of), "{damage}");
            sh(repair);
            until_well(&bench, damage).await;
        }
    });
}

#[test]
fn the_hosts_side_is_checked_without_the_container_and_its_plugins() {
    alone(async {
        let bench = attached(json!([bridged()])).await;
        seen(&bench).await;
        sh(&format!("nsenter --net={SANDBOX} ip link set eth0 down"));
        assert!(!check(&bench, false).await.is_well());
        let of_host = bench.driver.check_host(&[]).await.remove(0);
        assert!(of_host.is_well(), "{of_host:?}");
        assert!(matches!(of_host.chain, ChainCheck::NotAsked(_)), "{of_host:?}");
        sh(&format!("umount {SANDBOX}"));
        let of_host = bench.driver.check_host(&[]).await.remove(0);
        // The kernel may have taken its interface away by now, too.
        assert_eq!(of_host.differences[0], "the container's namespace is gone", "{of_host:?}");
    });
}

/// A link's addresses and routes come back some time after it does.
async fn until_well(bench: &Bench, damage: &str) {
    let mut last = String::new();
    for _ in 0..100 {
        last = told(bench).await;
        if last.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after {damage}: {last}");
}

#[test]
fn a_route_of_the_hosts_to_the_container_is_missed() {
    alone(async {
        // As ptp, and pod networks without a bridge.
        let commands = ["ip route add 10.22.3.7/32 dev {host}; sysctl -q -w net.ipv4.ip_forward=1"];
        let bench = attached(json!([scripted(json!({"host_commands": commands}))])).await;
        assert_eq!(told(&bench).await, "");
        let host = sh("ip route show 10.22.3.7").split(' ').nth(2).unwrap().to_owned();
        sh("ip route del 10.22.3.7/32; sysctl -q -w net.ipv4.ip_forward=0");
        let differences = told(&bench).await;
        let remedy = format!("run 'ip route add 10.22.3.7/32 dev {host}'");
        assert!(differences.contains(&remedy), "{differences}");
        assert!(differences.contains("net.ipv4.ip_forward=1"), "{differences}");
    });
}

#[test]
fn a_host_that_never_forwarded_is_not_asked_to() {
    alone(async {
        let bench = attached(json!([scripted(json!({}))])).await;
        sh("sysctl -q -w net.ipv4.ip_forward=0");
        assert_eq!(told(&bench).await, "");
    });
}

#[test]
fn an_exemption_behind_a_rule_that_drops_all_is_reported_not_to_count() {
    alone(async {
        sh("iptables -A FORWARD -j REJECT; ip6tables -N last; ip6tables -A last -j DROP");
        sh("ip6tables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
        sh("ip6tables -A FORWARD -g last");
        let bench = attached(json!([scripted(json!({}))])).await;
        let differences = told(&bench).await;
        for told_of in [
            "cannot count behind that rule",
            "run 'iptables -D FORWARD -j REJECT --reject-with icmp-port-unreachable && \
             iptables -P FORWARD DROP'",
            "run 'ip6tables -D last -j DROP && ip6tables -P FORWARD DROP'",
        ] {
            assert!(differences.contains(told_of), "{told_of}:\n{differences}");
        }
        // Each is reported once, although both directions are dropped.
        assert_eq!(differences.lines().count(), 2, "{differences}");

        sh("iptables -D FORWARD -j REJECT; iptables -P FORWARD DROP; ip6tables -F last");
        assert_eq!(told(&bench).await, "");
        // Somebody's policy, which comes first on purpose; and a rule that comes after.
        sh(
            "iptables -I FORWARD -s 10.22.3.7 -d 192.0.2.0/24 -j DROP; iptables -A FORWARD -j REJECT",
        );
        assert_eq!(told(&bench).await, "");
    });
}

#[test]
fn without_iptables_no_rule_of_it_is_missing() {
    alone(async {
        let bench = attached(json!([scripted(json!({}))])).await;
        sh("iptables -F FORWARD; ip6tables -F FORWARD");
        let differences = told(&bench).await;
        assert_eq!(differences.matches("tables is missing").count(), 2, "{differences}");
        // One family's program, then both.
        hide("ip6tables");
        assert_eq!(told(&bench).await.matches("tables is missing").count(), 1);
        hide("iptables");
        let repaired = check(&bench, true).await;
        assert!(repaired.is_well() && repaired.repaired.is_empty(), "{repaired:#?}");
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        assert!(bench.records().is_empty());
    });
}

#[test]
fn a_program_that_fails_is_named_and_one_family_does_not_stop_the_other() {
    alone(async {
        let only_ipv4 = json!({"addresses": ["10.22.3.7/16"]});
        let bench = attached(json!([scripted(only_ipv4)])).await;
        // As on a kernel without IPv6.
        replace("ip6tables", "#!/bin/sh\necho 'no such table' >&2\nexit 3\n");
        assert_eq!(told(&bench).await, "");
        replace("iptables", "#!/bin/sh\necho 'no such table' >&2\nexit 3\n");
        let differences = told(&bench).await;
        assert_eq!(differences, "cannot list the host's rules: iptables: no such table");
        sh(&format!("umount {PROGRAMS}"));
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn before_a_del_no_address_is_left_out_because_rules_cannot_be_seen() {
    alone(async {
        let mut plugin = scripted(json!({}));
        plugin["ipMasq"] = json!(true);
        let bench = attached(json!([plugin])).await;
        // The interface is lost with its namespace, and it is unknown which of its rules are left.
        sh(&format!("umount {SANDBOX} && rm {SANDBOX}"));
        ["iptables", "ip6tables"].into_iter().for_each(hide);
        bench.delete_endpoint("e1").await;
        let del = bench.calls().pop().unwrap();
        assert_eq!(del["command"], "DEL");
        assert_eq!(del["live"], json!(["10.22.3.7/16", "fd00:22::7/64"]), "{del}");
    });
}

#[test]
fn the_known_bug_of_a_plugin_is_reported_and_not_counted() {
    alone(async {
        // What version 1.1.1 says of a container without IPv6 whose rules are in place.
        let complaint = |family: &str| {
            let text = format!(
                "could not check {family} dnat: chain CNI-DN-1 not found in iptables table nat"
            );
            json!({"stdout": {"code": 999, "msg": text}, "exit": 1})
        };
        let portmap = |family: &str| {
            json!({"type": "portmap", "capabilities": {"portMappings": true},
                   "fake": {"log": "LOG", "CHECK": complaint(family)}})
        };
        let last = json!({"type": "fake-plugin", "fake": {"log": "LOG"}});
        let rules = "iptables -t nat -N DNAT-ALL; iptables -t nat -N CNI-DN-1
            iptables -t nat -A PREROUTING -j DNAT-ALL; iptables -t nat -A OUTPUT -j DNAT-ALL
            iptables -t nat -A DNAT-ALL -m comment --comment 'dnat name: \"k8snet\" id: \"{id}\"' -j CNI-DN-1
            iptables -t nat -A CNI-DN-1 -p tcp --dport 8080 -j DNAT --to-destination 10.22.3.7:80";
        let first = json!({"addresses": ["10.22.3.7/16"], "host_commands": [rules]});
        let chain = |family| json!([scripted(first.clone()), portmap(family), last]);
        let portmap_is = |bench: &Bench| {
            let bin = bench.config.cni_path[1].display().to_string();
            let _ = std::os::unix::fs::symlink(
                bench.config.cni_path[0].join("fake-plugin"),
                format!("{bin}/portmap"),
            );
        };
        let port = json!({"Proto": 6, "Port": 80, "HostPort": 8080, "HostPortEnd": 8080});
        let ports = json!({"com.docker.network.portmap": [port]});
        let bench = attached_with(chain("ipv6"), ports, portmap_is).await;
        let checked = check(&bench, false).await;
        assert!(checked.is_well() && checked.chain == ChainCheck::Ok, "{checked:#?}");
        assert!(checked.notes[0].contains("mistake of the plugin's own"), "{checked:#?}");
        // The plugins after it are asked nevertheless.
        let asked = bench.calls().into_iter().filter(|call| call["command"] == "CHECK");
        let types: Vec<_> = asked.map(|call| call["type"].clone()).collect();
        assert_eq!(types, ["fake-plugin", "portmap", "fake-plugin", "fake-plugin"]);

        // The rules are gone: now it is right.
        sh("iptables -t nat -F");
        let checked = check(&bench, false).await;
        assert!(matches!(&checked.chain, ChainCheck::Failed(_)) && checked.notes.is_empty());
        bench.delete_endpoint("e1").await;
    });
}

/// The folder with this test's own view of the host's programs: links, which can be removed.
const PROGRAMS: &str = "/usr/sbin";

fn view_programs() {
    sh(&format!(
        "[ ! -d /run/real ] || exit 0
         mkdir /run/real /run/view; mount --bind {PROGRAMS} /run/real
         ln -s /run/real/* /run/view; mount --bind /run/view {PROGRAMS}"
    ));
}

/// Removes a program from the host.
pub(super) fn hide(program: &str) {
    view_programs();
    sh(&format!("rm -f {PROGRAMS}/{program} {PROGRAMS}/{program}-restore"));
}

/// Replaces a program by a script; the program is in `/run/real` then.
pub(super) fn replace(program: &str, script: &str) {
    view_programs();
    let path = format!("{PROGRAMS}/{program}");
    fs::remove_file(&path).unwrap();
    fs::write(&path, script).unwrap();
    sh(&format!("chmod 755 {path}"));
}
