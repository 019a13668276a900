//! CHECK in a live container: differences are reported, and repaired on request; and the check itself
//! leaves nothing behind.

use std::fs;
use std::time::{Duration, Instant};

use cnm_cni::lifecycle::{ChainCheck, Check};
use serde_json::{Value, json};

use super::{Bench, NETWORK, SANDBOX, inside, read, rules, scripted, until};
use crate::alone::{alone, sh};

/// A plugin that leaves something of every kind that settling puts back.
fn elaborate() -> Value {
    let commands = [
        "sysctl -q -w net.ipv4.conf.{ifname}.rp_filter=2",
        "sysctl -q -w net.core.somaxconn=512",
        "ip addr add 10.22.3.8/16 dev {ifname}",
        "ip route add 10.96.0.0/12 via 10.22.0.9 src 10.22.3.8 metric 7 mtu 1400",
        "ip route add default via 10.22.0.1 table 100",
        "ip rule add from 10.22.3.8 table 100 priority 1000",
        "ip neigh add 10.22.0.9 lladdr 02:00:00:00:00:99 dev {ifname} nud permanent",
    ];
    scripted(json!({"commands": commands}))
}

/// An endpoint in a container, settled, and the gateway of it.
pub(super) async fn attached(plugins: Value) -> Bench {
    attached_with(plugins, json!({}), |_| ()).await
}

/// The same with options of the endpoint, and an action before it.
pub(super) async fn attached_with(
    plugins: Value,
    options: Value,
    prepare: impl FnOnce(&Bench),
) -> Bench {
    let bench = Bench::with(json!([scripted(json!({}))])).await;
    prepare(&bench);
    bench.write_conflist(plugins);
    let forward = json!({"com.docker.network.generic": {"forward": "always"}});
    let network = json!({"NetworkID": NETWORK, "Options": forward});
    bench.driver.create_network(read(network)).await.unwrap();
    let mut endpoint = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {}});
    endpoint["Options"] = options;
    bench.driver.create_endpoint(read(endpoint)).await.unwrap();
    bench.enter("e1").await;
    bench.program("e1").await.unwrap();
    // The kernel takes its time to see that the other end is up, and to make the routes of an
    // IPv6 address then.
    let steady = "! ip link show eth0 | grep -q NO-CARRIER &&
        { ! ip addr show eth0 | grep -q fd00:22::7 || ip -6 route show table local | grep -q fd00:22::7; }";
    inside(&format!("sh -c 'for i in $(seq 100); do {steady} && exit 0; sleep 0.1; done; exit 1'"));
    bench
}

pub(super) async fn check(bench: &Bench, repair: bool) -> Check {
    let mut checks = bench.driver.check(&[], repair).await;
    assert_eq!(checks.len(), 1, "{checks:?}");
    checks.remove(0)
}

/// Everything about the container's interface, and the pins, that a check may touch. The
/// kernel's link-local addresses come when they like.
fn state() -> String {
    let network = "ip -d addr show; ip route show table all; ip -6 route show table all; ip rule";
    let network = inside(&format!("sh -c '{network}'"));
    let of_the_kernel = |line: &&str| line.contains("fe80:") || line.contains("ff00:");
    let lines = network.lines().filter(|line| !of_the_kernel(line));
    let pins = sh("awk '$5 ~ \"^/run/\" && / - nsfs / {print $4, $5}' /proc/self/mountinfo");
    lines.chain(pins.lines()).map(|line| format!("{line}\n")).collect()
}

#[test]
fn check_finds_the_interface_where_add_made_it_and_leaves_no_trace() {
    alone(async {
        let bench = attached(json!([elaborate()])).await;
        let before = state();
        let told = check(&bench, false).await;
        assert!(told.is_well() && told.chain == ChainCheck::Ok, "{told:#?}");
        assert_eq!((told.interface.as_deref(), told.conflist.as_str()), (Some("eth0"), "k8snet"));
        assert_eq!(state(), before);

        let calls = bench.calls();
        let (add, check) = (&calls[0], &calls[1]);
        assert_eq!(check["command"], "CHECK");
        for key in ["CNI_NETNS", "CNI_IFNAME", "CNI_CONTAINERID", "CNI_ARGS"] {
            assert_eq!(add["env"][key], check["env"][key], "{key}");
        }
        let ips = |value: &Value| value["prevResult"]["ips"][0]["address"].clone();
        assert_eq!(ips(&check["stdin"]), "10.22.3.7/16");
        assert!(check["live"].to_string().contains("10.22.3.8/16"), "{}", check["live"]);
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn damage_is_reported_and_repaired() {
    alone(async {
        let bench = attached(json!([elaborate()])).await;
        let before = state();
        let rules_before = rules();
        for damage in [
            "ip addr flush dev eth0 scope global",
            "ip link set eth0 mtu 1400",
            "sysctl -q -w net.ipv4.conf.eth0.rp_filter=0",
            "sysctl -q -w net.core.somaxconn=99",
            "ip rule del from 10.22.3.8 table 100",
            "ip addr add 192.0.2.1/24 dev eth0",
            "ip route add 198.51.100.0/24 dev eth0",
        ] {
            inside(damage);
        }
        sh("iptables -F FORWARD");

        let told = check(&bench, false).await;
        let ChainCheck::Failed(reason) = &told.chain else { panic!("{told:#?}") };
        assert!(reason.contains("has lost the address 10.22.3.7/16"), "{reason}");
        let all = told.differences.join("\n");
        for difference in [
            "sysctl net/ipv4/conf/eth0/rp_filter is 0, not 2",
            "sysctl net/core/somaxconn is 99, not 512",
            "MTU is 1400, not 1500",
            "address 10.22.3.7/16 is missing",
            "address 10.22.3.8/16 is missing",
            "address fd00:22::7/64 is missing",
            "address 192.0.2.1/24 was not given by ADD",
            "neighbour 10.22.0.9 at 02:00:00:00:00:99 is missing",
            "route 10.96.0.0/12 via 10.22.0.9 metric 7 is missing",
            "route default via 10.22.0.1 in table 100 is missing",
            "route default via 10.22.0.1 is missing",
            "route 198.51.100.0/24 was not made by ADD",
            "rule 1000 from 10.22.3.8/32 to table 100 is missing",
            "rule \"-A FORWARD -m mark --mark 0x1000/0x1000 -m comment",
        ] {
            assert!(all.contains(difference), "{difference}:\n{all}");
        }

        let repaired = check(&bench, true).await;
        assert!(repaired.is_well(), "{repaired:#?}");
        assert_eq!(repaired.repaired, told.differences);
        assert_eq!(sorted(&state()), sorted(&before));
        assert_eq!(sorted(&rules()), sorted(&rules_before));
        assert!(check(&bench, true).await.repaired.is_empty());
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_default_route_that_the_container_chose_is_left_alone() {
    alone(async {
        let bench = attached(json!([elaborate()])).await;
        inside("ip route replace default dev lo");
        assert!(check(&bench, true).await.is_well());
        assert!(inside("ip route show default").contains("dev lo"));
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_check_that_fails_or_takes_too_long_leaves_no_trace() {
    alone(async {
        let mut plugin = elaborate();
        plugin["fake"]["CHECK"] = json!({"sleep_ms": 300, "exit": 3});
        let mut bench = attached(json!([plugin])).await;
        let before = state();
        let ChainCheck::Failed(reason) = check(&bench, true).await.chain else { panic!("fine?") };
        assert!(reason.contains("fake-plugin"), "{reason}");
        assert_eq!(state(), before);

        bench.config.limits.check = Duration::from_millis(100);
        bench.restart().await;
        let ChainCheck::Failed(reason) = check(&bench, false).await.chain else { panic!("fine?") };
        assert!(reason.contains("100ms"), "{reason}");
        assert_eq!(state(), before);

        // Nobody waits for the answer any more.
        assert!(
            tokio::time::timeout(Duration::from_millis(1), bench.driver.check(&[], false))
                .await
                .is_err()
        );
        bench.driver.drain().await;
        assert_eq!(state(), before);
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_a_driver_left_that_was_killed_in_a_check_is_taken_away_at_start() {
    alone(async {
        let mut bench = attached(json!([elaborate()])).await;
        let before = state();
        let add = bench.calls()[0]["env"].clone();
        let [netns, if_name] = ["CNI_NETNS", "CNI_IFNAME"].map(|key| add[key].as_str().unwrap());
        let lend = || {
            sh(&format!("mount --bind {SANDBOX} {netns}"));
            inside(&format!("ip link property add dev eth0 altname {if_name}"));
            assert_ne!(state(), before);
        };
        lend();
        bench.restart().await;
        assert_eq!(state(), before);
        // Or by the next check, if only the pin could not be removed.
        lend();
        let told = check(&bench, false).await;
        assert!(told.is_well(), "{told:#?}");
        assert_eq!(state(), before);

        // The container has gone meanwhile, and the pin alone kept its namespace.
        lend();
        sh(&format!("umount {SANDBOX}"));
        bench.restart().await;
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        let deadline = Instant::now() + Duration::from_secs(5);
        while sh("ls /sys/class/net").trim() != "lo" && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_endpoint_is_named_by_its_id_its_sandbox_or_an_address() {
    alone(async {
        let bench = attached(json!([elaborate()])).await;
        for (name, found) in [
            ("e1", 1),
            ("e", 1),
            (SANDBOX, 1),
            ("sandbox", 1),
            ("10.22.3.7", 1),
            ("fd00:22::7", 1),
            ("e2", 0),
            ("10.22.3.9", 0),
            ("", 0),
        ] {
            let checks = bench.driver.check(&[name.to_owned()], false).await;
            assert_eq!(checks.len(), found, "{name:?}: {checks:?}");
        }
        bench.delete_endpoint("e1").await;
        assert_eq!(bench.driver.check(&[], false).await, []);
    });
}

#[test]
fn what_cannot_be_checked_is_reported_with_the_reason() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        let told = check(&bench, true).await;
        assert_eq!(told.differences, ["no container has joined yet"]);
        assert!(matches!(told.chain, ChainCheck::NotAsked(_)), "{told:?}");

        bench.join("e1", SANDBOX).await.unwrap();
        let told = check(&bench, true).await;
        assert_eq!(told.differences, ["the container's namespace is gone"]);
        bench.delete_endpoint("e1").await;

        let path = bench.config.conf_dir.join("10-k8snet.conflist");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("1.0.0", "0.3.1")).unwrap();
        bench.create_endpoint("e2").await.unwrap();
        bench.enter("e2").await;
        bench.program("e2").await.unwrap();
        let told = check(&bench, false).await;
        let ChainCheck::NotAsked(reason) = &told.chain else { panic!("{told:?}") };
        assert!(told.is_well() && reason.contains("0.3.1"), "{told:?}");
        bench.delete_endpoint("e2").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_a_container_makes_on_its_interface_is_not_taken_for_it() {
    alone(async {
        let bench = attached(json!([elaborate()])).await;
        let eth0 = inside("ip -o link show eth0");
        let mac = eth0.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        // A bridge, before eth0 in every list; and another network's end.
        inside(&format!("ip link add br0 index 2 address {mac} type bridge"));
        inside(&format!("ip link add eth1 address {mac} type veth peer name x"));
        let told = check(&bench, false).await;
        assert!(told.is_well() && told.interface.as_deref() == Some("eth0"), "{told:#?}");
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        assert!(inside("ip link").contains("br0") && !inside("ip link").contains("eth0"));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_interface_whose_mac_the_container_has_changed_is_not_said_to_be_gone() {
    alone(async {
        let bench = attached(json!([elaborate()])).await;
        let eth0 = inside("ip -o link show eth0");
        let made = eth0.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        inside("ip link set eth0 address 02:02:02:02:02:02");
        let told = check(&bench, false).await;
        let difference = &told.differences[0];
        for words in [&format!("MAC {made}"), "eth0 has 02:02:02:02:02:02"] {
            assert!(difference.contains(words), "{told:#?}");
        }
        inside(&format!("ip link set eth0 address {made}"));
        let told = check(&bench, true).await;
        assert_eq!(told.interface.as_deref(), Some("eth0"), "{told:#?}");
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_containers_own_links_are_not_taken_for_an_interface_that_is_gone() {
    alone(async {
        let bench = attached(json!([elaborate()])).await;
        let eth0 = inside("ip -o link show eth0");
        let mac = eth0.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        let peer = eth0.split("eth0@if").nth(1).unwrap().split(':').next().unwrap();
        inside(&format!("ip link add br0 address {mac} type bridge"));
        // Its other end has the number that the other end of eth0 has on the host.
        inside(&format!("ip link add own address {mac} type veth peer name x index {peer}"));
        inside("ip link del eth0");
        let told = check(&bench, true).await;
        assert_eq!(
            told.differences[0], "the interface is gone; connect the container again",
            "{told:#?}"
        );
        // Its peer was removed with it.
        assert!(told.differences[1].contains("of the host is gone"), "{told:#?}");
        assert_eq!(told.differences.len(), 2, "{told:#?}");
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        let left = inside("ip link");
        assert!(left.contains("br0") && left.contains("own"), "{left}");
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_call_of_dockers_goes_before_the_check_of_its_endpoint() {
    alone(async {
        let mut plugin = elaborate();
        plugin["fake"]["CHECK"] = json!({"sleep_ms": 20_000, "times": 1});
        let bench = attached(json!([plugin])).await;
        let before = state();
        let driver = bench.driver.clone();
        let checking = tokio::spawn(async move { driver.check(&[], false).await });
        until(|| bench.verbs().contains(&"CHECK".to_owned())).await;
        let begun = Instant::now();
        bench.program("e1").await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "it waited for the check");
        // The check begins anew, and finds nothing wrong.
        let checked = checking.await.unwrap();
        assert!(checked[0].is_well() && checked[0].chain == ChainCheck::Ok, "{checked:#?}");
        assert_eq!(state(), before);
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_was_repaired_before_a_call_of_dockers_came_is_reported() {
    alone(async {
        let mut plugin = elaborate();
        plugin["fake"]["CHECK"] = json!({"sleep_ms": 3_000});
        let bench = attached(json!([plugin])).await;
        bench.driver.drain().await;
        inside("ip link set eth0 mtu 1400");
        let driver = bench.driver.clone();
        let checking = tokio::spawn(async move { driver.check(&[], true).await });
        // The check after the repair.
        let checks = || bench.verbs().iter().filter(|verb| *verb == "CHECK").count();
        until(|| checks() == 2).await;
        bench.program("e1").await.unwrap();
        let checked = checking.await.unwrap();
        assert!(checked[0].is_well(), "{checked:#?}");
        assert_eq!(checked[0].repaired, ["MTU is 1400, not 1500"]);
        assert_eq!(checks(), 3);
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_endpoint_that_goes_during_a_check_is_left_out() {
    alone(async {
        let mut plugin = elaborate();
        plugin["fake"]["CHECK"] = json!({"sleep_ms": 20_000});
        let bench = attached(json!([plugin])).await;
        let driver = bench.driver.clone();
        let checking = tokio::spawn(async move { driver.check(&[], false).await });
        until(|| bench.verbs().contains(&"CHECK".to_owned())).await;
        let begun = Instant::now();
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        assert!(begun.elapsed() < Duration::from_secs(5), "it waited for the check");
        assert_eq!(checking.await.unwrap(), []);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn two_checks_at_once_find_the_same() {
    alone(async {
        let mut plugin = elaborate();
        plugin["fake"]["CHECK"] = json!({"sleep_ms": 200, "after_work": true});
        let bench = attached(json!([plugin])).await;
        let before = state();
        let (one, other, repaired) =
            tokio::join!(check(&bench, false), check(&bench, false), check(&bench, true));
        assert!(one.is_well(), "{one:#?}");
        assert_eq!((&one, &other), (&other, &repaired));
        assert_eq!(state(), before);
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}
