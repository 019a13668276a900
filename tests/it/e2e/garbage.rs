//! Orphans, and what crashes left.

use super::host::{Host, Suite, answers, within};
use super::leaks::LIMIT;
use super::{ConfFile, on_a_host, on_both_dockers};

on_both_dockers! {
    an_address_and_a_port_are_reused_at_once,
    what_a_lost_state_folder_left_is_collected,
    an_orphan_is_shown_and_goes_once_its_plugin_is_back,
    a_network_that_docker_removed_while_the_driver_was_away_goes_when_it_is_asked_for,
}

/// A pool of two addresses; one of them is the gateway.
const CONFLIST: ConfFile<'_> = (
    "10-small.conflist",
    r#"{"cniVersion": "1.0.0", "name": "small", "plugins": [
        {"type": "bridge", "bridge": "cnismall", "isGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.31.0.0/30"}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]}"#,
);

fn an_address_and_a_port_are_reused_at_once(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        for name in ["alice", "bob", "carol"] {
            host.run(name, "web", &["-p", "8080:80"]);
            answers(name, || host.get("http://127.0.0.1:8080/"));
            host.docker(&["rm", "-f", name]);
        }
        host.docker(&["network", "rm", "web"]);
    });
}

fn what_a_lost_state_folder_left_is_collected(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.stop_driver("KILL");
        host.exec(&["rm", "-r", "/var/lib/cnm-cni"]);
        host.start_driver();
        let alive = gc(host, &["--apply"]);
        assert!(
            alive.contains("kept: a namespace of this host has its address 10.31.0.2"),
            "{alive}"
        );
        answers("alice", || host.get("http://127.0.0.1:8080/"));

        host.remove(&["alice"], &["web"]);
        let shown = gc(host, &[]);
        assert!(shown.contains("would be removed") && shown.contains("lease"), "{shown}");
        let removed = gc(host, &["--apply"]);
        assert!(removed.contains("removed"), "{removed}");
        assert_eq!(gc(host, &[]), "No garbage.\n");

        // As host-local leaves a lease if it is killed before it writes whose it is.
        host.create_network("web", None);
        host.run("bob", "web", &[]);
        host.exec(&["truncate", "--size=0", "/var/lib/cni/networks/small/10.31.0.2"]);
        let alive = gc(host, &["--apply"]);
        assert!(alive.contains("kept") && alive.contains("has its address"), "{alive}");
        host.docker(&["rm", "-f", "bob"]);
        let refused = host.run_refuses("carol", "web", &[]);
        assert!(refused.contains("no IP addresses available"), "{refused}");
        let pool = host.exec(&["cnm-cni", "pools", "small"]);
        assert!(pool.contains("nobody"), "{pool}");
        let shown = gc(host, &[]);
        assert!(shown.contains("lease 10.31.0.2 of small"), "{shown}");
        assert!(shown.contains("would be removed"), "{shown}");
        let removed = gc(host, &["--apply"]);
        assert!(removed.contains("removed"), "{removed}");
        host.run("carol", "web", &[]);
        host.remove(&["carol"], &["web"]);
        assert_eq!(gc(host, &[]), "No garbage.\n");
    });
}

fn an_orphan_is_shown_and_goes_once_its_plugin_is_back(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        let (plugin, away) = ("/usr/lib/cni/bridge", "/usr/lib/cni/away");
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.exec(&["mv", plugin, away]);
        host.docker(&["rm", "-f", "alice"]);
        let refused = host.run_refuses("bob", "web", &["-p", "8080:80"]);
        assert!(refused.contains("port 8080/tcp is held by attachment"), "{refused}");
        let orphans = host.exec(&["cnm-cni", "orphans"]);
        assert!(orphans.contains("10.31.0.2") && orphans.contains("bridge"), "{orphans}");
        assert!(host.try_exec(&["cnm-cni", "orphans", "retry"]).is_err(), "it is not back");

        host.exec(&["mv", away, plugin]);
        host.run("bob", "web", &["-p", "8080:80"]);
        answers("bob", || host.get("http://127.0.0.1:8080/"));
        let orphans = host.exec(&["cnm-cni", "orphans"]);
        assert!(orphans.starts_with("No orphans"), "{orphans}");
        host.remove(&["bob"], &["web"]);
    });
}

fn a_network_that_docker_removed_while_the_driver_was_away_goes_when_it_is_asked_for(suite: Suite) {
    on_a_host(suite, &[], |host| {
        let bridge = ["-o", "com.docker.network.bridge.name=lost0"];
        let create = |name| {
            let create = ["network", "create", "-d", "cni"];
            host.docker(&[&create[..], &bridge, &[name]].concat())
        };
        host.docker(&["network", "create", "-d", "cni", "stays"]);
        let id = create("web");
        host.run("alice", "web", &[]);
        host.docker(&["rm", "-f", "alice"]);
        assert_eq!(gc(host, &[]), "No garbage.\n");

        let remove_unheard = |name| {
            host.stop_driver("KILL");
            host.docker(&["network", "rm", name]);
            host.start_driver();
        };
        remove_unheard("web");
        let told = host.exec(&["sh", "-c", "cnm-cni doctor || true"]);
        assert!(told.contains("cnm-cni gc --apply"), "{told}");
        let network = format!("network {}", &id[..12]);
        // Not before the DEL of its container has ended, which the driver's end may have interrupted.
        let shown = || gc(host, &[]);
        assert!(within(LIMIT, || shown().contains(&network)), "{}", shown());
        let shown = shown();
        assert_eq!(shown.matches("would be removed").count(), 2, "{shown}");
        let removed = gc(host, &["--apply"]);
        assert!(removed.contains("Docker does not have it"), "{removed}");
        assert_eq!(gc(host, &[]), "No garbage.\n");
        assert!(host.try_exec(&["ip", "link", "show", "lost0"]).is_err(), "its bridge is left");

        // A Docker that has none of the networks may be another one.
        remove_unheard("stays");
        let kept = gc(host, &["--apply"]);
        assert!(kept.contains("another one may use it"), "{kept}");
        gc(host, &["--apply", "--docker", "unix:///var/run/docker.sock"]);
        assert_eq!(gc(host, &[]), "No garbage.\n");

        // Nothing of it is in the way of the next one.
        create("web");
        host.run("alice", "web", &[]);
        host.remove(&["alice"], &["web"]);
    });
}

fn gc(host: &Host, flags: &[&str]) -> String {
    host.exec(&[&["cnm-cni", "gc", "--format", "wide", "--grace", "0"], flags].concat())
}
