//! Further links that a chain makes in its namespace, beside the interface.

use serde_json::json;

use super::{Bench, SANDBOX, as_docker_moves_it, inside, make_sandbox, scripted, until};
use crate::alone::{alone, sh};

/// A second veth pair, a macvlan on one end of it and one on the interface, a tap, an ifb, and a bridge with an end of a
/// third pair as port.
const MAKES: [&str; 27] = [
    "ip link add side0 type veth peer name side1",
    "ip addr add 10.77.0.2/24 dev side0",
    "ip addr add fd77::2/64 dev side0 nodad",
    "ip link set side0 mtu 1400 up",
    "ip link set side1 up",
    "ip route add 10.78.0.0/16 via 10.77.0.1 dev side0 metric 7",
    "ip route add 10.79.0.0/16 dev side0 table 100",
    "ip neigh add 10.77.0.1 lladdr 02:00:00:00:00:77 dev side0 nud permanent",
    "sysctl -q -w net.ipv4.conf.side0.arp_filter=1",
    "ip link add over0 link side1 type macvlan mode bridge",
    "ip addr add 10.80.0.2/24 dev over0",
    "ip link set over0 up",
    "ip link add upon0 link {ifname} type macvlan mode bridge",
    "ip addr add 10.81.0.2/24 dev upon0",
    "ip link set upon0 up",
    "ip tuntap add dev tap7 mode tap",
    "ip link add ifb7 type ifb",
    "ip link add inner0 type bridge forward_delay 400 ageing_time 5000 mcast_snooping 0 group_fwd_mask 8",
    "ip link set inner0 address 02:00:00:00:00:82 group 5",
    "ip link add port0 type veth peer name port1",
    "ip link set port0 mtu 1400 master inner0 up",
    "ip link set port0 type bridge_slave hairpin on isolated on cost 7",
    "ip link set port1 mtu 1400 up",
    "ip addr add 10.82.0.1/24 dev inner0",
    "ip addr add fd82::1/64 dev inner0 nodad",
    "ip link set inner0 up",
    "ip route add 10.83.0.0/16 via 10.82.0.9 dev inner0",
];

/// The further links as iproute2 shows them, without indexes.
fn shown(netns: &str) -> String {
    let links = ["side0", "side1", "over0", "upon0", "tap7", "ifb7", "inner0", "port0", "port1"];
    let each = links.map(|link| {
        sh(&format!(
            "nsenter --net={netns} sh -c '
             ip -d -o link show {link} | sed \"s/^[0-9]*: //; s/@[^:]*//; s/ link-netnsid [0-9]*//; s/qdisc [a-z]*//; \
                s/state [A-Z]*//; s/bridge_slave state [a-z]*//; s/[a-z_]*_timer *[0-9.]*//g; s/<[^>]*>//\"
             cat /sys/class/net/{link}/flags /proc/sys/net/ipv4/conf/{link}/arp_filter
             ip -o -4 addr show dev {link} | cut -d\" \" -f2-; ip -o -6 addr show dev {link} scope global | cut -d\" \" -f2-
             ip -4 route show table all dev {link} | sed \"s/ linkdown//\" | sort
             ip -6 route show dev {link} | grep -v ^fe80 | sort
             ip neigh show dev {link} nud permanent'"
        ))
    });
    each.concat()
}

#[test]
fn further_links_come_along_and_go_back_before_del() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({"commands": MAKES}))])).await;
        for docker_is_28 in [true, false] {
            bench.create_endpoint("e1").await.unwrap();
            let env = &bench.calls().pop().unwrap()["env"];
            let staging = env["CNI_NETNS"].as_str().unwrap().to_owned();
            let wanted = shown(&staging);
            match docker_is_28 {
                true => {
                    bench.enter("e1").await;
                    // As Docker may, where it knows no IPv6 address.
                    inside("sysctl -q -w net.ipv6.conf.default.disable_ipv6=1");
                    bench.program("e1").await.unwrap();
                }
                false => {
                    let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
                    make_sandbox();
                    as_docker_moves_it(&name);
                    let record = || std::fs::read_to_string(&bench.records()[0]).unwrap();
                    until(|| record().contains("Settled")).await;
                }
            }
            assert_eq!(shown(SANDBOX), wanted);
            assert_eq!(
                inside("ip route get 10.78.1.1 | head -n 1 | cut -d' ' -f5").trim(),
                "side0"
            );

            inside("ip addr del 10.80.0.2/24 dev over0");
            inside("ip link set side0 down");
            inside("ip link set side0 name mine0");
            inside("ip link set port0 nomaster");
            let check = bench.driver.check(&[], false).await.remove(0);
            let says = check.differences.join("\n");
            for difference in [
                "further interface over0: address 10.80.0.2/24 is missing",
                "further interface side0: interface is down",
                "further interface port0: it is not a port of inner0",
            ] {
                assert!(says.contains(difference), "{difference} is not in {says}");
            }
            inside("ip link set mine0 name side0");
            let check = bench.driver.check(&[], true).await.remove(0);
            assert!(check.is_well(), "{check:?}");
            assert_eq!(shown(SANDBOX), wanted);
            inside("ip link del inner0");
            let check = bench.driver.check(&[], true).await.remove(0);
            assert!(check.is_well(), "{check:?}");
            assert!(check.repaired.join("\n").contains("further interface inner0 is missing"));
            assert_eq!(shown(SANDBOX), wanted);

            // Whatever they are called by then.
            inside("ip link set over0 down");
            inside("ip link set over0 name mine0");
            bench.leave("e1").await;
            let left = inside("ip -o link");
            assert!(!left.contains("mine0") && !left.contains("inner0"), "{left}");
            assert!(sh(&format!("nsenter --net={staging} ip -o link")).contains("over0"));
            bench.delete_endpoint("e1").await;
            bench.assert_nothing_is_left();
            sh(&format!("umount {SANDBOX}; rm {SANDBOX}"));
        }
    });
}

#[test]
fn a_further_link_that_cannot_come_along_is_refused_with_the_reason() {
    alone(async {
        for (commands, reason) in [
            (
                &["ip link add inner type bridge", "ip link set {ifname} master inner"][..],
                "the container's own interface is a port of this bridge",
            ),
            (
                &["ip link add inner type bridge", "ip link add over0 link inner type macvlan"],
                "is made upon a bridge, which the kernel does not move",
            ),
            (&["ip link add eth1 type veth peer name other"], "that Docker gives to interfaces"),
        ] {
            let bench = Bench::with(json!([scripted(json!({"commands": commands}))])).await;
            let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
            assert!(error.contains("further interface") && error.contains(reason), "{error}");
            bench.assert_nothing_is_left();
        }
    });
}

#[test]
fn a_bridge_is_there_for_del_in_a_namespace_that_was_made_anew() {
    alone(async {
        let mut plugin = scripted(json!({"commands": MAKES}));
        plugin["fake"]["DEL"] = json!({"exit": 1});
        let bench = Bench::with(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        let env = &bench.calls()[0]["env"];
        let staging = env["CNI_NETNS"].as_str().unwrap().to_owned();
        let wanted = shown(&staging);
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        // Once more: what is there is not made twice.
        bench.join("e1", SANDBOX).await.unwrap();
        bench.program("e1").await.unwrap();
        assert_eq!(shown(SANDBOX), wanted);
        sh(&format!("umount {staging}; rm {staging}"));
        bench.delete_endpoint("e1").await;
        assert_eq!(shown(&staging), wanted);
    });
}

#[test]
fn a_name_that_the_container_has_already_fails_the_start_and_is_left_alone() {
    alone(async {
        let add = "ip link add side0 type veth peer name side1";
        let bench = Bench::with(json!([scripted(json!({"commands": [add]}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.enter("e1").await;
        inside("ip link add side0 type ifb");
        let error = bench.program("e1").await.unwrap_err().to_string();
        assert!(error.contains("EEXIST"), "{error}");
        bench.leave("e1").await;
        assert!(inside("ip -d link show side0").contains("ifb"));
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}
