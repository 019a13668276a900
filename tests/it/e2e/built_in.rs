//! The built-in network of a host without conflists: it does the same as Docker's own bridge networks, line
//! for line.

use std::cell::Cell;

use super::host::{Host, IMAGE, Suite, answers};
use super::{and_on_docker_26_1, leaves_nothing, on_a_host, on_both_dockers};

on_both_dockers! {
    the_bare_command_makes_what_dockers_bridge_driver_makes,
    a_network_without_dockers_addresses_has_a_subnet_of_its_own,
    every_way_to_choose_addresses_works,
    isolation_is_said_otherwise_by_an_option,
    what_dockers_bridge_driver_is_told_is_heard,
}

and_on_docker_26_1! {
    the_bare_command_makes_what_dockers_bridge_driver_makes,
    every_way_to_choose_addresses_works,
}

/// What a user sees of two networks of a driver, `web` and `shop`, and of one of Docker's own networks.
fn seen(host: &Host, driver: &str) -> Vec<String> {
    let create = |name: &str, driver: &str, more: &[&str]| {
        host.docker(&[&["network", "create", "-d", driver], more, &[name]].concat());
    };
    create("web", driver, &[]);
    let both = ["--subnet", "10.51.0.0/24", "--ipv6", "--subnet", "fd51::/64"];
    create("shop", driver, &both);
    create("docks", "bridge", &["--subnet", "10.52.0.0/24", "--ipv6", "--subnet", "fd52::/64"]);
    host.run("alice", "web", &["-p", "8080:80"]);
    host.run("bob", "web", &[]);
    host.run("carol", "shop", &["--ip", "10.51.0.77", "--ip6", "fd51::77", "-p", "8081:80"]);
    host.run("dave", "shop", &[]);
    host.run("erin", "docks", &["-p", "8082:80"]);
    for name in ["alice", "carol", "erin"] {
        let port = ["alice", "carol", "erin"].iter().position(|it| *it == name).unwrap();
        answers(name, || host.get_from_outside(8080 + u16::try_from(port).unwrap()));
    }
    let mut lines = Vec::new();
    let mut line = |what: String, outcome: bool| {
        lines.push(format!("{what}: {}", if outcome { "yes" } else { "no" }));
    };
    let address = |name: &str, network: &str, field: &str| {
        host.endpoint(name, network)[field].as_str().unwrap().to_owned()
    };
    let alice = address("alice", "web", "IPAddress");
    let erin = address("erin", "docks", "IPAddress");
    let erin_6 = address("erin", "docks", "GlobalIPv6Address");
    let pings = |from: &str, to: &str| {
        host.try_exec(&["docker", "exec", from, "ping", "-c", "1", "-W", "1", to]).is_ok()
    };
    let reaches = [
        ("bob", "alice", "by name", "alice"),
        ("bob", "alice", "by address", &alice),
        ("dave", "carol", "by name", "carol"),
        ("dave", "carol", "by IPv6", "fd51::77"),
        ("alice", "the world", "by address", &host.machine()),
        ("alice", "carol", "by name", "carol"),
        ("alice", "carol", "by address", "10.51.0.77"),
        ("carol", "alice", "by address", &alice),
        ("alice", "Docker's erin", "by address", &erin),
        ("erin", "alice", "by address", &alice),
        ("erin", "carol", "by IPv6", "fd51::77"),
        ("carol", "Docker's erin", "by IPv6", &erin_6),
    ];
    for (from, whom, how, to) in reaches {
        line(format!("{from} reaches {whom} {how}"), pings(from, to));
    }
    for from in ["alice", "carol", "erin"] {
        for (port, whom) in [(8080, "alice"), (8081, "carol"), (8082, "erin")] {
            let page = host.get_in(from, &format!("http://{}:{port}/", host.address()));
            let reached = page.is_ok_and(|page| page.trim() == whom);
            line(format!("{from} gets {whom}'s published port"), reached);
        }
    }
    let inside = |container: &str, what: &str| {
        host.docker(&["exec", container, "ip", what]).contains("default via ")
    };
    line("alice has a default route".into(), inside("alice", "route"));
    let carol = host.docker(&["exec", "carol", "ip", "-o", "address"]);
    line("carol has --ip".into(), carol.contains(" 10.51.0.77/24 "));
    line("carol has --ip6".into(), carol.contains(" fd51::77/64 "));
    host.docker(&["network", "connect", "shop", "alice"]);
    line("alice, connected, reaches carol by address".into(), pings("alice", "10.51.0.77"));
    host.docker(&["network", "disconnect", "shop", "alice"]);
    line("alice, disconnected, reaches carol by address".into(), pings("alice", "10.51.0.77"));
    let in_use = host.docker_refuses(&["network", "rm", "web"]);
    line("a network in use is not removed".into(), in_use.contains("active endpoints"));
    host.remove(&["alice", "bob", "carol", "dave", "erin"], &["web", "shop", "docks"]);
    let links = host.exec(&["ip", "-brief", "link", "show", "type", "bridge"]);
    line("a bridge is left".into(), links.lines().any(|link| !link.starts_with("docker0 ")));
    lines
}

const EXPECTED: &str = "\
bob reaches alice by name: yes
bob reaches alice by address: yes
dave reaches carol by name: yes
dave reaches carol by IPv6: yes
alice reaches the world by address: yes
alice reaches carol by name: no
alice reaches carol by address: no
carol reaches alice by address: no
alice reaches Docker's erin by address: no
erin reaches alice by address: no
erin reaches carol by IPv6: no
carol reaches Docker's erin by IPv6: no
alice gets alice's published port: yes
alice gets carol's published port: yes
alice gets erin's published port: yes
carol gets alice's published port: yes
carol gets carol's published port: yes
carol gets erin's published port: yes
erin gets alice's published port: yes
erin gets carol's published port: yes
erin gets erin's published port: yes
alice has a default route: yes
carol has --ip: yes
carol has --ip6: yes
alice, connected, reaches carol by address: yes
alice, disconnected, reaches carol by address: no
a network in use is not removed: yes
a bridge is left: no";

fn the_bare_command_makes_what_dockers_bridge_driver_makes(suite: Suite) {
    let host = Host::up(suite);
    if suite != Suite::Forky {
        // Docker before 27 isolates IPv6 only on request.
        host.stop_dockerd("TERM");
        host.start_dockerd(&["--experimental", "--ip6tables"]);
    }
    assert!(!host.path("/etc/cni/net.d").exists());
    assert_eq!(seen(&host, "bridge").join("\n"), EXPECTED, "Docker's own");
    host.start_driver();
    let times = Cell::new(0);
    leaves_nothing(&host, |host| {
        assert_eq!(seen(host, "cni").join("\n"), EXPECTED, "{} scenes before", times.get());
        times.set(times.get() + 1);
        if times.get() == 1 {
            // From now on the table filter accepts everything, and filtering of bridged frames is switched
            // on or off.
            forward(host, "ACCEPT");
            let frames = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            if host.path(frames).exists() {
                let flip = format!("echo $((1 - $(cat {frames}))) >{frames}");
                host.exec(&["sh", "-c", &flip]);
            }
        }
    });
    if suite == Suite::Forky {
        // A host without iptables: the reference plugins use nft from version 1.6 on.
        host.stop_driver("TERM");
        host.exec(&["mkdir", "/root/bin"]);
        host.exec(&["ln", "-s", "/usr/sbin/nft", "/root/bin/"]);
        let serve = ["env", "PATH=/root/bin", "/usr/local/bin/cnm-cni", "serve"];
        host.start("cnm-cni", &serve);
        assert_eq!(seen(&host, "cni").join("\n"), EXPECTED, "without iptables");
        let tables = host.exec(&["nft", "list", "tables"]);
        assert!(!tables.contains("cnm_cni"), "{tables}");
    }
}

fn forward(host: &Host, policy: &str) {
    for program in ["iptables", "ip6tables"] {
        host.exec(&[program, "-P", "FORWARD", policy]);
    }
}

fn a_network_without_dockers_addresses_has_a_subnet_of_its_own(suite: Suite) {
    on_a_host(suite, &[], |host| {
        // The host uses the subnet that would be chosen first.
        host.exec(&["ip", "route", "add", "blackhole", "10.233.144.0/25"]);
        host.create_network("by-default", None);
        host.create_network("by-name", Some("cnm-cni-default"));
        host.run("alice", "by-default", &["-p", "8080:80"]);
        host.run("bob", "by-name", &[]);
        let address = |name: &str, network: &str| {
            host.endpoint(name, network)["IPAddress"].as_str().unwrap().to_owned()
        };
        let alice = address("alice", "by-default");
        assert!(alice.starts_with("10.233.145."), "{alice}");
        assert!(address("bob", "by-name").starts_with("10.233.146."));
        assert!(host.ping("bob", &alice).is_err());
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        answers("alice", || host.get_from_outside(8080));
        let shown = host.exec(&["cnm-cni", "net", "by-default"]);
        for line in ["built in", "isolated   yes", "10.233.145.0/24"] {
            assert!(shown.contains(line), "no {line:?} in: {shown}");
        }
        // Its chain is in no file, and nothing is amiss with that; nor before a container's first start.
        host.docker(&["create", "--name", "late", "--network", "by-default", IMAGE]);
        for question in
            ["status", "doctor --ping", "check", "pools cni$(docker network ls -qf name=by-name)"]
        {
            host.exec(&["sh", "-c", &format!("cnm-cni {question}")]);
        }
        let late = host.try_exec(&["cnm-cni", "doctor", "late"]).unwrap_err();
        assert!(late.contains("docker start late") && late.contains("1 thing found"), "{late}");
        let network: serde_json::Value =
            serde_json::from_str(&host.exec(&["cnm-cni", "net", "by-name", "--format=json"]))
                .unwrap();
        assert_eq!(network[0]["plugins"], serde_json::json!(["bridge", "portmap"]), "{network}");
        assert_eq!((&network[0]["usable"], &network[0]["file"]), (&true.into(), &().into()));
        // After a kill the bridge goes all the same.
        host.docker(&["rm", "-f", "alice", "bob", "late"]);
        host.stop_driver("KILL");
        host.start_driver();
        host.docker(&["network", "rm", "by-default", "by-name"]);
        host.exec(&["ip", "route", "delete", "blackhole", "10.233.144.0/25"]);
        let bridges = host.exec(&["ip", "-brief", "link", "show", "type", "bridge"]);
        assert!(!bridges.contains("cni"), "{bridges}");
    });
}

fn every_way_to_choose_addresses_works(suite: Suite) {
    on_a_host(suite, &[], |host| {
        let create = ["network", "create", "-d", "cni"];
        let more = [
            "--subnet",
            "10.61.0.0/16",
            "--gateway",
            "10.61.9.1",
            "--ip-range",
            "10.61.5.0/24",
            "--aux-address",
            "router=10.61.5.1",
            "-o",
            "com.docker.network.driver.mtu=1400",
            "web",
        ];
        host.docker(&[&create[..], &more].concat());
        host.run("alice", "web", &[]);
        let alice = host.endpoint("alice", "web");
        assert_eq!(alice["Gateway"], "10.61.9.1");
        assert_eq!(alice["IPPrefixLen"], 16);
        let address = alice["IPAddress"].as_str().unwrap();
        assert!(address.starts_with("10.61.5.") && address != "10.61.5.1", "{address}");
        host.ping("alice", "10.61.9.1").unwrap();
        let link = host.docker(&["exec", "alice", "ip", "link", "show", "eth0"]);
        assert!(link.contains("mtu 1400"), "{link}");

        host.docker(&[&create[..], &["--internal", "-o", "mtu=1300", "inner"]].concat());
        host.run("bob", "inner", &["--cap-add", "NET_ADMIN"]);
        host.run("carol", "inner", &[]);
        host.ping("bob", "carol").unwrap();
        let gateway = host.docker(&[
            "network",
            "inspect",
            "inner",
            "--format",
            "{{(index .IPAM.Config 0).Gateway}}",
        ]);
        assert!(host.ping("bob", &host.machine()).is_err());
        host.docker(&["exec", "bob", "ip", "route", "add", "default", "via", &gateway]);
        assert!(host.ping("bob", &host.machine()).is_err());
        assert!(host.ping("bob", address).is_err());
        assert!(
            host.ping("alice", host.endpoint("bob", "inner")["IPAddress"].as_str().unwrap())
                .is_err()
        );

        // Two pools of one family: a container gets one address of them.
        let two = ["--subnet", "10.62.0.0/24", "--subnet", "10.63.0.0/24", "two"];
        host.docker(&[&create[..], &two].concat());
        host.run("dave", "two", &["--ip", "10.63.0.9"]);
        let inside = host.docker(&["exec", "dave", "ip", "-o", "-4", "address", "show", "eth0"]);
        assert!(inside.contains(" 10.63.0.9/24 ") && inside.lines().count() == 1, "{inside}");
        host.ping("dave", &host.machine()).unwrap();

        let error =
            host.docker_refuses(&[&create[..], &["--subnet", "10.64.0.0/31", "tiny"]].concat());
        let error = error.to_lowercase();
        assert!(error.contains("too small") || error.contains("no available"), "{error}");
        host.remove(&["alice", "bob", "carol", "dave"], &["web", "inner", "two"]);
    });
}

fn isolation_is_said_otherwise_by_an_option(suite: Suite) {
    let bridge = super::BRIDGE;
    on_a_host(suite, &[bridge], |host| {
        let create = ["network", "create", "-d", "cni"];
        let built_in = ["-o", "conflist=cnm-cni-default"];
        host.docker(&[&create[..], &built_in, &["-o", "isolate=false", "open"]].concat());
        host.docker(&[&create[..], &built_in, &["closed"]].concat());
        host.create_network("pods", None);
        host.run("alice", "open", &[]);
        host.run("bob", "closed", &[]);
        host.run("carol", "pods", &[]);
        let address = |name: &str, network: &str| {
            host.endpoint(name, network)["IPAddress"].as_str().unwrap().to_owned()
        };
        let (alice, carol) = (address("alice", "open"), address("carol", "pods"));
        host.ping("carol", &alice).unwrap();
        host.ping("alice", &carol).unwrap();
        host.ping("bob", &carol).unwrap();
        host.remove(&["carol"], &["pods"]);
        // A user's conflist is isolated on request, for one network on it.
        let isolated = ["--ipam-driver", "null", "-o", "isolate=true", "-o", "conflist=cni-bridge"];
        host.docker(&[&create[..], &isolated, &["pods"]].concat());
        let error = host.docker_refuses(&[&create[..], &isolated, &["more"]].concat());
        assert!(error.contains("cannot be kept apart"), "{error}");
        host.run("carol", "pods", &["-p", "8080:80"]);
        host.run("dave", "bridge", &[]);
        let (bob, carol) = (address("bob", "closed"), address("carol", "pods"));
        assert!(host.ping("bob", &carol).is_err() && host.ping("carol", &bob).is_err());
        assert!(host.ping("dave", &carol).is_err());
        host.ping("carol", &host.machine()).unwrap();
        host.ping("alice", &carol).unwrap();
        answers("carol", || host.get_in("bob", &format!("http://{}:8080/", host.address())));
        // A reload of the firewall removed the rules: the next container brings them back.
        host.exec(&["iptables", "-t", "mangle", "-F"]);
        host.ping("bob", &carol).unwrap();
        host.run("erin", "closed", &[]);
        assert!(host.ping("bob", &carol).is_err());
        host.remove(&["alice", "bob", "carol", "dave", "erin"], &["open", "closed", "pods"]);
    });
}

fn what_dockers_bridge_driver_is_told_is_heard(suite: Suite) {
    on_a_host(suite, &[], |host| {
        let create = ["network", "create", "-d", "cni"];
        let options = [
            "-o",
            "com.docker.network.bridge.name=br-mine",
            "-o",
            "com.docker.network.bridge.enable_ip_masquerade=false",
            "-o",
            "com.docker.network.bridge.enable_icc=true",
            "-o",
            "com.docker.network.bridge.host_binding_ipv4=0.0.0.0",
            "web",
        ];
        host.docker(&[&create[..], &options].concat());
        host.run("alice", "web", &[]);
        host.run("bob", "web", &[]);
        host.ping("alice", "bob").unwrap();
        host.exec(&["ip", "link", "show", "br-mine"]);
        // The machine has no route back to the containers.
        assert!(host.ping("alice", &host.machine()).is_err());
        for (option, words) in [
            ("com.docker.network.bridge.name=br-mine", "an interface of that name"),
            ("com.docker.network.bridge.name=a/b", "expected the name of an interface"),
            ("com.docker.network.bridge.enable_icc=false", "portIsolation"),
            ("com.docker.network.bridge.host_binding_ipv4=127.0.0.1", "docker run -p"),
            ("parent=eth0", "conflists/macvlan.conflist"),
            ("isolat=true", "did you mean \"isolate\"?"),
            ("isolate=perhaps", "expected true or false"),
        ] {
            let error = host.docker_refuses(&[&create[..], &["-o", option, "more"]].concat());
            assert!(error.contains(words), "{option}: {error}");
        }
        host.remove(&["alice", "bob"], &["web"]);
        let bridges = host.exec(&["ip", "-brief", "link", "show", "type", "bridge"]);
        assert!(!bridges.contains("br-mine"), "{bridges}");
    });
}
