//! `cnm-cni check`: damage in a container is reported and repaired.

use std::time::Duration;

use super::host::{Host, Suite, answers, within};
use super::{
    BRIDGE, ConfFile, host_with, leaves_nothing, on_a_host, on_a_host_without_spares,
    on_both_dockers,
};

on_both_dockers! {
    damage_is_reported_and_repaired,
    a_broken_host_is_reported_with_what_repairs_it,
    a_driver_that_is_killed_in_a_check_leaves_a_container_that_can_be_removed,
}

/// Of everything that CHECK looks at.
const CONFLIST: ConfFile<'_> = (
    "10-check.conflist",
    r#"{"cniVersion": "1.0.0", "name": "check", "plugins": [
        {"type": "bridge", "bridge": "cnicheck", "isGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.32.0.0/24"}]],
                  "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.96.0.0/12"}]}},
        {"type": "tuning", "mtu": 1400, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "bandwidth", "ingressRate": 80000000, "ingressBurst": 80000000},
        {"type": "firewall"}]}"#,
);

const OTHER: ConfFile<'_> = (
    "20-other.conflist",
    r#"{"cniVersion": "1.0.0", "name": "other", "plugins": [
        {"type": "bridge", "bridge": "cniother", "isGateway": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.33.0.0/24"}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]}"#,
);

fn damage_is_reported_and_repaired(suite: Suite) {
    on_a_host_without_spares(suite, &[CONFLIST, OTHER], |host| {
        host.create_network("web", None);
        host.create_network("other", Some("other"));
        host.run("alice", "web", &["-p", "8080:80"]);
        let sound = host.exec(&["cnm-cni", "check", "alice"]);
        assert!(sound.contains("ok       as ADD left it"), "{sound}");
        // In version 1.1.1 portmap's CHECK fails for every published port, in a pod too.
        let mistake = sound.contains("note: the CHECK of portmap");
        assert_eq!(mistake, suite == Suite::Bookworm, "{sound}");
        let log = host.driver_log();
        assert!(!log.contains("WARN"), "a complaint that does not count is no warning: {log}");
        let key = host.docker(&["inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "alice"]);
        let endpoint = host.endpoint("alice", "web")["EndpointID"].as_str().unwrap().to_owned();
        let network = format!("--net={key}");
        let inside = |command: &str| host.exec(&["nsenter", &network, "sh", "-ec", command]);

        inside("ip address flush dev eth0 scope global; ip link set eth0 mtu 1300");
        inside("echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_filter");
        host.exec(&[
            "sh",
            "-ec",
            "iptables -S FORWARD | sed -n 's/^-A/iptables -D/p' |
            grep '\"cnm-cni ' | sh",
        ]);
        for name in ["alice", &endpoint[..8], &key] {
            let told = host.try_exec(&["cnm-cni", "check", name]).unwrap_err();
            for difference in [
                "FAILED   DIFFERS",
                "MTU is 1300, not 1400",
                "address 10.32.0.",
                "route 10.96.0.0/12 via 10.32.0.1 is missing",
                "route default via 10.32.0.1 is missing",
                "sysctl net/ipv4/conf/eth0/arp_filter is 0, not 1",
                "of the host's iptables is missing",
            ] {
                assert!(told.contains(difference), "{difference} of {name}:\n{told}");
            }
        }
        let page = || host.get(&format!("http://{}/", address(host)));
        assert!(page().is_err());
        let repaired = host.exec(&["cnm-cni", "check", "alice", "--repair"]);
        assert!(repaired.contains("ok       repaired"), "{repaired}");
        answers("alice", page);
        let all = host.exec(&["cnm-cni", "check", "--format", "json"]);
        assert!(all.contains(&endpoint) && all.contains("\"is\": \"ok\""), "{all}");

        // On a second network, which does not have the default route.
        host.docker(&["network", "connect", "other", "alice"]);
        let both = host.exec(&["cnm-cni", "check", "alice"]);
        assert_eq!(both.matches("ok       as ADD left it").count(), 2, "{both}");

        // What only ADD could make again.
        host.exec(&["iptables", "-t", "nat", "-F", "CNI-HOSTPORT-DNAT"]);
        let told = host.try_exec(&["cnm-cni", "check", "alice", "--repair"]).unwrap_err();
        assert!(told.contains("portmap") && !told.contains("note:"), "{told}");
        let unknown = host.try_exec(&["cnm-cni", "check", "bob"]).unwrap_err();
        assert!(unknown.contains("is called \"bob\""), "{unknown}");
        host.remove(&["alice"], &["web", "other"]);
        assert!(host.exec(&["cnm-cni", "check"]).starts_with("No container"));
    });
}

fn a_driver_that_is_killed_in_a_check_leaves_a_container_that_can_be_removed(suite: Suite) {
    on_a_host_without_spares(suite, &[CONFLIST], |host| {
        let (plugin, real) = ("/usr/lib/cni/firewall", "/usr/lib/cni/firewall-itself");
        host.exec(&["mv", plugin, real]);
        host.write_program(
            plugin,
            &format!("#!/bin/sh\n[ $CNI_COMMAND != CHECK ] || sleep 20\nexec {real}\n"),
        );
        host.create_network("web", None);
        host.run("alice", "web", &[]);
        let before = names_and_pins(host);
        host.exec(&["sh", "-c", "cnm-cni check >/dev/null 2>&1 &"]);
        let begun = || names_and_pins(host) != before;
        assert!(within(Duration::from_secs(5), begun), "no check began");
        host.stop_driver("KILL");
        host.start_driver_without_spares();
        assert_eq!(names_and_pins(host), before);
        host.remove(&["alice"], &["web"]);
        host.exec(&["mv", real, plugin]);
    });
}

fn address(host: &Host) -> String {
    host.endpoint("alice", "web")["IPAddress"].as_str().unwrap().to_owned()
}

/// The names of the container's interface, and the namespaces that are pinned.
fn names_and_pins(host: &Host) -> String {
    let key = host.docker(&["inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "alice"]);
    let links = host.exec(&["nsenter", &format!("--net={key}"), "ip", "link", "show", "eth0"]);
    links + &host.exec(&["awk", "/ - nsfs / {print $4, $5}", "/proc/self/mountinfo"])
}

/// Without a bridge: each container has a host's end of its own, with the gateway's address.
const PTP: ConfFile<'_> = (
    "30-ptp.conflist",
    r#"{"cniVersion": "1.0.0", "name": "ptp", "plugins": [
        {"type": "ptp", "ipMasq": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.34.0.0/24"}], [{"subnet": "fd00:34::/64"}]],
                  "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}]}"#,
);

fn a_broken_host_is_reported_with_what_repairs_it(suite: Suite) {
    on_a_host(suite, &[BRIDGE, OTHER, PTP], |host| {
        for (network, conflist) in [("web", "cni-bridge"), ("other", "other"), ("ptp", "ptp")] {
            host.create_network(network, Some(conflist));
        }
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "other", &[]);
        host.run("carol", "ptp", &[]);
        let well = || host.exec(&["cnm-cni", "check"]);
        well();
        let bridge = bridge_of(host);
        let ptp = |family: &str, address: &str| {
            let route = host.exec(&["ip", family, "route", "get", address]);
            route.split_once("dev ").unwrap().1.split(' ').next().unwrap().to_owned()
        };
        let carol = host.endpoint("carol", "ptp")["IPAddress"].as_str().unwrap().to_owned();
        let end = ptp("-4", &carol);
        for (damage, container, told_of) in [
            (
                format!("ip link set {bridge} down"),
                "alice",
                format!("interface {bridge} of the host is down"),
            ),
            (
                format!("ip addr flush dev {bridge} scope global"),
                "alice",
                "address fd00:c9::1/64 of".into(),
            ),
            (format!("ip -4 addr flush dev {bridge}"), "alice", "address 10.201.0.1/24 of".into()),
            ("ip addr flush dev cniother".into(), "bob", "address 10.33.0.1/24 of".into()),
            (
                format!("ip link set {end} down"),
                "carol",
                format!("interface {end} of the host is down"),
            ),
            (format!("ip route del {carol}/32"), "carol", format!("route to {carol}/32")),
            (
                "sysctl -q -w net.ipv4.ip_forward=0".into(),
                "alice",
                "ip_forward of the host is 0".into(),
            ),
            ("sysctl -q -w net.ipv6.conf.all.forwarding=0".into(), "alice", "is 0, not 1".into()),
            ("iptables -A FORWARD -j REJECT".into(), "alice", String::new()),
        ] {
            run(host, &damage);
            if told_of.is_empty() {
                // A rule after the exemption does no harm; a rule before it does.
                well();
                host.exec(&[
                    "sh",
                    "-ec",
                    "iptables -D FORWARD -j REJECT; iptables -I FORWARD -j REJECT",
                ]);
            }
            let told = host.try_exec(&["cnm-cni", "check", container]).unwrap_err();
            let behind = told.contains("cannot count behind that rule");
            assert!(told.contains(&told_of) && behind == told_of.is_empty(), "{damage}:\n{told}");
            let remedies: Vec<&str> = remedies(&told);
            assert!(!remedies.is_empty(), "{told}");
            for remedy in remedies {
                run(host, remedy);
            }
            let repaired = || host.try_exec(&["cnm-cni", "check"]).is_ok();
            // The kernel makes its own routes again in its own time.
            assert!(
                within(Duration::from_secs(10), repaired),
                "{damage}: {:?}",
                host.try_exec(&["cnm-cni", "check"])
            );
        }
        answers("alice", || host.get("http://127.0.0.1:8080/"));

        for (iptables, families) in [("iptables", "10."), ("ip6tables", "fd00:")] {
            host.exec(&[
                "sh",
                "-ec",
                &format!("{iptables}-save -t nat >/run/nat; {iptables} -t nat -F"),
            ]);
            for (container, hidden) in [("alice", true), ("bob", false), ("carol", true)] {
                let told = host.try_exec(&["cnm-cni", "check", container]);
                assert_eq!(told.is_err(), hidden, "{iptables}: {container}: {told:?}");
                let words = format!("address {families}");
                let told_of = told.err().is_none_or(|told| {
                    told.contains(&words) && told.contains("is not masqueraded any more")
                });
                assert!(told_of, "{iptables}: {container}");
            }
            host.exec(&["sh", "-ec", &format!("{iptables}-restore /run/nat")]);
        }
        well();
        host.remove(&["alice", "bob", "carol"], &["web", "other", "ptp"]);
    });
}

/// Runs a line of shell in the host, whose Debian has no sysctl(8).
pub(super) fn run(host: &Host, line: &str) {
    let sysctl = "sysctl() { for it; do :; done; \
                  echo ${it#*=} >/proc/sys/$(echo ${it%%=*} | tr . /); }";
    host.exec(&["sh", "-ec", &format!("{sysctl}; {line}")]);
}

/// The commands that repair what is reported.
fn remedies(told: &str) -> Vec<&str> {
    told.split("run '").skip(1).filter_map(|rest| rest.split('\'').next()).collect()
}

/// The bridge of the conflist to copy.
fn bridge_of(host: &Host) -> String {
    let conflist: serde_json::Value = serde_json::from_str(BRIDGE.1).unwrap();
    let bridge = conflist["plugins"][0]["bridge"].as_str().unwrap().to_owned();
    host.exec(&["ip", "link", "show", &bridge]);
    bridge
}

/// All rules by `nft`, which plugins 1.9 can.
const NFTABLES: ConfFile<'_> = (
    "10-nft.conflist",
    r#"{"cniVersion": "1.0.0", "name": "nft", "plugins": [
        {"type": "bridge", "bridge": "cninft", "isDefaultGateway": true, "ipMasq": true,
         "ipMasqBackend": "nftables",
         "ipam": {"type": "host-local",
                  "ranges": [[{"subnet": "10.35.0.0/24"}], [{"subnet": "fd00:35::/64"}]]}},
        {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}]}"#,
);

#[test]
fn docker_28_5_a_host_with_nft_and_no_iptables_is_as_add_left_it() {
    let host = host_with(Suite::Forky, &[NFTABLES]);
    // The making of the next spare would come between.
    host.start_driver_for_one_attachment();
    leaves_nothing(&host, |host| {
        host.create_network_with("web", &["spares=1".to_owned()]).unwrap();
        let spare = host.spares(1);
        host.exec(&[
            "sh",
            "-ec",
            "mkdir -p /run/away; mv /usr/sbin/ip*tables* /usr/sbin/xtables* /run/away",
        ]);
        // Its ports are published when it joins.
        host.run("alice", "web", &["-p", "8080:80"]);
        let attached = host.attachments(&[]);
        assert_eq!(attached[0]["attachment"], spare[0]["attachment"], "{attached:?}");
        let sound = host.exec(&["cnm-cni", "check"]);
        assert!(sound.contains("ok       as ADD left it"), "{sound}");
        answers("alice", || host.get("http://127.0.0.1:8080/"));

        let masquerade = "inet cni_plugins_masquerade";
        host.exec(&[
            "sh",
            "-ec",
            &format!(
                "nft list table {masquerade} >/run/nft; nft flush chain {masquerade} masq_checks"
            ),
        ]);
        let told = host.try_exec(&["cnm-cni", "check"]).unwrap_err();
        assert_eq!(told.matches("is not masqueraded any more").count(), 2, "{told}");
        host.exec(&["sh", "-ec", &format!("nft delete table {masquerade}; nft -f /run/nft")]);
        host.exec(&["cnm-cni", "check"]);

        host.exec(&["nft", "flush chain ip cni_hostport hostports"]);
        assert!(host.get_from_outside(8080).is_err());
        let told = host.try_exec(&["cnm-cni", "check"]).unwrap_err();
        assert!(told.contains("missing hostport rules"), "{told}");
        let told = host.exec(&["cnm-cni", "reload", "alice"]);
        assert!(told.contains("put back"), "{told}");
        answers("alice", || host.get_from_outside(8080));
        let sound = host.exec(&["cnm-cni", "check"]);
        assert!(sound.contains("ok       as ADD left it"), "{sound}");
        host.exec(&["cnm-cni", "doctor"]);
        let garbage = host.exec(&["cnm-cni", "gc", "--grace", "0"]);
        assert!(!garbage.contains("attachment "), "{garbage}");

        // A firewall of the host's own.
        host.exec(&[
            "sh",
            "-ec",
            "nft 'add table inet firewall; add chain inet firewall pass \
            { type filter hook forward priority 0; policy drop; }; \
            add rule inet firewall pass ct state established,related accept'",
        ]);
        let told = host.try_exec(&["cnm-cni", "check"]).unwrap_err();
        assert!(told.contains("chain inet firewall pass of the host's nftables"), "{told}");
        for remedy in remedies(&told) {
            host.exec(&["sh", "-ec", remedy]);
        }
        host.exec(&["cnm-cni", "check"]);
        host.exec(&["nft", "delete", "table", "inet", "firewall"]);
        // The rule in FORWARD, which the spare has had, goes with the last attachment.
        host.exec(&["sh", "-ec", "mv /run/away/* /usr/sbin"]);
        host.remove(&["alice"], &["web"]);
        assert!(within(Duration::from_secs(20), || host.attachments(&[]).is_empty()));
        let rules = host.exec(&["nft", "list", "ruleset"]);
        assert!(!rules.contains("8080"), "{rules}");
    });
}
