//! The exemption from the policy of FORWARD: which packets pass, what the host has for it, and what a container
//! costs.

use std::fs;
use std::thread;

use cnm_cni::lifecycle::{Collection, Driver, Outcome};
use serde_json::json;

use super::check::check;
use super::host::{bridged, hide, replace};
use super::{Bench, NETWORK, SANDBOX, read, rules, scripted, table, until};
use crate::alone::{alone, sh};

/// A neighbour on the container's bridge, and a host outside.
const NEIGHBOUR: &str = "/run/neighbour";
const OUTSIDE: &str = "/run/outside";

/// Everyone's addresses; the last one is published, and leads to the container.
const CONTAINERS: [&str; 2] = ["10.22.3.7", "fd00:22::7"];
const NEIGHBOURS: [&str; 2] = ["10.22.3.9", "fd00:22::9"];
const OUTSIDES: [&str; 2] = ["198.18.0.2", "fd00:18::2"];
const PUBLISHED: &str = "198.18.1.9";

/// A network with these options of the driver's, in place of the one that [`Bench::with`] makes.
async fn network(bench: &Bench, forward: &str, internal: bool) {
    let options = json!({"com.docker.network.generic": {"forward": forward},
                         "com.docker.network.internal": internal});
    let network = json!({"NetworkID": NETWORK, "Options": options});
    bench.driver.create_network(read(network)).await.unwrap();
}

/// Makes an endpoint that has this address and one like it of IPv6, and lets it join.
async fn joined(bench: &Bench, id: &str, address: &str) {
    let last = address.rsplit_once('.').unwrap().1.replace("/16", "/64");
    let addresses = json!({"Address": address, "AddressIPv6": format!("fd00:22::{last}")});
    let request = json!({"NetworkID": NETWORK, "EndpointID": id, "Interface": addresses});
    bench.driver.create_endpoint(read(request)).await.unwrap();
    bench.join(id, &format!("/run/sandbox-of-{id}")).await.unwrap();
}

/// Gives the container's bridge a neighbour, and the host a way outside.
fn surroundings() {
    sh(&format!(
        "for at in {NEIGHBOUR} {OUTSIDE}; do touch $at; unshare --net=$at ip link set lo up; done
         ip link add n0 type veth peer name eth0 netns {NEIGHBOUR}; ip link set n0 master cnibr up
         ip link add o0 type veth peer name eth0 netns {OUTSIDE}; ip link set o0 up
         ip addr add 198.18.0.1/24 dev o0; ip addr add fd00:18::1/64 dev o0 nodad
         iptables -t nat -A PREROUTING -d {PUBLISHED} -j DNAT --to-destination 10.22.3.7
         for type in 135 136; do ip6tables -A FORWARD -p icmpv6 --icmpv6-type $type -j ACCEPT; done",
    ));
    for (at, [ip, ip6], [gateway, gateway6]) in [
        (NEIGHBOUR, NEIGHBOURS, ["10.22.0.1/16", "fd00:22::1/64"]),
        (OUTSIDE, OUTSIDES, ["198.18.0.1/24", "fd00:18::1/64"]),
    ] {
        let (via, len) = gateway.split_once('/').unwrap();
        let (via6, len6) = gateway6.split_once('/').unwrap();
        sh(&format!(
            "nsenter --net={at} sh -ec '
               ip link set eth0 up; ip addr add {ip}/{len} dev eth0; ip addr add {ip6}/{len6} dev eth0 nodad
               ip route add default via {via}; ip route add default via {via6}'"
        ));
    }
    // Whatever routes a container makes for itself.
    sh(&format!(
        "nsenter --net={SANDBOX} sh -c 'ip route add default via 10.22.0.1
                 ip route add default via fd00:22::1'"
    ));
}

/// Who reaches whom, a line each.
fn who_reaches_whom() -> Vec<&'static str> {
    let ways = [
        ("container to outside", SANDBOX, &OUTSIDES[..]),
        ("container to neighbour", SANDBOX, &NEIGHBOURS[..]),
        ("neighbour to outside", NEIGHBOUR, &OUTSIDES[..]),
        ("neighbour to container", NEIGHBOUR, &CONTAINERS[..]),
        ("outside to container", OUTSIDE, &CONTAINERS[..]),
        ("outside to published port", OUTSIDE, &[PUBLISHED][..]),
    ];
    let reaches = |from: &str, to: &str| {
        let ping = format!(
            "nsenter --net={from} busybox ping -c 1 -W 2 {to} >/dev/null && echo yes || true"
        );
        !sh(&ping).is_empty()
    };
    thread::scope(|scope| {
        let asked = ways.map(|(way, from, to)| {
            let pings = to.iter().map(|to| scope.spawn(move || reaches(from, to)));
            (way, pings.collect::<Vec<_>>())
        });
        let mut reached = Vec::new();
        for (way, pings) in asked {
            let pings: Vec<bool> = pings.into_iter().map(|ping| ping.join().unwrap()).collect();
            if pings.iter().all(|ping| *ping) {
                reached.push(way);
            } else if pings.contains(&true) {
                reached.push("one family, and not the other");
            }
        }
        reached
    })
}

/// Sees who reaches whom through a FORWARD chain that drops, where the host has `nft` and where it has not.
async fn through_a_chain_that_drops(forward: &str, internal: bool, expected: &[&str]) {
    for nft in [true, false] {
        if !nft {
            hide("nft");
        }
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.write_conflist(json!([bridged()]));
        network(&bench, forward, internal).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        surroundings();
        // Nobody sees the mark afterwards, and nobody is exempt who sets it himself.
        sh("iptables -t mangle -A POSTROUTING -m mark --mark 0x1000/0x1000 -j DROP
            iptables -t mangle -A PREROUTING -s 10.22.3.9 -j MARK --set-xmark 0x1000/0x1000");
        if !nft {
            sh("iptables -t mangle -F");
        }
        // The kernel takes its time with the addresses and the links.
        until(|| who_reaches_whom().len() == 6).await;
        sh("for program in iptables ip6tables; do
                $program -P FORWARD DROP; ! $program -t mangle -S | grep -q CNM
            done");
        assert_eq!(rules().matches("-s 10.22.3.7/32").count(), usize::from(!nft), "{}", rules());
        // A packet may be late; one that passes and is not to will always do so.
        let mut seen = who_reaches_whom();
        for _ in 0..5 {
            if seen != expected {
                seen = who_reaches_whom();
            }
        }
        assert_eq!(seen, expected, "nft: {nft}\n{}\n{}", rules(), table_if(nft));

        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        sh(&format!(
            "iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT
             iptables -t nat -F; iptables -t nat -X; ip6tables -t nat -F; ip6tables -t nat -X
             iptables -t mangle -F; ip6tables -D FORWARD -p icmpv6 --icmpv6-type 135 -j ACCEPT
             ip6tables -D FORWARD -p icmpv6 --icmpv6-type 136 -j ACCEPT; ip link delete cnibr; ip link delete o0
             umount {SANDBOX} {NEIGHBOUR} {OUTSIDE}"
        ));
        assert!(!rules().contains("cnm-cni"), "{}", rules());
    }
}

/// The table, where there is a program that shows it.
fn table_if(nft: bool) -> String {
    if nft { table() } else { String::new() }
}

#[test]
fn packets_of_an_exempt_address_pass_and_those_of_its_neighbour_do_not() {
    alone(async {
        let expected =
            ["container to outside", "container to neighbour", "outside to published port"];
        through_a_chain_that_drops("always", false, &expected).await;
    });
}

#[test]
fn new_connections_pass_to_an_open_address_and_not_to_its_neighbour() {
    alone(async {
        let expected = [
            "container to outside",
            "container to neighbour",
            "neighbour to container",
            "outside to container",
            "outside to published port",
        ];
        through_a_chain_that_drops("open", false, &expected).await;
    });
}

#[test]
fn packets_of_an_internal_network_stay_within_its_subnet() {
    alone(async {
        // The neighbour's answers come from an address that is not exempt; the container's own packets pass.
        sh("iptables -A FORWARD -s 10.22.3.9 -d 10.22.3.7 -j ACCEPT
            ip6tables -A FORWARD -s fd00:22::9 -d fd00:22::/124 -j ACCEPT");
        let expected = ["container to neighbour", "neighbour to container"];
        through_a_chain_that_drops("always", true, &expected).await;
    });
}

#[test]
fn another_container_rewrites_nothing_and_takes_one_look_at_each_chain() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        network(&bench, "always", false).await;
        joined(&bench, "e1", "10.22.3.11/16").await;
        let handles = || sh("nft -a list tables; iptables -S FORWARD; ip6tables -S FORWARD");
        let before = handles();
        for program in ["iptables", "ip6tables", "iptables-restore", "ip6tables-restore", "nft"] {
            let script = format!(
                "#!/bin/sh\necho \"{program} $*\" >>/run/ran\nexec /run/real/{program} \"$@\"\n"
            );
            replace(program, &script);
        }
        let ran = || {
            let ran = fs::read_to_string("/run/ran").unwrap_or_default();
            _ = fs::remove_file("/run/ran");
            let mut ran: Vec<String> = ran.lines().map(str::to_owned).collect();
            ran.retain(|line| {
                line.ends_with("FORWARD") || line.contains("-f -") || line.contains("restore")
            });
            ran.sort();
            ran
        };
        joined(&bench, "e2", "10.22.3.12/16").await;
        assert_eq!(ran(), ["ip6tables -w 10 -S FORWARD", "iptables -w 10 -S FORWARD", "nft -f -"]);
        assert_eq!(handles(), before);
        assert!(table().contains("10.22.3.11") && table().contains("10.22.3.12"), "{}", table());
        ran();
        bench.delete_endpoint("e2").await;
        assert_eq!(ran(), ["nft -f -"]);
        assert_eq!(handles(), before);
        assert!(table().contains("10.22.3.11") && !table().contains("10.22.3.12"), "{}", table());
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn the_rule_comes_after_those_that_others_have_appended() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        network(&bench, "always", false).await;
        joined(&bench, "e1", "10.22.3.11/16").await;
        sh("iptables -A FORWARD -s 192.0.2.1 -j REJECT");
        joined(&bench, "e2", "10.22.3.12/16").await;
        let listed = sh("iptables -S FORWARD");
        let listed: Vec<_> = listed.lines().skip(1).collect();
        assert!(
            matches!(listed[..], [other, ours] if other.contains("192.0.2.1") && ours.contains("cnm-cni")),
            "{listed:?}"
        );
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_a_reload_takes_away_the_next_container_puts_back_for_all() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        network(&bench, "always", false).await;
        for (n, reload) in [
            "nft flush ruleset",
            "iptables -F; ip6tables -F",
            "nft delete table inet $(nft list tables inet | grep -o 'cnm_cni_forward.*')",
            "nft flush set inet $(nft list tables inet | grep -o 'cnm_cni_forward.*') closed4",
        ]
        .into_iter()
        .enumerate()
        {
            joined(&bench, "e1", "10.22.3.11/16").await;
            let whole = |table: &str| {
                let rule = rules().matches("table cnm_cni_forward").count() == 2;
                rule && ["10.22.3.11", "10.22.3.12"].iter().all(|ip| table.contains(ip))
            };
            sh(reload);
            if n == 3 {
                // Only a driver that starts sees this, or a check.
                bench.restart().await;
            }
            joined(&bench, "e2", "10.22.3.12/16").await;
            assert!(whole(&table()), "{reload}: {}\n{}", rules(), table());
            sh(reload);
            bench.restart().await;
            assert!(whole(&table()), "{reload}: {}\n{}", rules(), table());
            bench.delete_endpoint("e1").await;
            bench.delete_endpoint("e2").await;
            bench.assert_nothing_is_left();
        }
    });
}

#[test]
fn damage_to_the_table_is_reported_and_repaired() {
    alone(async {
        let bench = super::check::attached(json!([scripted(json!({}))])).await;
        // What begins in the background with an attachment would repair the first damage.
        bench.driver.drain().await;
        let name = sh("nft list tables inet | grep -o 'cnm_cni_forward.*'").trim().to_owned();
        let before = table();
        for (damage, told_of) in [
            (
                "nft flush set inet TABLE closed4",
                "address 10.22.3.7 is not in set closed4 of table inet",
            ),
            ("nft flush chain inet TABLE exempt", "has not the rules that it is to have"),
            ("nft delete chain inet TABLE restore", "has not the rules that it is to have"),
            (
                "nft delete table inet TABLE",
                "address fd00:22::7 is not in set closed6 of table inet",
            ),
            ("iptables -F FORWARD", "-m mark --mark 0x1000/0x1000"),
        ] {
            sh(&damage.replace("TABLE", &name));
            let told = check(&bench, false).await.differences.join("\n");
            assert!(told.contains(told_of), "{damage}: {told}");
            let repaired = check(&bench, true).await;
            assert!(repaired.is_well() && !repaired.repaired.is_empty(), "{damage}: {repaired:#?}");
            assert_eq!(table(), before);
        }
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_table_that_cannot_be_read_is_not_one_that_is_missing() {
    alone(async {
        let bench = super::check::attached(json!([scripted(json!({}))])).await;
        bench.driver.drain().await;
        replace("nft", "#!/bin/sh\necho 'Too many open files' >&2\nexit 1\n");
        let told = check(&bench, false).await.differences.join("\n");
        assert!(
            told.contains("whether the host exempts 10.22.3.7 in FORWARD cannot be told"),
            "{told}"
        );
        assert!(told.contains("Too many open files") && !told.contains("is missing"), "{told}");
    });
}

#[test]
fn rules_of_an_earlier_version_are_replaced_at_the_start_or_stay_as_they_are() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        network(&bench, "always", false).await;
        joined(&bench, "e1", "10.22.3.11/16").await;
        let id = bench.calls()[0]["env"]["CNI_CONTAINERID"].as_str().unwrap().to_owned();
        let as_before = || {
            sh(&format!(
                "nft flush ruleset
                 iptables -A FORWARD -s 10.22.3.11/32 -m comment --comment 'cnm-cni {id}' -j ACCEPT
                 iptables -A FORWARD -d 10.22.3.11/32 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT \
                     -m comment --comment 'cnm-cni {id}' -j ACCEPT
                 iptables -A FORWARD -s 10.22.9.9/32 -m comment --comment 'cnm-cni {OTHER}' -j ACCEPT"
            ));
        };
        as_before();
        bench.restart().await;
        assert!(!rules().contains(&id) && table().contains(&id), "{}\n{}", rules(), table());
        assert!(rules().contains(OTHER), "another driver's");

        as_before();
        let before = sh("iptables -S FORWARD");
        hide("nft");
        bench.restart().await;
        assert_eq!(sh("iptables -S FORWARD"), before);
        bench.delete_endpoint("e1").await;
        assert!(!rules().contains(&id) && rules().contains(OTHER), "{}", rules());
    });
}

/// An attachment of somebody else.
const OTHER: &str = "0198c0de-93a5-7356-9b59-65a1b676428f";

#[test]
fn an_address_that_two_have_is_exempt_until_both_have_gone() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        network(&bench, "always", false).await;
        for first in ["e1", "e2"] {
            joined(&bench, "e1", "10.22.3.11/16").await;
            joined(&bench, "e2", "10.22.3.11/16").await;
            bench.delete_endpoint(first).await;
            assert!(table().contains("10.22.3.11"), "{}", table());
            bench.restart().await;
            assert!(table().contains("10.22.3.11"), "{}", table());
            bench.delete_endpoint(if first == "e1" { "e2" } else { "e1" }).await;
            bench.assert_nothing_is_left();
        }
    });
}

#[test]
fn two_drivers_have_a_table_and_a_rule_each() {
    alone(async {
        let (one, other) = (
            Bench::with(json!([scripted(json!({}))])).await,
            Bench::with(json!([scripted(json!({}))])).await,
        );
        network(&one, "always", false).await;
        network(&other, "always", false).await;
        joined(&one, "e1", "10.22.3.11/16").await;
        joined(&other, "f1", "10.22.3.12/16").await;
        joined(&one, "e2", "10.22.3.13/16").await;
        let before = sh("iptables -S FORWARD");
        assert_eq!(before.matches("cnm-cni table").count(), 2, "{before}");
        joined(&other, "f2", "10.22.3.14/16").await;
        assert_eq!(sh("iptables -S FORWARD"), before, "neither moves its own behind the other's");
        one.delete_endpoint("e1").await;
        one.delete_endpoint("e2").await;
        assert_eq!(rules().matches("cnm-cni table").count(), 2, "{}", rules());
        assert!(table().contains("10.22.3.12") && !table().contains("10.22.3.11"), "{}", table());
        other.delete_endpoint("f1").await;
        other.delete_endpoint("f2").await;
        other.assert_nothing_is_left();
    });
}

#[test]
fn an_attachment_whose_record_was_lost_is_found_by_its_element() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        network(&bench, "always", false).await;
        joined(&bench, "e1", "10.22.3.11/16").await;
        sh("ip link delete $(ls /sys/class/net | grep '^cni')");
        sh(&format!("umount {0}/netns/*; rm {0}/netns/*", bench.config.run_dir.display()));
        fs::remove_file(bench.records().remove(0)).unwrap();
        bench.restart().await;
        assert!(table().contains("10.22.3.11"), "{}", table());
        let wanted = Collection { apply: true, grace: 0, exclusive: false };
        let found = bench.driver.collect(&wanted).await.unwrap();
        let told = found.iter().map(|it| it.found.join(" ")).collect::<String>();
        assert!(told.contains("exemption of 10.22.3.11 in FORWARD"), "{found:?}");
        assert!(found.iter().all(|it| it.outcome == Outcome::Removed), "{found:?}");
        bench.assert_nothing_is_left();
    });
}

#[test]
fn another_bit_takes_the_place_of_the_first_at_the_next_start() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        network(&bench, "always", false).await;
        joined(&bench, "e1", "10.22.3.11/16").await;
        bench.config.forward_mark = 0x20;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        bench.driver.drain().await;
        for rules in [rules(), table()] {
            let has = |bit: &str| {
                [format!("0x{bit}"), format!("0x0000{bit}")].iter().any(|it| rules.contains(it))
            };
            assert!(!has("1000") && (has("20") || has("0020")), "{rules}");
        }
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_host_without_iptables_has_no_table() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        ["iptables", "ip6tables"].into_iter().for_each(hide);
        network(&bench, "always", false).await;
        joined(&bench, "e1", "10.22.3.11/16").await;
        assert_eq!(table(), "");
        bench.delete_endpoint("e1").await;
        assert_eq!(bench.records(), [] as [std::path::PathBuf; 0]);
    });
}

#[test]
fn a_host_that_loses_iptables_keeps_no_exemption_of_a_container_that_is_gone() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        network(&bench, "always", false).await;
        joined(&bench, "e1", "10.22.3.11/16").await;
        joined(&bench, "e2", "10.22.3.12/16").await;
        let rule = rules();
        ["iptables", "ip6tables"].into_iter().for_each(hide);
        bench.delete_endpoint("e1").await;
        assert!(!table().contains("10.22.3.11") && table().contains("10.22.3.12"), "{}", table());
        // The rule in FORWARD is there, so another container works, too.
        joined(&bench, "e3", "10.22.3.13/16").await;
        assert!(table().contains("10.22.3.13"), "{}", table());
        bench.restart().await;
        bench.delete_endpoint("e2").await;
        bench.delete_endpoint("e3").await;
        assert_eq!(table(), "");
        assert_eq!(bench.records(), [] as [std::path::PathBuf; 0]);
        sh("for program in iptables iptables-restore ip6tables ip6tables-restore; do
                ln -s /run/real/$program /usr/sbin
            done");
        assert_eq!(rules(), rule, "nobody could change it");
        bench.restart().await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn where_the_table_cannot_be_made_the_rules_are_in_forward() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        network(&bench, "always", false).await;
        // As on a kernel without nftables.
        replace(
            "nft",
            "#!/bin/sh\necho 'Error: Could not process rule: Operation not supported' >&2\nexit 1\n",
        );
        joined(&bench, "e1", "10.22.3.11/16").await;
        assert_eq!(rules().matches("10.22.3.11").count(), 2, "{}", rules());
        sh("rm /usr/sbin/nft; cp -d /run/real/nft /usr/sbin");
        joined(&bench, "e2", "10.22.3.12/16").await;
        assert!(!rules().contains("10.22.3.11") && table().contains("10.22.3.11"), "{}", rules());
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        bench.assert_nothing_is_left();
    });
}
