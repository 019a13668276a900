//! What happens to dockerd itself while containers run.

use std::time::Duration;

use super::host::{Host, Suite, answers, within};
use super::{BRIDGE, and_on_docker_26_1, on_a_host, on_both_dockers};

on_both_dockers! {
    a_container_that_dies_is_started_again_by_its_policy,
    containers_come_back_after_dockerd_was_stopped,
    containers_outlive_dockerd_under_live_restore,
    a_dockerd_that_was_killed_leaves_nothing_for_long,
    the_classic_builder_uses_the_network,
}

and_on_docker_26_1! {
    a_dockerd_that_was_killed_leaves_nothing_for_long,
}

fn a_container_that_dies_is_started_again_by_its_policy(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80", "--restart", "on-failure"]);
        answers("alice", || host.get_from_outside(8080));
        let before = started(host, "alice");
        // The container's process ends with an error.
        let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "alice"]);
        host.exec(&["sh", "-c", &format!("kill -9 {pid}")]);
        assert!(within(Duration::from_secs(20), || started(host, "alice") != before));
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice"], &["web"]);
    });
}

fn containers_come_back_after_dockerd_was_stopped(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80", "--restart", "always"]);
        for (name, port) in [("carol", "8081:80"), ("dave", "8082:80")] {
            host.run(name, "web", &["-p", port, "--restart", "unless-stopped"]);
        }
        host.docker(&["stop", "dave"]);
        host.stop_dockerd("TERM");
        assert!(host.get("http://127.0.0.1:8080/").is_err());
        host.start_dockerd(&[]);
        answers("alice", || host.get_from_outside(8080));
        answers("carol", || host.get_from_outside(8081));
        assert_eq!(started(host, "dave"), "");
        assert!(host.get_from_outside(8082).is_err());
        let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "carol"]);
        let before = started(host, "carol");
        host.exec(&["sh", "-c", &format!("kill -9 {pid}")]);
        assert!(within(Duration::from_secs(20), || {
            !["", &before].contains(&started(host, "carol").as_str())
        }));
        answers("carol", || host.get_from_outside(8081));
        host.run("bob", "web", &[]);
        host.ping("bob", "alice").unwrap();
        host.remove(&["alice", "bob", "carol", "dave"], &["web"]);
    });
}

fn containers_outlive_dockerd_under_live_restore(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.stop_dockerd("TERM");
        host.start_dockerd(&["--live-restore"]);
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.stop_dockerd("TERM");
        answers("alice", || host.get_from_outside(8080));
        host.start_dockerd(&["--live-restore"]);
        answers("alice", || host.get_from_outside(8080));
        // The new dockerd knows the driver from now on.
        host.run("bob", "web", &[]);
        host.ping("bob", "alice").unwrap();
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn a_dockerd_that_was_killed_leaves_nothing_for_long(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.stop_dockerd("KILL");
        host.start_dockerd(&[]);
        // When the new dockerd first calls the driver, the driver finds what the dead one left.
        host.create_network("other", None);
        let gone = || host.exec(&["cnm-cni", "ports", "--format", "json"]).trim() == "[]";
        assert!(within(Duration::from_secs(20), gone), "the port outlives its container");
        host.docker(&["start", "alice"]);
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice"], &["web", "other"]);
    });
}

fn the_classic_builder_uses_the_network(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &[]);
        host.write(
            "/root/build/Dockerfile",
            "FROM cnm-cni/busybox\nRUN for i in 1 2 3 4 5; do wget -q -O /page http://alice/ && break; sleep 1; done\n",
        );
        let build = ["env", "DOCKER_BUILDKIT=0", "docker", "build", "--no-cache", "--network"];
        host.exec(&[&build[..], &["web", "-t", "built", "/root/build"]].concat());
        let page = host.docker(&["run", "--rm", "built", "cat", "/page"]);
        assert_eq!(page, "alice");
        host.docker(&["rmi", "built"]);
        host.remove(&["alice"], &["web"]);
    });
}

fn started(host: &Host, container: &str) -> String {
    host.docker(&["inspect", "-f", "{{.State.Running}} {{.State.StartedAt}}", container])
        .strip_prefix("true ")
        .unwrap_or_default()
        .to_owned()
}
