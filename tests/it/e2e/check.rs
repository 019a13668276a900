//! `cnm-cni check`: what somebody damaged in a container is told, and repaired.

use std::time::Duration;

use super::host::{Host, Suite, answers, within};
use super::{ConfFile, on_a_host, on_both_dockers};

on_both_dockers! {
    damage_is_told_and_repaired,
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

fn damage_is_told_and_repaired(suite: Suite) {
    // In version 1.1.1 portmap's CHECK fails for every published port, in a pod too.
    let ports: &[&str] = if suite == Suite::Forky { &["-p", "8080:80"] } else { &[] };
    on_a_host(suite, &[CONFLIST, OTHER], |host| {
        host.create_network("web", None);
        host.create_network("other", Some("other"));
        host.run("alice", "web", ports);
        let sound = host.exec(&["cnm-cni", "check", "alice"]);
        assert!(sound.contains("ok       as ADD left it"), "{sound}");
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
                "of the host is missing",
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
        assert!(all.contains(&endpoint) && all.contains("\"chain\": \"ok\""), "{all}");

        // On a second network, which does not have the default route.
        host.docker(&["network", "connect", "other", "alice"]);
        let both = host.exec(&["cnm-cni", "check", "alice"]);
        assert_eq!(both.matches("ok       as ADD left it").count(), 2, "{both}");

        // What only ADD could make again.
        if suite == Suite::Forky {
            host.exec(&["iptables", "-t", "nat", "-F", "CNI-HOSTPORT-DNAT"]);
            let told = host.try_exec(&["cnm-cni", "check", "alice", "--repair"]).unwrap_err();
            assert!(told.contains("portmap"), "{told}");
        }
        let unknown = host.try_exec(&["cnm-cni", "check", "bob"]).unwrap_err();
        assert!(unknown.contains("is called bob"), "{unknown}");
        host.remove(&["alice"], &["web", "other"]);
        assert!(host.exec(&["cnm-cni", "check"]).starts_with("No container"));
    });
}

fn a_driver_that_is_killed_in_a_check_leaves_a_container_that_can_be_removed(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
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
        host.start_driver();
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
