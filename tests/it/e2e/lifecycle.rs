//! What happens to a container after it was started, and to the driver meanwhile.

use std::fs;
use std::thread;
use std::time::Duration;

use super::host::{Host, Suite, answers, within};
use super::{
    BRIDGE, ConfFile, PODS, and_on_docker_26_1, on_a_host, on_a_host_without_spares,
    on_both_dockers,
};

const SECOND: ConfFile<'_> = ("20-ptp.conflist", include_str!("../../../conflists/ptp.conflist"));

on_both_dockers! {
    a_stopped_container_gives_its_address_back_and_starts_with_another,
    a_restarted_container_answers_again,
    a_killed_container_leaves_nothing,
    an_interface_in_a_namespace_that_nobody_knows_goes_with_its_container,
    a_container_that_ends_by_itself_leaves_nothing,
    a_container_that_cannot_start_leaves_nothing,
    a_container_that_dies_while_it_is_attached_leaves_nothing,
    a_running_container_joins_and_leaves_a_second_network,
    a_network_with_a_container_on_it_stays,
    containers_that_start_and_end_at_once_do_not_disturb_each_other,
    a_driver_that_was_restarted_removes_what_its_predecessor_made,
    a_driver_that_was_killed_leaves_no_trap,
}

and_on_docker_26_1! {
    a_restarted_container_answers_again,
    a_container_that_dies_while_it_is_attached_leaves_nothing,
}

fn a_stopped_container_gives_its_address_back_and_starts_with_another(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        let first = lease(host, "alice").unwrap();
        host.docker(&["stop", "alice"]);
        goes(host, &first);
        assert!(host.get("http://127.0.0.1:8080/").is_err());
        host.docker(&["start", "alice"]);
        let second = lease(host, "alice").unwrap();
        assert!(host.path(&second).exists());
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        host.remove(&["alice"], &["web"]);
        goes(host, &second);
    });
}

/// Waits until the plugins, which Docker does not wait for, have given the lease back.
#[track_caller]
fn goes(host: &Host, lease: &str) {
    assert!(
        within(Duration::from_secs(10), || !host.path(lease).exists()),
        "{lease} outlives its container"
    );
}

fn a_restarted_container_answers_again(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.docker(&["restart", "alice"]);
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice"], &["web"]);
    });
}

fn a_killed_container_leaves_nothing(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.docker(&["kill", "alice"]);
        host.docker(&["wait", "alice"]);
        host.docker(&["rm", "alice"]);
        host.docker(&["network", "rm", "web"]);
    });
}

/// As a dockerd that is killed during a start leaves it: with a process that Docker has forgotten.
fn an_interface_in_a_namespace_that_nobody_knows_goes_with_its_container(suite: Suite) {
    on_a_host_without_spares(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &[]);
        let pid = host.docker(&["inspect", "--format", "{{.State.Pid}}", "alice"]);
        let take = format!(
            "unshare --net sleep 600 >/dev/null 2>&1 &
             until [ $(readlink /proc/$!/ns/net) != $(readlink /proc/$$/ns/net) ]; do sleep 0.01; done
             nsenter --target {} --net ip link set eth0 netns $!
             echo $!",
            pid.trim()
        );
        let sleep = host.exec(&["sh", "-c", &take]);
        host.docker(&["rm", "-f", "alice"]);
        let ends = || host.exec(&["ip", "-brief", "link", "show", "type", "veth"]);
        assert!(within(Duration::from_secs(20), || !ends().contains("veth")), "{}", ends());
        host.exec(&["sh", "-c", &format!("kill {sleep}")]);
        host.docker(&["network", "rm", "web"]);
    });
}

fn a_container_that_ends_by_itself_leaves_nothing(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        let run = ["run", "--rm", "--network", "web", "cnm-cni/busybox", "ip", "address"];
        assert!(host.docker(&run).contains("10.201.0."));
        // It may be gone before what Docker does not carry over is in place.
        let at_once = ["run", "--rm", "--network", "web", "-p", "8080:80", "cnm-cni/busybox"];
        for _ in 0..3 {
            host.docker(&[&at_once[..], &["true"]].concat());
        }
        let again = ["run", "-d", "--name", "alice", "--restart", "on-failure:2", "--network"];
        host.docker(&[&again[..], &["web", "-p", "8080:80", "cnm-cni/busybox", "false"]].concat());
        let state = ["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "alice"];
        let ended = || host.docker(&state) == "2 exited";
        assert!(within(Duration::from_secs(20), ended), "{}", host.docker(&state));
        host.remove(&["alice"], &["web"]);
    });
}

fn a_container_that_cannot_start_leaves_nothing(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        let run = ["run", "--name", "alice", "--network", "web", "cnm-cni/busybox", "/no/such"];
        let error = host.docker_refuses(&run);
        assert!(error.contains("/no/such"), "{error}");
        host.remove(&["alice"], &["web"]);
    });
}

/// The plugin `bridge`, whose ADD waits until it may go on; half a minute at most.
const SLOW_BRIDGE: &str = r#"#!/bin/sh
if [ "$CNI_COMMAND" = ADD ]; then
    touch /run/add-waits
    for _ in $(seq 300); do
        [ ! -e /run/add-goes-on ] || break
        sleep 0.1
    done
    rm -f /run/add-waits
fi
PATH=$CNI_PATH:$PATH exec bridge
"#;

fn a_container_that_dies_while_it_is_attached_leaves_nothing(suite: Suite) {
    let slow = PODS.1.replace("\"bridge\",", "\"slow-bridge\",").replace("\"pods\"", "\"slow\"");
    on_a_host_without_spares(suite, &[BRIDGE, ("20-slow.conflist", &slow)], |host| {
        host.write_program("/opt/cni/bin/slow-bridge", SLOW_BRIDGE);
        host.create_network("web", Some("cni-bridge"));
        host.create_network("slow", Some("slow"));
        // Runs one command while another one's ADD is under way. Returns whether the latter succeeds for
        // Docker.
        let meanwhile = |begin: &[&str], act: &dyn Fn()| {
            thread::scope(|threads| {
                let begun = threads.spawn(|| host.try_exec(begin));
                let waits = || host.path("/run/add-waits").exists();
                assert!(within(Duration::from_secs(20), waits), "no ADD: {begin:?}");
                act();
                host.write("/run/add-goes-on", "");
                drop(begun.join().unwrap());
                assert!(within(Duration::from_secs(10), || !waits()), "ADD does not go on");
            });
            host.exec(&["rm", "/run/add-goes-on"]);
        };
        let is_gone = |pid: &str| !host.path("/proc").join(pid).exists();

        // A running container that is given a second network.
        host.run("alice", "web", &["-p", "8080:80"]);
        let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "alice"]);
        meanwhile(&["docker", "network", "connect", "slow", "alice"], &|| {
            host.exec(&["sh", "-c", &format!("kill -9 {pid}")]);
            assert!(within(Duration::from_secs(10), || is_gone(&pid)));
        });
        host.docker(&["rm", "-f", "alice"]);

        let run = ["docker", "run", "-d", "--name", "bob", "--network", "slow", "-p", "8081:80"];
        let run = [&run[..], &["cnm-cni/busybox"]].concat();
        // Docker delays the kill until the start, or reports that nothing runs.
        meanwhile(&run, &|| drop(host.try_exec(&["timeout", "1", "docker", "kill", "bob"])));
        host.docker(&["rm", "-f", "bob"]);
        // Whoever asked for the container does not wait for it.
        let impatient = [&["timeout", "-s", "KILL", "2"], &run[..]].concat();
        meanwhile(&impatient, &|| {
            assert!(within(Duration::from_secs(10), || clients(host) == 0));
        });
        host.docker(&["rm", "-f", "bob"]);
        host.docker(&["network", "rm", "web", "slow"]);
    });
}

/// How many `docker run` wait for an answer.
fn clients(host: &Host) -> usize {
    let processes = fs::read_dir(host.path("/proc")).unwrap();
    let commands = processes.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    commands.filter(|command| command.starts_with(b"docker\0run\0")).count()
}

fn a_running_container_joins_and_leaves_a_second_network(suite: Suite) {
    on_a_host(suite, &[BRIDGE, SECOND], |host| {
        host.create_network("first", Some("cni-bridge"));
        host.create_network("second", Some("cni-ptp"));
        host.run("alice", "first", &["-p", "8080:80"]);
        host.run("bob", "second", &[]);
        host.docker(&["network", "connect", "second", "alice"]);
        let second = host.docker(&["exec", "alice", "ip", "-o", "-4", "address", "show", "eth1"]);
        assert!(second.contains("10.202.0."), "{second}");
        host.ping("bob", "alice").unwrap();
        host.docker(&["network", "disconnect", "second", "alice"]);
        assert!(host.try_exec(&["docker", "exec", "alice", "ip", "link", "show", "eth1"]).is_err());
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        host.remove(&["alice", "bob"], &["first", "second"]);
    });
}

fn a_network_with_a_container_on_it_stays(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        let error = host.docker_refuses(&["network", "rm", "web"]);
        assert!(error.contains("active endpoints"), "{error}");
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        host.remove(&["alice"], &["web"]);
    });
}

fn containers_that_start_and_end_at_once_do_not_disturb_each_other(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        let names = ["a1", "a2", "a3", "a4", "a5", "a6"];
        thread::scope(|threads| {
            for (name, port) in names.iter().zip(8081..) {
                threads.spawn(move || host.run(name, "web", &["-p", &format!("{port}:80")]));
            }
        });
        for (name, port) in names.iter().zip(8081..) {
            answers(name, || host.get_from_outside(port));
        }
        thread::scope(|threads| {
            for name in &names {
                threads.spawn(|| host.docker(&["rm", "-f", name]));
            }
        });
        host.docker(&["network", "rm", "web"]);
    });
}

fn a_driver_that_was_restarted_removes_what_its_predecessor_made(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.stop_driver("TERM");
        // The network does not need the driver.
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        host.start_driver();
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        // The network is known to the new one.
        host.run("bob", "web", &[]);
        host.ping("bob", "alice").unwrap();
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn a_driver_that_was_killed_leaves_no_trap(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.stop_driver("KILL");
        // Its socket still exists, but no process answers on it.
        host.start_driver();
        host.docker(&["restart", "alice"]);
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice"], &["web"]);
    });
}

/// The allocator's file for the container's address.
fn lease(host: &Host, container: &str) -> Option<String> {
    let endpoint = host.endpoint(container, "web");
    endpoint["IPAddress"]
        .as_str()
        .map(|address| format!("/var/lib/cni/networks/cni-bridge/{address}"))
}
