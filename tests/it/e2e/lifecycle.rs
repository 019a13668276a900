//! What happens to a container after it was started, and to the driver meanwhile.

use std::thread;
use std::time::Duration;

use super::host::{Host, Suite, answers, within};
use super::{ConfFile, on_a_host, on_both_dockers};

const CONFLIST: ConfFile<'_> =
    ("10-bridge.conflist", include_str!("../../../conflists/bridge.conflist"));
const SECOND: ConfFile<'_> = ("20-ptp.conflist", include_str!("../../../conflists/ptp.conflist"));

on_both_dockers! {
    a_stopped_container_gives_its_address_back_and_starts_with_another,
    a_restarted_container_answers_again,
    a_killed_container_leaves_nothing,
    a_container_that_ends_by_itself_leaves_nothing,
    a_container_that_cannot_start_leaves_nothing,
    a_running_container_joins_and_leaves_a_second_network,
    a_network_with_a_container_on_it_stays,
    containers_that_start_and_end_at_once_do_not_disturb_each_other,
    a_driver_that_was_restarted_removes_what_its_predecessor_made,
    a_driver_that_was_killed_leaves_no_trap,
}

fn a_stopped_container_gives_its_address_back_and_starts_with_another(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
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
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.docker(&["restart", "alice"]);
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice"], &["web"]);
    });
}

fn a_killed_container_leaves_nothing(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.docker(&["kill", "alice"]);
        host.docker(&["wait", "alice"]);
        host.docker(&["rm", "alice"]);
        host.docker(&["network", "rm", "web"]);
    });
}

fn a_container_that_ends_by_itself_leaves_nothing(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        let run = ["run", "--rm", "--network", "web", "cnm-cni/busybox", "ip", "address"];
        assert!(host.docker(&run).contains("10.201.0."));
        host.docker(&["network", "rm", "web"]);
    });
}

fn a_container_that_cannot_start_leaves_nothing(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        let run = ["run", "--name", "alice", "--network", "web", "cnm-cni/busybox", "/no/such"];
        let error = host.docker_refuses(&run);
        assert!(error.contains("/no/such"), "{error}");
        host.remove(&["alice"], &["web"]);
    });
}

fn a_running_container_joins_and_leaves_a_second_network(suite: Suite) {
    on_a_host(suite, &[CONFLIST, SECOND], |host| {
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
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        let error = host.docker_refuses(&["network", "rm", "web"]);
        assert!(error.contains("active endpoints"), "{error}");
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        host.remove(&["alice"], &["web"]);
    });
}

fn containers_that_start_and_end_at_once_do_not_disturb_each_other(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
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
    on_a_host(suite, &[CONFLIST], |host| {
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
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.stop_driver("KILL");
        // Its socket is still there, and nobody answers on it.
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
