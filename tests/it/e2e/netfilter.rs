//! What a chain makes inside of the container's namespace beside the interface: rules of netfilter, which hold in
//! the container, a further link, and a route over several gateways.

use std::time::Duration;

use super::host::{Host, Suite, answers, within};
use super::{leaves_nothing, on_both_dockers};

on_both_dockers! {
    rules_of_a_chain_hold_in_the_container_until_it_leaves,
}

/// A chained plugin that guards each container.
pub(super) const GUARD: &str = include_str!("guard-plugin");

/// A bridge whose containers are guarded from the host.
fn guarded(name: &str, subnet: &str) -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [
            {{"type": "bridge", "bridge": "{name}0", "isDefaultGateway": true, "ipMasq": true,
              "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{subnet}.0/24"}}]]}}}},
            {{"type": "guard", "blocked": "{subnet}.1", "link": "{name}-side"}}]}}"#
    )
}

fn rules_of_a_chain_hold_in_the_container_until_it_leaves(suite: Suite) {
    let host = Host::up(suite);
    host.write_program("/opt/cni/bin/guard", GUARD);
    for (name, subnet) in [("web", "10.99.0"), ("more", "10.98.0")] {
        host.write(&format!("/etc/cni/net.d/10-{name}.conflist"), &guarded(name, subnet));
    }
    host.start_driver_without_spares();
    leaves_nothing(&host, scene);
}

fn scene(host: &Host) {
    host.create_network("web", Some("web"));
    host.run("alice", "web", &[]);
    host.run("bob", "web", &[]);
    are_in_force(host);
    host.docker(&["restart", "--time", "0", "alice"]);
    are_in_force(host);
    are_checked_and_repaired(host);
    of_one_network_stay_when_another_leaves(host);
    without_nft_no_container_starts(host);

    // DEL finds all of it, even if its namespace has to be made anew.
    let orphans = || host.exec(&["cnm-cni", "orphans", "--format", "json"]);
    assert!(within(Duration::from_secs(10), || orphans().trim() == "[]"), "{}", orphans());
    host.exec(&["rm", "-f", "/run/guard.del"]);
    let staging = "for pin in /run/cnm-cni/netns/*; do umount $pin && rm $pin; done";
    host.exec(&["sh", "-ec", staging]);
    host.docker(&["rm", "-f", "alice"]);
    let found = || host.try_exec(&["cat", "/run/guard.del"]).unwrap_or_default();
    let all = || {
        let found = found();
        let says = [
            "iifname \"cni",
            "-A OUTPUT -o cni",
            "-d 224.0.0.0/4",
            "172.99.0.2/30",
            "172.99.1.1/24",
        ];
        says.iter().all(|it| found.contains(it))
    };
    assert!(within(Duration::from_secs(10), all), "DEL found {}", found());
    host.remove(&["bob"], &["web"]);
}

/// A packet that is to be dropped is dropped, and another one is not.
fn are_in_force(host: &Host) {
    // Before Docker 28 the rules may come after the process.
    let listed =
        || inside(host, "alice", "nft list ruleset; iptables-nft-save; iptables-legacy-save");
    let all = || {
        let listed = listed();
        let rules =
            ["iifname \"eth0\" jump web", "-A OUTPUT -o eth0 -j GUARD", "-d 224.0.0.0/4 -o eth0"];
        rules.iter().all(|rule| listed.contains(rule))
    };
    assert!(within(Duration::from_secs(10), all), "{}", listed());
    let listed = listed();
    assert!(!listed.contains("\"cni") && !listed.contains("-o cni"), "{listed}");
    // Beside Docker's own: names are resolved, and what is reached is the container's own server.
    answers("alice", || host.get_in("bob", "http://alice/"));
    answers("alice", || host.get_in("alice", "http://192.0.2.80/"));
    let address = host.endpoint("alice", "web")["IPAddress"].as_str().unwrap().to_owned();
    host.get(&format!("http://{address}/")).expect_err("nft drops it, by address and name");
    host.ping("alice", "10.99.0.1").expect_err("iptables drops it");
    host.ping("alice", "bob").unwrap();
    let dropped = inside(host, "alice", "nft list counter inet guard kept-out");
    assert!(!dropped.contains("packets 0 "), "{dropped}");
    let network = inside(host, "alice", "ip address show; ip route");
    let wanted = [
        "172.99.0.2/30",
        "198.18.99.0/24 via 172.99.0.1 dev web-side",
        "10.99.0.8 dev eth0 weight 2",
        "172.99.1.1/24",
        "master web-side-br",
    ];
    assert!(wanted.iter().all(|it| network.contains(it)), "{network}");
    let policy = inside(host, "alice", "ip6tables-legacy -S FORWARD");
    assert!(policy.starts_with("-P FORWARD DROP"), "{policy}");
    assert_eq!(inside(host, "alice", "iptables-nft -S | grep -c GUARD").trim(), "3");
}

fn are_checked_and_repaired(host: &Host) {
    host.exec(&["cnm-cni", "check", "alice"]);
    for lose in [
        "nft flush chain inet guard in",
        "nft delete element inet guard blocked '{ 10.99.0.1 }'",
        "iptables-nft -F GUARD",
        "iptables-legacy -F OUTPUT",
    ] {
        inside(host, "alice", lose);
    }
    let told = host.try_exec(&["cnm-cni", "check", "alice"]).unwrap_err();
    for says in [
        r#"rule "iifname \"eth0\" jump web" of chain in in table inet guard of nft is missing"#,
        "set blocked in table inet guard of nft is missing",
        "of chain GUARD in table filter of iptables is missing",
        "of chain OUTPUT in table filter of iptables-legacy is missing",
    ] {
        assert!(told.contains(says), "{says} is not in {told}");
    }
    host.exec(&["cnm-cni", "check", "--repair", "alice"]);
    host.exec(&["cnm-cni", "check", "alice"]);
    are_in_force(host);
}

/// Both networks' chains write to the same tables.
fn of_one_network_stay_when_another_leaves(host: &Host) {
    host.create_network("more", Some("more"));
    let all = "nft --stateless list ruleset; iptables-nft-save | grep ^-A; iptables-legacy-save | grep ^-A";
    let before = inside(host, "alice", all);
    host.docker(&["network", "connect", "more", "alice"]);
    let both = inside(host, "alice", all);
    assert!(both.contains("iifname \"eth1\" jump web") && both.contains("10.98.0.1"), "{both}");
    host.exec(&["cnm-cni", "check", "alice"]);
    assert!(inside(host, "alice", "ip -o link").contains("more-side"));
    host.docker(&["network", "disconnect", "more", "alice"]);
    assert!(!inside(host, "alice", "ip -o link").contains("more-side"));
    let after = inside(host, "alice", all);
    // A set stays as long as its table.
    let without_sets = |rules: &str| {
        let lines = rules.lines().filter(|line| !line.contains("elements"));
        lines
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.starts_with("198."))
            .collect::<Vec<_>>()
    };
    assert_eq!(without_sets(&after), without_sets(&before));
    are_in_force(host);
    host.docker(&["network", "rm", "more"]);
}

fn without_nft_no_container_starts(host: &Host) {
    host.exec(&["mv", "/usr/sbin/nft", "/usr/sbin/nft-away"]);
    let plugins_own = "sed -i 's/inside nft -f/inside nft-away -f/' /opt/cni/bin/guard";
    host.exec(&["sh", "-c", plugins_own]);
    let refusal = host.run_refuses("carol", "web", &[]);
    host.exec(&["mv", "/usr/sbin/nft-away", "/usr/sbin/nft"]);
    host.write_program("/opt/cni/bin/guard", GUARD);
    let says = "table inet guard, and this host has no nft to carry them over to the container; install the package \
                nftables";
    assert!(refusal.contains(says), "{refusal}");
}

/// Runs a line of shell in a container's namespace, with the host's programs.
fn inside(host: &Host, container: &str, line: &str) -> String {
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", container]);
    host.exec(&["nsenter", &format!("--net=/proc/{pid}/ns/net"), "sh", "-c", line])
}
