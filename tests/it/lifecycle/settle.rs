//! What Docker does not carry over, in the container again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cnm_cni::lifecycle::Driver;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::{
    AS_DOCKER_SETS_IT_UP, Bench, NETWORK, SANDBOX, as_docker_moves_it, inside, make_sandbox, read,
    scripted, until,
};
use crate::alone::{alone, sh};

/// A plugin that leaves more in the container's namespace than Docker can set.
fn elaborate() -> Value {
    let commands = [
        "sysctl -q -w net.ipv4.conf.{ifname}.arp_notify=1",
        "sysctl -q -w net.ipv4.conf.{ifname}.rp_filter=2",
        "sysctl -q -w net.ipv4.ip_unprivileged_port_start=80",
        "ip addr add 10.22.3.8/16 dev {ifname}",
        "ip addr add 192.0.2.7/32 dev {ifname}",
        "ip addr add fd00:22::8/64 dev {ifname} nodad",
        "ip route add 10.96.0.0/12 via 10.22.0.9 src 10.22.3.8 metric 7 mtu 1400",
        "ip route add 10.22.200.1/32 dev {ifname} scope link",
        "ip route add 10.97.0.0/16 nexthop via 10.22.0.1 weight 2 nexthop via 10.22.0.9",
        "ip route add 10.98.0.0/16 via 10.22.0.9 initcwnd 20 quickack 1",
        "ip -6 route add fd97::/64 nexthop via fd00:22::1 weight 3 nexthop via fd00:22::9",
        "ip route add default via 10.22.0.1 table 100",
        "ip -6 route add fd99::/64 via fd00:22::1 dev {ifname}",
        "ip rule add from 10.22.3.8 table 100 priority 1000",
        "ip neigh add 10.22.0.9 lladdr 02:00:00:00:00:99 dev {ifname} nud permanent",
    ];
    scripted(json!({"commands": commands}))
}

/// The network as iproute2 shows it, without what must differ: indexes, and the default route, which is
/// Docker's.
fn network(netns: &str, if_name: &str) -> String {
    let told = sh(&format!(
        "nsenter --net={netns} sh -c '
         ip -o -4 addr show dev {if_name}; ip -o -6 addr show dev {if_name} scope global
         ip -4 route show table all | grep -v default | sort; ip route show table 100; ip -6 route show table all | grep -v fe80 | sort
         ip rule; ip -6 rule; ip neigh show nud permanent
         sysctl net.ipv4.conf.{if_name}.arp_notify net.ipv4.conf.{if_name}.rp_filter
         sysctl net.ipv4.ip_unprivileged_port_start'"
    ));
    let words = |line: &str| {
        let line = line.split_once(": ").filter(|(index, _)| index.parse::<u32>().is_ok());
        line.map(|(_, rest)| rest.to_owned())
    };
    let lines = told.lines().map(|line| words(line).unwrap_or_else(|| line.to_owned()));
    lines.collect::<Vec<_>>().join("\n").replace(if_name, "IFACE").replace("  ", " ")
}

/// What ADD left in staging, before Join.
fn as_add_left_it(bench: &Bench) -> String {
    let env = &bench.calls()[0]["env"];
    let [netns, if_name] = ["CNI_NETNS", "CNI_IFNAME"].map(|key| env[key].as_str().unwrap());
    // The kernel makes the routes of an IPv6 address some time after it has been given.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let network = network(netns, if_name);
        let routes = ["local fd00:22::7 ", "local fd00:22::8 "];
        if routes.iter().all(|route| network.contains(route)) || Instant::now() > deadline {
            return network;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_container_of_docker_28_is_settled_when_program_is_answered() {
    alone(async {
        let bench = Bench::with(json!([elaborate()])).await;
        bench.create_endpoint("e1").await.unwrap();
        let wanted = as_add_left_it(&bench);
        make_sandbox();
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        bench.program("e1").await.expect("nothing to do while the interface is not in place");
        as_docker_moves_it(&name);
        bench.program("e1").await.unwrap();
        pretty(&network(SANDBOX, "eth0"), &wanted);

        inside("ip addr del 10.22.3.8/16 dev eth0");
        bench.program("e1").await.unwrap();
        assert!(!inside("ip addr").contains("10.22.3.8"), "settled once, then the container's own");

        bench.leave("e1").await;
        bench.leave("e1").await;
        assert!(!inside("ip rule").contains("10.22.3.8"), "rules do not go with the interface");
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_container_of_docker_20_is_settled_once_docker_is_done() {
    alone(async {
        let bench = Bench::with(json!([elaborate()])).await;
        bench.create_endpoint("e1").await.unwrap();
        let wanted = as_add_left_it(&bench);
        let joined = bench.join("e1", SANDBOX).await.unwrap();
        bench.program("e1").await.unwrap();

        make_sandbox();
        let name = joined.interface_name.src_name;
        sh(&format!("ip link set {name} netns {SANDBOX}"));
        inside(&format!("ip link set {name} name eth0"));
        inside("ip addr add 10.22.3.7/16 dev eth0");
        inside("ip link set eth0 up");
        // Docker is not done: it got an IPv6 address and routes.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!inside("ip addr").contains("10.22.3.8"), "Docker's own work comes first");
        inside("ip addr add fd00:22::7/64 dev eth0 nodad");
        inside("ip route add default via 10.22.0.1");

        settled(&wanted).await;
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_container_of_docker_20_is_settled_by_a_driver_that_was_started_meanwhile() {
    alone(async {
        // Docker does its part while no driver runs, or while the next one runs.
        for docker_is_first in [true, false] {
            let mut bench = Bench::with(json!([elaborate()])).await;
            bench.create_endpoint("e1").await.unwrap();
            let wanted = as_add_left_it(&bench);
            let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
            bench.driver.drain().await;
            if docker_is_first {
                make_sandbox();
                as_docker_moves_it(&name);
            }
            bench.driver = Driver::open(bench.config.clone()).await.unwrap();
            if !docker_is_first {
                make_sandbox();
                as_docker_moves_it(&name);
            }

            settled(&wanted).await;
            bench.delete_endpoint("e1").await;
            bench.driver.drain().await;
            bench.assert_nothing_is_left();
            sh(&format!("umount {SANDBOX}; rm {SANDBOX}"));
        }
    });
}

/// Waits until the container has what ADD left.
async fn settled(wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while network(SANDBOX, "eth0") != wanted && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pretty(&network(SANDBOX, "eth0"), wanted);
}

#[test]
fn a_namespace_that_is_found_late_is_settled() {
    alone(async {
        let bench = Bench::with(json!([elaborate()])).await;
        bench.create_endpoint("e1").await.unwrap();
        let wanted = as_add_left_it(&bench);
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        // The interface is taken, and its place is unknown.
        make_sandbox();
        sh(&format!("touch /run/aside; mount --bind {SANDBOX} /run/aside; umount {SANDBOX}"));
        sh(&format!("ip link set {name} netns /run/aside"));
        tokio::time::sleep(Duration::from_millis(200)).await;
        sh(&format!("mount --bind /run/aside {SANDBOX}"));
        for step in AS_DOCKER_SETS_IT_UP {
            inside(&format!("ip {}", step.replace("SRC", &name)));
        }
        settled(&wanted).await;
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        sh(&format!("umount {SANDBOX} /run/aside"));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_container_that_came_while_there_were_no_descriptors_is_settled() {
    alone(async {
        let bench = Bench::with(json!([elaborate()])).await;
        bench.create_endpoint("e1").await.unwrap();
        let wanted = as_add_left_it(&bench);
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        let steps = AS_DOCKER_SETS_IT_UP
            .map(|step| format!("nsenter --net={SANDBOX} ip {}\n", step.replace("SRC", &name)));
        let script = format!(
            "read go; touch {SANDBOX}; unshare --net={SANDBOX} ip link set lo up
                 ip link set {name} netns {SANDBOX}\n{}echo done",
            steps.concat()
        );
        let mut docker = Command::new("sh")
            .args(["-ec", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut go, done) = (docker.stdin.take().unwrap(), docker.stdout.take().unwrap());
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
        go.write_all(b"go\n").unwrap();
        assert_eq!(BufReader::new(done).lines().next().unwrap().unwrap(), "done");
        tokio::time::sleep(Duration::from_millis(300)).await;
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert!(docker.wait().unwrap().success());
        settled(&wanted).await;
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_endpoint_that_docker_asks_about_too_early_is_settled_later() {
    alone(async {
        let bench = Bench::with(json!([elaborate()])).await;
        bench.create_endpoint("e1").await.unwrap();
        let wanted = as_add_left_it(&bench);
        make_sandbox();
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        bench.program("e1").await.unwrap();
        as_docker_moves_it(&name);
        settled(&wanted).await;
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_container_whose_interface_is_gone_does_not_start() {
    alone(async {
        let bench = Bench::with(json!([elaborate()])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.enter("e1").await;
        inside("ip link del eth0");
        let error = bench.program("e1").await.unwrap_err().to_string();
        assert!(error.contains("is gone"), "{error}");
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_setting_of_the_users_stays_whatever_the_chain_has_set() {
    alone(async {
        let commands = [
            "sysctl -q -w net.core.somaxconn=611",
            "sysctl -q -w net.ipv4.tcp_retries2=7",
            "sysctl -q -w net.ipv4.ip_unprivileged_port_start=80",
            "sysctl -q -w net.ipv4.conf.{ifname}.arp_filter=1",
            "sysctl -q -w net.ipv4.conf.{ifname}.arp_ignore=1",
            "sysctl -q -w net.ipv4.conf.{ifname}.arp_announce=1",
        ];
        let bench = Bench::with(json!([scripted(json!({"commands": commands}))])).await;
        let option = "com.docker.network.endpoint.sysctls";
        let options = json!({option: "net.ipv4.conf.IFNAME.arp_filter=0"});
        let request = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {},
                             "Options": options});
        bench.driver.create_endpoint(read(request)).await.unwrap();
        make_sandbox();
        // The user's by --sysctl, and what Docker sets in every container.
        inside("sysctl -q -w net.core.somaxconn=2048 net.ipv4.ip_unprivileged_port_start=0");
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        as_docker_moves_it(&name);
        inside("sysctl -q -w net.ipv4.conf.eth0.arp_ignore=2");
        bench.program("e1").await.unwrap();
        let has = [
            ("net.core.somaxconn", "2048"),
            ("net.ipv4.tcp_retries2", "7"),
            ("net.ipv4.ip_unprivileged_port_start", "80"),
            ("net.ipv4.conf.eth0.arp_filter", "0"),
            ("net.ipv4.conf.eth0.arp_ignore", "2"),
            ("net.ipv4.conf.eth0.arp_announce", "1"),
        ];
        for (setting, value) in has {
            assert_eq!(inside(&format!("sysctl -n {setting}")).trim(), value, "{setting}");
        }
        let checks = bench.driver.check(&[], false).await;
        assert!(checks[0].is_well(), "{checks:?}");
        // From here on the owner of the settings is known.
        inside("sysctl -q -w net.core.somaxconn=611 net.ipv4.conf.eth0.arp_filter=1");
        let told = bench.driver.check(&[], true).await.remove(0).repaired;
        assert_eq!(
            told,
            [
                "sysctl net/core/somaxconn is 611, not 2048",
                "sysctl net/ipv4/conf/eth0/arp_filter is 1, not 0"
            ]
        );
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_setting_that_docker_20_sets_after_settling_is_the_users_too() {
    alone(async {
        let commands = ["sysctl -q -w net.core.somaxconn=611"];
        let bench = Bench::with(json!([scripted(json!({"commands": commands}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        bench.program("e1").await.unwrap();
        make_sandbox();
        as_docker_moves_it(&name);
        let record = || fs::read_to_string(&bench.records()[0]).unwrap();
        until(|| record().contains("Settled")).await;
        let somaxconn = || inside("sysctl -n net.core.somaxconn").trim().to_owned();
        assert_eq!(somaxconn(), "611");
        inside("sysctl -q -w net.core.somaxconn=2048");
        let check = bench.driver.check(&[], true).await.remove(0);
        assert!(check.is_well() && check.repaired.is_empty(), "{check:?}");
        assert_eq!(somaxconn(), "2048");
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_setting_that_no_interface_has_is_refused_before_the_container_starts() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        let option = "com.docker.network.endpoint.sysctls";
        let request = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {},
                "Options": {option: "net.ipv4.conf.IFNAME.arp_filtre=0"}});
        bench.driver.create_endpoint(read(request)).await.unwrap();
        let error = bench.join("e1", SANDBOX).await.unwrap_err().to_string();
        assert!(error.contains("net/ipv4/conf/IFNAME/arp_filtre"), "{error}");
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_ipv6_gateway_that_docker_left_out_is_the_default_route_where_there_is_no_other() {
    alone(async {
        let plugin = scripted(json!({
            "addresses": ["fd00:22::7/64"],
            "gateway": "fd00:22::1",
            "routes": [{"dst": "::/0", "gw": "fd00:22::1"}],
        }));
        let bench = Bench::with(json!([plugin])).await;
        let defaults = || inside("ip -6 route show default");
        for other in [None, Some("ip -6 route add default dev lo metric 9")] {
            bench.create_endpoint("e1").await.unwrap();
            let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
            make_sandbox();
            other.map(inside);
            sh(&format!("ip link set {name} netns {SANDBOX}"));
            inside(&format!("ip link set {name} name eth0"));
            inside("ip addr add fd00:22::7/64 dev eth0 nodad");
            inside("ip link set eth0 up");
            let record = || fs::read_to_string(&bench.records()[0]).unwrap();
            until(|| record().contains("Settled")).await;
            let routes = defaults();
            match other {
                None => assert!(routes.contains("default via fd00:22::1 dev eth0"), "{routes}"),
                Some(_) => assert!(routes.contains("dev lo"), "{routes}"),
            }
            assert_eq!(routes.lines().count(), 1, "{routes}");
            let checks = bench.driver.check(&[], false).await;
            assert!(checks[0].is_well(), "{checks:?}");
            if other.is_none() {
                inside("ip -6 route del default");
                let repaired = bench.driver.check(&[], true).await.remove(0).repaired;
                assert!(repaired[0].starts_with("route default via fd00:22::1"), "{repaired:?}");
                assert!(defaults().contains("default via fd00:22::1 dev eth0"));
            }
            bench.leave("e1").await;
            bench.delete_endpoint("e1").await;
            sh(&format!("umount {SANDBOX}; rm {SANDBOX}"));
        }
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn the_addresses_of_a_container_are_announced_three_times() {
    alone(async {
        let mut plugin = elaborate();
        plugin["fake"]["host_addresses"] = json!(["10.22.0.1/16", "fd00:22::1/64"]);
        let bench = Bench::with(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        let end = sh("ls /sys/class/net | grep fake").trim().to_owned();
        let addresses = ["10.22.3.7", "10.22.3.8", "192.0.2.7", "fd00:22::7", "fd00:22::8"];
        const OLD: &str = "02:00:00:00:00:77";
        let forget = || {
            for address in addresses {
                sh(&format!("ip neigh replace {address} lladdr {OLD} dev {end} nud stale"));
            }
        };
        let known = || sh(&format!("ip neigh show dev {end}"));
        bench.enter("e1").await;
        // The kernel takes its time to see that the other end is up.
        until(|| !inside("ip link show eth0").contains("NO-CARRIER")).await;
        forget();
        let asked = Instant::now();
        bench.program("e1").await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1), "nothing waits for it");
        let eth0 = inside("ip -o link show eth0");
        let mac = eth0.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        for _ in 0..3 {
            until(|| known().matches(mac).count() == addresses.len()).await;
            forget();
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(known().matches(OLD).count(), addresses.len(), "three times are enough");

        // What is put back is announced, too.
        inside("ip addr del 10.22.3.8/16 dev eth0");
        assert_eq!(bench.driver.check(&[], true).await[0].differences, [] as [&str; 0]);
        until(|| known().matches(mac).count() == addresses.len()).await;
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn del_finds_all_that_add_left() {
    alone(async {
        let mut plugin = elaborate();
        // Looked at from the outside, before it is removed.
        plugin["fake"]["DEL"] = json!({"sleep_ms": 1500});
        let bench = Bench::with(json!([plugin])).await;
        bench.create_endpoint("e1").await.unwrap();
        let wanted = as_add_left_it(&bench);
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        let looking = async {
            let deadline = Instant::now() + Duration::from_secs(5);
            while bench.verbs() != ["ADD", "DEL"] && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            as_add_left_it(&bench)
        };
        let ((), found) = tokio::join!(bench.delete_endpoint("e1"), looking);
        pretty(&found, &wanted);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn routes_to_the_same_destination_stay_beside_each_other_in_their_order() {
    alone(async {
        // As plugins make them: the second is put before the first, and one to the subnet
        // before the kernel's.
        let commands = [
            "ip route add 10.98.0.0/16 via 10.22.0.8 dev {ifname}",
            "ip route prepend 10.98.0.0/16 via 10.22.0.9 dev {ifname}",
            "ip route prepend 10.22.0.0/16 via 10.22.0.1 dev {ifname}",
            "ip route add fd00:98::/64 via fd00:22::8 dev {ifname}",
            "ip route append fd00:98::/64 via fd00:22::9 dev {ifname}",
        ];
        let bench = Bench::with(json!([scripted(json!({"commands": commands}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        let routes = |netns: &str, if_name: &str| {
            let inside = format!("nsenter --net={netns} ip");
            let gateways = "show fd00:98::/64 | sort";
            let all = sh(&format!("{inside} -4 route; {inside} -6 route {gateways}"));
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            let but_dockers = all.lines().filter(|line| !line.starts_with("default"));
            but_dockers.map(words).collect::<Vec<_>>().join("\n").replace(if_name, "IFACE")
        };
        let env = &bench.calls()[0]["env"];
        let [staging, if_name] = ["CNI_NETNS", "CNI_IFNAME"].map(|key| env[key].as_str().unwrap());
        let wanted = routes(staging, if_name);
        assert_eq!(wanted.lines().count(), 7, "{wanted}");
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        pretty(&routes(SANDBOX, "eth0"), &wanted);
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_route_over_objects_of_the_kernels_is_made_over_the_same_gateways_without_them() {
    alone(async {
        let commands = [
            "ip nexthop add id 7 via 10.22.0.8 dev {ifname}",
            "ip nexthop add id 8 via 10.22.0.9 dev {ifname}",
            "ip nexthop add id 9 group 7,3/8",
            "ip nexthop add id 17 via fd00:22::8 dev {ifname}",
            "ip route add 10.98.0.0/16 nhid 7 metric 5",
            "ip route add 10.99.0.0/16 nhid 9",
            "ip -6 route add fd00:98::/64 nhid 17",
        ];
        let bench = Bench::with(json!([scripted(json!({"commands": commands}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        let routes = sh(&format!("nsenter --net={SANDBOX} sh -c 'ip -o route; ip -6 -o route'"));
        for route in [
            "10.98.0.0/16 via 10.22.0.8 dev eth0 metric 5",
            "nexthop via 10.22.0.8 dev eth0 weight 3 ",
            "nexthop via 10.22.0.9 dev eth0 weight 1 ",
            "fd00:98::/64 via fd00:22::8 dev eth0 ",
        ] {
            assert!(routes.contains(route), "{route} is not in {routes}");
        }
        assert!(!routes.contains("nhid"), "{routes}");
        let check = bench.driver.check(&[], false).await.remove(0);
        assert!(check.is_well(), "{check:?}");
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_container_that_cannot_be_settled_does_not_start() {
    alone(async {
        let bench = Bench::with(json!([elaborate()])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.enter("e1").await;
        inside("ip route del 10.22.0.0/16 dev eth0");
        let error = bench.program("e1").await.unwrap_err().to_string();
        assert!(error.contains("over 10.22.0.9 on link"), "{error}");
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

/// As with `--sysctl net.ipv6.conf.all.disable_ipv6=1`, which Docker before 28 sets when it is done with the network.
#[test]
fn ipv6_that_is_turned_off_when_docker_is_done_is_not_missed() {
    alone(async {
        let off = || inside("sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1");
        for is_settled in [false, true] {
            let bench = Bench::with(json!([elaborate()])).await;
            bench.create_endpoint("e1").await.unwrap();
            if is_settled {
                let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
                make_sandbox();
                as_docker_moves_it(&name);
                let record = || fs::read_to_string(&bench.records()[0]).unwrap();
                until(|| record().contains("Settled")).await;
                off();
            } else {
                bench.enter("e1").await;
                off();
                bench.program("e1").await.unwrap();
            }
            let network = inside("sh -c 'ip addr show dev eth0; ip route'");
            for wanted in ["10.22.3.8/16", "10.96.0.0/12"] {
                assert!(network.contains(wanted), "{network}");
            }
            let check = bench.driver.check(&[], false).await.remove(0);
            assert!(check.is_well(), "{check:?}");
            bench.leave("e1").await;
            bench.delete_endpoint("e1").await;
            bench.driver.drain().await;
            bench.assert_nothing_is_left();
            sh(&format!("umount {SANDBOX}; rm {SANDBOX}"));
        }
    });
}

#[test]
fn ipv6_that_is_turned_off_before_docker_is_seen_to_be_done_is_not_waited_for() {
    alone(async {
        let bench = Bench::with(json!([elaborate()])).await;
        bench.create_endpoint("e1").await.unwrap();
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        make_sandbox();
        sh(&format!("ip link set {name} netns {SANDBOX}"));
        for step in AS_DOCKER_SETS_IT_UP {
            match step.contains("fd00:") {
                true => inside("sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1"),
                false => inside(&format!("ip {}", step.replace("SRC", &name))),
            };
        }
        // Docker has ten seconds for an address that is to come.
        let record = || fs::read_to_string(&bench.records()[0]).unwrap();
        let settled = until(|| record().contains("Settled"));
        tokio::time::timeout(Duration::from_secs(8), settled).await.expect("no wait for IPv6");
        let check = bench.driver.check(&[], false).await.remove(0);
        assert!(check.is_well(), "{check:?}");
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        bench.driver.drain().await;
        bench.assert_nothing_is_left();
    });
}

/// As with `--network name=web,driver-opt=com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.disable_ipv6=1`.
#[test]
fn a_container_whose_user_turned_ipv6_off_has_all_but_that() {
    alone(async {
        // Docker may have chosen the addresses itself.
        let both = json!({"Address": "10.22.3.7/16", "AddressIPv6": "fd00:22::7/64"});
        for chosen in [json!({}), both] {
            let bench = Bench::with(json!([elaborate()])).await;
            let off = "net.ipv6.conf.IFNAME.disable_ipv6=1";
            let options = json!({"com.docker.network.endpoint.sysctls": off});
            let request = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": chosen,
                                 "Options": options});
            let created = bench.driver.create_endpoint(read(request)).await.unwrap();
            assert_eq!(created.interface.address_ipv6, None);
            make_sandbox();
            let joined = bench.join("e1", SANDBOX).await.unwrap();
            assert_eq!(joined.gateway_ipv6, None);
            assert!(joined.static_routes.iter().all(|route| route.destination.addr().is_ipv4()));
            as_docker_moves_it(&joined.interface_name.src_name);
            inside("sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1");
            bench.program("e1").await.unwrap();
            let network = inside("sh -c 'ip addr show dev eth0; ip route; ip -6 route'");
            assert!(
                network.contains("10.22.3.8/16") && network.contains("10.96.0.0/12"),
                "{network}"
            );
            assert!(!network.contains("fd00:22::") && !network.contains("fd99::"), "{network}");
            let check = bench.driver.check(&[], false).await.remove(0);
            assert!(check.is_well(), "{check:?}");
            bench.leave("e1").await;
            bench.delete_endpoint("e1").await;
            // DEL finds the addresses that ADD gave.
            let live = bench.calls().pop().unwrap()["live"].to_string();
            assert!(live.contains("10.22.3.8/16") && live.contains("fd00:22::8/64"), "{live}");
            bench.assert_nothing_is_left();
            sh(&format!("umount {SANDBOX}; rm {SANDBOX}"));
        }
    });
}

#[test]
fn what_a_container_did_to_its_interface_does_not_disturb_del() {
    alone(async {
        let bench = Bench::with(json!([elaborate()])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        // Too small for IPv6, which the kernel then takes away from the interface.
        inside("ip link set eth0 mtu 1000");
        bench.delete_endpoint("e1").await;
        let live = bench.calls().pop().unwrap()["live"].to_string();
        assert!(live.contains("10.22.3.8/16") && live.contains("fd00:22::8/64"), "{live}");
        bench.assert_nothing_is_left();
    });
}

/// Compares line by line, so that a difference can be read.
#[track_caller]
fn pretty(actual: &str, wanted: &str) {
    let (actual, wanted): (Vec<_>, Vec<_>) = (actual.lines().collect(), wanted.lines().collect());
    let missing: Vec<_> = wanted.iter().filter(|line| !actual.contains(line)).collect();
    let extra: Vec<_> = actual.iter().filter(|line| !wanted.contains(line)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}\nextra {extra:#?}");
}
