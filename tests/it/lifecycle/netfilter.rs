//! Rules that a chain writes inside of its namespace.

use std::fs;

use cnm_cni::lifecycle::Driver;
use serde_json::json;

use super::{Bench, SANDBOX, inside, make_sandbox, scripted, until};
use crate::alone::{alone, sh};

/// By both variants of `iptables`, in a table that Docker uses and in others, with sets of `ipset`.
const WRITES: [&str; 12] = [
    "ipset create blocked hash:net,iface",
    "ipset add blocked 198.51.100.0/24,{ifname}",
    "ipset create all list:set",
    "ipset add all blocked",
    "iptables-nft -A FORWARD -m set --match-set blocked src,src -j DROP",
    "iptables-legacy -A INPUT -m set --match-set all src,src -j DROP",
    "iptables-nft -t nat -A OUTPUT -o {ifname} -p tcp --dport 81 -j DNAT --to-destination 127.0.0.1:80",
    "iptables-nft -N OURS",
    "iptables-nft -A OURS -m comment --comment of-the-chain -j DROP",
    "iptables-nft -A INPUT -i {ifname} -s 192.0.2.0/24 -j OURS",
    "ip6tables-nft -P FORWARD DROP",
    "iptables-legacy -A OUTPUT -o {ifname} -d 224.0.0.0/4 -j DROP",
];

/// As Docker's, for its DNS.
const DOCKERS: [&str; 2] = [
    "iptables-nft -t nat -N DOCKER_OUTPUT",
    "iptables-nft -t nat -I OUTPUT -d 127.0.0.11 -j DOCKER_OUTPUT",
];

/// The rules in a namespace, by all programs.
fn rules(netns: &str) -> String {
    let programs = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"];
    let saved = programs.map(|program| {
        let save = format!("nsenter --net={netns} {program}-save | sed 's/ \\[.*//; /^#/d'");
        format!("{program}\n{}", sh(&save))
    });
    let sets = sh(&format!("nsenter --net={netns} ipset save | sed 's/ initval .*//'"));
    saved.concat() + "ipset\n" + &sets
}

async fn bench() -> Bench {
    Bench::with(json!([scripted(json!({"commands": WRITES}))])).await
}

#[test]
fn rules_are_carried_over_beside_dockers_and_go_when_the_container_leaves() {
    alone(async {
        let bench = bench().await;
        bench.create_endpoint("e1").await.unwrap();
        let name = bench.calls()[0]["env"]["CNI_IFNAME"].as_str().unwrap().to_owned();
        bench.enter("e1").await;
        DOCKERS.iter().for_each(|rule| drop(inside(rule)));
        let before = rules(SANDBOX);
        bench.program("e1").await.unwrap();
        let settled = rules(SANDBOX);
        for rule in [
            "-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT\n\
             -A OUTPUT -o eth0 -p tcp -m tcp --dport 81 -j DNAT --to-destination 127.0.0.1:80\n",
            "-A OURS -m comment --comment of-the-chain -j DROP\n",
            "-A INPUT -s 192.0.2.0/24 -i eth0 -j OURS\n",
            "ip6tables-nft\n*filter\n:INPUT ACCEPT\n:FORWARD DROP\n",
            "-A OUTPUT -d 224.0.0.0/4 -o eth0 -j DROP\n",
            "-A FORWARD -m set --match-set blocked src,src -j DROP\n",
            "-A INPUT -m set --match-set all src,src -j DROP\n",
            "add blocked 198.51.100.0/24,eth0\n",
            "add all blocked\n",
        ] {
            assert!(settled.contains(rule), "{rule} is not in {settled}");
        }
        assert!(!settled.contains(&name), "{settled}");

        // Docker asks again; what is there is not made twice.
        bench.join("e1", SANDBOX).await.unwrap();
        bench.program("e1").await.unwrap();
        assert_eq!(rules(SANDBOX), settled);

        inside("iptables-nft -t nat -F OUTPUT");
        inside("ip6tables-nft -P FORWARD ACCEPT");
        inside("ipset del blocked 198.51.100.0/24,eth0");
        let check = bench.driver.check(&[], false).await.remove(0);
        assert_eq!(check.differences.len(), 3, "{check:?}");
        let lacks = "set blocked in ipset is missing".to_owned();
        assert!(check.differences.contains(&lacks), "{check:?}");
        let check = bench.driver.check(&[], true).await.remove(0);
        assert!(check.is_well() && check.repaired.len() == 3, "{check:?}");
        DOCKERS[1..].iter().for_each(|rule| drop(inside(rule)));
        assert_eq!(rules(SANDBOX), settled);

        bench.leave("e1").await;
        let left = rules(SANDBOX);
        let bare = |rules: &str| {
            let lines =
                rules.lines().filter(|line| line.starts_with("-A") || line.contains(" DROP"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(bare(&left), bare(&before));
        assert!(!left.contains("OURS") && left.ends_with("ipset\n"), "{left}");
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn rules_are_there_for_del_in_a_namespace_that_was_made_anew() {
    alone(async {
        let mut plugin = scripted(json!({"commands": WRITES}));
        plugin["fake"]["DEL"] = json!({"exit": 1});
        let bench = Bench::with(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        let env = &bench.calls()[0]["env"];
        let staging = env["CNI_NETNS"].as_str().unwrap().to_owned();
        let as_add_left_it = rules(&staging);
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        sh(&format!("umount {staging}; rm {staging}"));
        bench.delete_endpoint("e1").await;
        let only_rules = |rules: String| {
            let lines = rules.lines().filter(|line| {
                ["-A", "create", "add"].iter().any(|it| line.starts_with(it))
                    || line.contains(" DROP")
            });
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(only_rules(rules(&staging)), only_rules(as_add_left_it));
    });
}

#[test]
fn rules_come_with_docker_20_too_and_a_namespace_without_any_keeps_none_on_record() {
    alone(async {
        let bench = bench().await;
        bench.create_endpoint("e1").await.unwrap();
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        make_sandbox();
        super::as_docker_moves_it(&name);
        let record = || fs::read_to_string(&bench.records()[0]).unwrap();
        until(|| record().contains("Settled")).await;
        assert!(rules(SANDBOX).contains("-i eth0 -j OURS"), "{}", rules(SANDBOX));
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        sh(&format!("umount {SANDBOX}; rm {SANDBOX}"));

        // Whoever only looks makes tables, too.
        let looks = ["iptables-nft -S", "iptables-legacy -S", "iptables-legacy -t nat -S"];
        bench.write_conflist(json!([scripted(json!({"commands": looks}))]));
        bench.create_endpoint("e2").await.unwrap();
        bench.enter("e2").await;
        bench.program("e2").await.unwrap();
        assert!(!record().contains("netfilter"), "{}", record());
        bench.leave("e2").await;
        bench.delete_endpoint("e2").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_rule_that_cannot_be_carried_over_fails_the_start() {
    alone(async {
        let mut bench = bench().await;
        bench.create_endpoint("e1").await.unwrap();
        bench.enter("e1").await;
        bench.driver.drain().await;
        // As one with a match that the kernel has lost since.
        let file = &bench.records()[0];
        let record = fs::read_to_string(file).unwrap();
        fs::write(file, record.replace("--comment of-the-chain", "--no-such-option")).unwrap();
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        let error = bench.program("e1").await.unwrap_err().to_string();
        assert!(
            error.contains("iptables-nft-restore") && error.contains("no-such-option"),
            "{error}"
        );
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}
