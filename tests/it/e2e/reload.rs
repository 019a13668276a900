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
