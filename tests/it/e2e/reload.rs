//! `cnm-cni reload`: what a reload of the host's firewall took away is put back.

use std::time::Duration;

use super::check::run;
use super::host::{Host, Suite, answers, within};
use super::{ConfFile, on_a_host_without_spares, on_both_dockers};

/// With every plugin that has rules on the host.
const CONFLIST: ConfFile<'_> = (
    "10-front.conflist",
    r#"{"cniVersion": "1.0.0", "name": "front", "plugins": [
        {"type": "bridge", "bridge": "front0", "isGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.34.0.0/24"}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"}]}"#,
);

/// A node of its own for each container.
const ROUTED: ConfFile<'_> = (
    "20-routed.conflist",
    r#"{"cniVersion": "1.0.0", "name": "routed", "plugins": [
        {"type": "ptp", "ipMasq": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.35.0.0/24"}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}}]}"#,
);

const FLUSH: &str =
    "iptables -F FORWARD; iptables -t nat -F; iptables -t mangle -F; iptables -F CNI-FORWARD";

on_both_dockers! {
    what_a_firewall_reload_took_is_put_back_and_the_rest_is_told,
}

fn what_a_firewall_reload_took_is_put_back_and_the_rest_is_told(suite: Suite) {
    on_a_host_without_spares(suite, &[CONFLIST, ROUTED], |host| {
        host.create_network("web", Some("front"));
        host.create_network("apart", Some("cnm-cni-default"));
        host.create_network("routed", Some("routed"));
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "apart", &["-p", "8081:80"]);
        host.run("carol", "routed", &[]);
        let all_is_well = || host.try_exec(&["cnm-cni", "check"]).is_ok();
        assert!(
            within(Duration::from_secs(10), all_is_well),
            "{:?}",
            host.try_exec(&["cnm-cni", "check"])
        );
        let rules = rules(host);
        let nothing = host.exec(&["cnm-cni", "reload", "--all"]);
        assert_eq!(nothing.matches("nothing was missing").count(), 3, "{nothing}");

        run(host, FLUSH);
        assert!(
            host.get_from_outside(8080).is_err() && host.ping("alice", &host.machine()).is_err()
        );
        let one = host.exec(&["cnm-cni", "reload", "alice"]);
        assert!(one.contains("alice") && one.contains("put back") && !one.contains("bob"), "{one}");
        let told = host.exec(&["cnm-cni", "reload", "--all", "--format", "json"]);
        assert!(
            told.contains("is not masqueraded any more") && told.contains("\"lost\": []"),
            "{told}"
        );
        for (container, port) in [("alice", 8080), ("bob", 8081)] {
            answers(container, || host.get_from_outside(port));
            host.ping(container, &host.machine()).unwrap();
        }
        host.ping("carol", &host.machine()).unwrap();
        // The plugins' own CHECK says so too, and nothing is there twice.
        let checked = host.exec(&["cnm-cni", "check"]);
        assert_eq!(checked.matches("as ADD left it").count(), 3, "{checked}");
        assert_eq!(self::rules(host), rules);
        assert!(!host.exec(&["ip", "-br", "link"]).contains("cnmm"));

        // Rules are not all that can be lost.
        run(host, "ip link set front0 down");
        let told = host.try_exec(&["cnm-cni", "reload", "alice"]).unwrap_err();
        assert!(told.contains("LOST") && told.contains("run 'ip link set front0 up'"), "{told}");
        run(host, "ip link set front0 up");
        let nobody = host.try_exec(&["cnm-cni", "reload", "nobody"]).unwrap_err();
        assert!(nobody.contains("is called \"nobody\""), "{nobody}");

        a_driver_that_is_killed_leaves_nothing(host);
        host.remove(&["alice", "bob", "carol"], &["web", "apart", "routed"]);
    });
}

/// `portmap` of plugins 1.9, which publishes by `nft`.
const NFTABLES: ConfFile<'_> = (
    "10-nft.conflist",
    r#"{"cniVersion": "1.0.0", "name": "nft", "plugins": [
        {"type": "bridge", "bridge": "cninft", "isDefaultGateway": true, "ipMasq": true,
         "ipMasqBackend": "nftables",
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.36.0.0/24"}]]}},
        {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}]}"#,
);

#[test]
fn docker_28_5_an_isolated_network_publishes_by_nft_through_restarts_and_a_flush() {
    on_a_host_without_spares(Suite::Forky, &[NFTABLES], |host| {
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        host.docker(&[&create[..], &["-o", "conflist=nft", "-o", "isolate=true", "web"]].concat());
        host.create_network("apart", Some("cnm-cni-default"));
        host.docker(&["network", "create", "own"]);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "apart", &[]);
        host.run("carol", "own", &[]);
        let published = format!("http://{}:8080/", host.address());
        // What is dropped takes three seconds each.
        let is_reached_as_published = |when: &str, others: &[&str]| {
            eprintln!("{when}");
            answers("alice", || host.get_from_outside(8080));
            answers("alice", || host.get("http://127.0.0.1:8080/"));
            let direct = host.endpoint("alice", "web")["IPAddress"].as_str().unwrap().to_owned();
            for other in others {
                answers("alice", || host.get_in(other, &published));
                assert!(
                    host.get_in(other, &format!("http://{direct}/")).is_err(),
                    "{when}: {other}"
                );
            }
            host.exec(&["cnm-cni", "check", "alice"]);
        };
        is_reached_as_published("at first", &["bob", "carol"]);
        host.stop_driver("KILL");
        host.start_driver_without_spares();
        is_reached_as_published("after a restart of the driver", &["bob"]);
        host.docker(&["restart", "alice"]);
        is_reached_as_published("after a restart of the container", &["bob"]);
        // Docker writes its own rules again when it starts.
        run(host, "nft delete table ip cni_hostport; nft delete table inet cni_plugins_masquerade");
        run(host, "iptables -t mangle -F; iptables -F FORWARD; iptables -P FORWARD DROP");
        assert!(host.get_from_outside(8080).is_err());
        host.exec(&["cnm-cni", "reload", "--all"]);
        is_reached_as_published("after a flush and 'cnm-cni reload'", &["bob", "carol"]);
        host.stop_driver("TERM");
        host.start_driver_without_spares();
        host.docker(&["restart", "alice"]);
        is_reached_as_published("after all of it, and both restarts", &["bob"]);
        host.remove(&["alice", "bob", "carol"], &["web", "apart", "own"]);
        let rules = host.exec(&["nft", "list", "ruleset"]);
        assert!(!rules.contains("8080"), "{rules}");
    });
}

/// The plugin has made its bridge, and the driver dies.
fn a_driver_that_is_killed_leaves_nothing(host: &Host) {
    let (plugin, real) = ("/usr/lib/cni/bridge", "/usr/lib/cni/bridge-itself");
    host.exec(&["mv", plugin, real]);
    host.write_program(
        plugin,
        &format!(
            "#!/bin/sh\ncase $CNI_NETNS in *masked-*) {real}; sleep 20 ;; *) exec {real} ;; esac\n"
        ),
    );
    run(host, FLUSH);
    host.exec(&["sh", "-c", "cnm-cni reload alice >/dev/null 2>&1 &"]);
    let links = || host.exec(&["ip", "-br", "link"]);
    assert!(within(Duration::from_secs(10), || links().contains("cnmm")), "{}", links());
    host.stop_driver("KILL");
    host.start_driver_without_spares();
    // It answers before it has looked at all that its predecessor left.
    let netns = || host.exec(&["ls", "/run/cnm-cni/netns"]);
    let nothing_left = || !links().contains("cnmm") && !netns().contains("masked");
    assert!(within(Duration::from_secs(10), nothing_left), "{}{}", links(), netns());
    host.exec(&["mv", real, plugin]);
    host.exec(&["cnm-cni", "reload", "--all"]);
    answers("alice", || host.get_from_outside(8080));
}

/// The rules of plugins and of the driver, in any order.
fn rules(host: &Host) -> Vec<String> {
    let saved = host.exec(&["iptables-save"]);
    let is_ours =
        |line: &&str| line.starts_with("-A") && (line.contains("CNI") || line.contains("cnm-cni"));
    let mut rules: Vec<String> = saved.lines().filter(is_ours).map(str::to_owned).collect();
    rules.sort();
    rules
}
