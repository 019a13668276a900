//! Docker's flags that concern a driver little or not at all.

use std::time::Duration;

use super::host::{Host, Suite, answers, within};
use super::{BRIDGE, ConfFile, and_on_docker_26_1, on_a_host, on_both_dockers};

const CREATE: [&str; 4] = ["network", "create", "-d", "cni"];
const NULL: [&str; 2] = ["--ipam-driver", "null"];

on_both_dockers! {
    every_flag_of_dockers_is_in_the_table,
    flags_that_never_reach_a_driver,
    a_network_takes_its_options_from_another,
    swarm_is_refused,
    a_node_of_a_swarm_keeps_its_own_networks,
    a_link_local_address_is_dockers_to_set,
    a_sysctl_of_the_users_reaches_the_container,
    a_sysctl_of_the_users_wins_over_the_chains,
}

and_on_docker_26_1! {
    every_flag_of_dockers_is_in_the_table,
    swarm_is_refused,
    a_node_of_a_swarm_keeps_its_own_networks,
    a_sysctl_of_the_users_wins_over_the_chains,
}

const TABLE: &str = include_str!("../../../docs/docker-features.md");

fn every_flag_of_dockers_is_in_the_table(suite: Suite) {
    let host = Host::up(suite);
    let missing = |command: &str, is_meant: &dyn Fn(&str) -> bool| {
        let title = format!("\n## docker {command}\n");
        let after = TABLE.split_once(&title).unwrap_or_else(|| panic!("no {title:?}")).1;
        let section = after.split("\n## ").next().unwrap();
        let is_told =
            |flag: &str| section.split(flag).skip(1).any(|rest| rest.starts_with([' ', '`', '=']));
        let help = host.docker(&command.split(' ').chain(["--help"]).collect::<Vec<_>>());
        let flags = flags(&help);
        assert!(flags.len() > 4, "{help}");
        let meant = flags.into_iter().filter(|(flag, told)| flag != "--help" && is_meant(told));
        meant.map(|(flag, _)| flag).filter(|flag| !is_told(flag)).collect::<Vec<_>>()
    };
    for command in ["network create", "network connect"] {
        assert_eq!(missing(command, &|_| true), [] as [String; 0], "docker {command}");
    }
    // The rest of them do not concern a network.
    const WORDS: [&str; 11] = [
        "network", "dns", "port", "ports", "ip", "ipv4", "ipv6", "mac", "link", "domain", "sysctl",
    ];
    let of_network = |told: &str| {
        let told = told.to_lowercase();
        let mut words = told.split(|c: char| !c.is_ascii_alphanumeric());
        told.contains("host name") || words.any(|word| WORDS.contains(&word))
    };
    assert_eq!(missing("run", &of_network), [] as [String; 0], "docker run");
}

/// Each flag of a command by its long name, with its help text.
fn flags(help: &str) -> Vec<(String, String)> {
    let mut flags = Vec::<(String, String)>::new();
    for line in help.lines().map(str::trim_start) {
        let long = line.split(' ').find(|word| word.starts_with("--"));
        match long.filter(|_| line.starts_with('-')) {
            Some(flag) => flags.push((flag.to_owned(), line.to_owned())),
            // The line before goes on.
            None => flags.iter_mut().last().into_iter().for_each(|(_, told)| *told += line),
        }
    }
    flags
}

fn flags_that_never_reach_a_driver(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        let flags = ["--ipam-opt", "a=b", "--attachable", "--scope", "local", "web"];
        host.docker(&[&CREATE[..], &NULL, &flags].concat());
        host.run("alice", "web", &[]);
        host.ping("alice", "10.201.0.1").unwrap();
        host.docker(&["network", "disconnect", "--force", "web", "alice"]);
        host.remove(&["alice"], &["web"]);
    });
}

fn a_network_takes_its_options_from_another(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        let mtu = "com.docker.network.driver.mtu=1350";
        let config = ["network", "create", "--config-only", "-o", "conflist=cni-bridge", "-o", mtu];
        host.docker(&[&config[..], &NULL, &["template"]].concat());
        host.docker(&[&CREATE[..], &["--config-from", "template", "web"]].concat());
        host.run("alice", "web", &[]);
        let mtu = host.docker(&["exec", "alice", "cat", "/sys/class/net/eth0/mtu"]);
        assert_eq!(mtu, "1350");
        host.remove(&["alice"], &["web", "template"]);
    });
}

fn swarm_is_refused(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        let error = host.docker_refuses(&[&CREATE[..], &["--scope", "swarm", "web"]].concat());
        assert!(error.contains("swarm"), "{error}");
        let error = host.docker_refuses(&[&CREATE[..], &["--ingress", "web"]].concat());
        assert!(error.to_lowercase().contains("swarm") || error.contains("ngress"), "{error}");
    });
}

fn a_node_of_a_swarm_keeps_its_own_networks(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.docker(&["swarm", "init", "--advertise-addr", &host.address()]);
        let error = host.docker_refuses(&[&CREATE[..], &["--scope", "swarm", "all"]].concat());
        assert!(error.contains("legacy plugin cni of type NetworkDriver"), "{error}");
        host.create_network("web", Some("cni-bridge"));
        host.run("alice", "web", &["-p", "8080:80"]);
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice"], &["web"]);
        host.docker(&["swarm", "leave", "--force"]);
    });
}

fn a_link_local_address_is_dockers_to_set(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.docker(
            &[&CREATE[..], &["--subnet", "10.201.0.0/24", "--gateway", "10.201.0.1", "web"]]
                .concat(),
        );
        host.run("alice", "web", &["--link-local-ip", "169.254.77.7"]);
        host.run("bob", "web", &[]);
        let addresses = host.docker(&["exec", "alice", "ip", "-o", "address"]);
        assert!(addresses.contains(" 169.254.77.7/16 "), "{addresses}");
        answers("alice", || host.get_in("bob", "http://alice/"));
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn a_sysctl_of_the_users_reaches_the_container(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["--sysctl", "net.ipv4.ip_default_ttl=42"]);
        let ttl = host.docker(&["exec", "alice", "cat", "/proc/sys/net/ipv4/ip_default_ttl"]);
        assert_eq!(ttl, "42");

        // IPv6 is off at one interface.
        let option = "com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.disable_ipv6=1";
        host.run("bob", &format!("name=web,driver-opt={option}"), &[]);
        // Before Docker 28 the container may be a moment ahead.
        let checked = || host.try_exec(&["cnm-cni", "check"]);
        assert!(within(Duration::from_secs(5), || checked().is_ok()), "{:?}", checked());
        assert!(!has_ipv6(host, "bob", "web"));
        answers("alice", || host.get_in("bob", "http://alice/"));
        host.remove(&["alice", "bob"], &["web"]);

        // Or in the whole container; or, with Docker before 28, at the interface once it is there. These do both
        // behind the network's back, and believe that there is an IPv6 address.
        let pools = ["--subnet", "10.71.0.0/24", "--ipv6", "--subnet", "fd00:71::/64"];
        let own = ["-o", "conflist=cnm-cni-default", "six"];
        host.docker(&[&CREATE[..], &pools, &own].concat());
        host.run("dave", "six", &[]);
        let off = match suite == Suite::Forky {
            true => &[("carol", "all")][..],
            false => &[("carol", "all"), ("erin", "eth0")],
        };
        for (name, interface) in off {
            let sysctl = format!("net.ipv6.conf.{interface}.disable_ipv6=1");
            host.run(name, "six", &["--sysctl", &sysctl]);
            for _ in 0..2 {
                let checked = || host.try_exec(&["cnm-cni", "check", name]).unwrap_or_default();
                let is_well = || checked().contains("ok       as ADD left it");
                assert!(within(Duration::from_secs(5), is_well), "{}", checked());
                let shown =
                    host.docker(&["exec", name, "ip", "-6", "address", "show", "dev", "eth0"]);
                assert_eq!(shown, "");
                let address = host.endpoint(name, "six")["IPAddress"].clone();
                host.ping("dave", address.as_str().unwrap()).unwrap();
                host.docker(&["stop", "--time", "0", name]);
                host.docker(&["start", name]);
            }
        }
        assert!(has_ipv6(host, "dave", "six"));
        if suite == Suite::Forky {
            assert!(!has_ipv6(host, "carol", "six"));
        }
        let names = off.iter().map(|(name, _)| *name).chain(["dave"]).collect::<Vec<_>>();
        host.remove(&names, &["six"]);
    });
}

/// Whether a container has an IPv6 address, of which Docker knows.
#[track_caller]
fn has_ipv6(host: &Host, container: &str, network: &str) -> bool {
    let shown = host.docker(&["exec", container, "ip", "-6", "address", "show", "scope", "global"]);
    let is_known = host.endpoint(container, network)["GlobalIPv6Address"] != "";
    assert_eq!(shown.contains("eth0"), is_known, "{shown}");
    is_known
}

/// A chain whose settings a user may want to change.
const TUNED: ConfFile<'_> = (
    "20-tuned.conflist",
    r#"{
        "cniVersion": "1.0.0",
        "name": "tuned",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "tuned0",
                "isDefaultGateway": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.95.0.0/24"}]]}
            },
            {
                "type": "tuning",
                "sysctl": {
                    "net.core.somaxconn": "611",
                    "net.ipv4.tcp_retries2": "7",
                    "net.ipv4.conf.IFNAME.arp_filter": "1",
                    "net.ipv4.conf.IFNAME.arp_ignore": "1"
                }
            }
        ]
    }"#,
);

fn a_sysctl_of_the_users_wins_over_the_chains(suite: Suite) {
    on_a_host(suite, &[TUNED], |host| {
        host.create_network("web", None);
        let option = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.arp_filter=0";
        let network = format!("name=web,driver-opt={option}");
        host.run("alice", &network, &["--sysctl", "net.core.somaxconn=2048"]);
        let values = || {
            let settings = [
                "core/somaxconn",
                "ipv4/tcp_retries2",
                "ipv4/conf/eth0/arp_filter",
                "ipv4/conf/eth0/arp_ignore",
            ];
            let files = settings.map(|setting| format!("/proc/sys/net/{setting}"));
            let files: Vec<_> = files.iter().map(String::as_str).collect();
            host.docker(&[&["exec", "alice", "cat"], &files[..]].concat()).replace('\n', " ")
        };
        // Before Docker 28 the container may be a moment ahead.
        assert!(within(Duration::from_secs(5), || values() == "2048 7 0 1"), "{}", values());
        // What is settled last may be a moment behind them.
        let told = || host.try_exec(&["cnm-cni", "check", "alice"]).unwrap_or_default();
        let is_well = || told().contains("ok       as ADD left it");
        assert!(within(Duration::from_secs(5), is_well), "{}", told());
        host.remove(&["alice"], &["web"]);
    });
}
