//! What is installed, and the driver replaced while containers run.
//!
//! What has to be built first, the package and `make install`, is in `packages`.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::host::{Host, Suite, answers};
use super::readme::{FOLDER, Steps};
use super::traffic::Traffic;
use super::{ConfFile, on_a_host, on_both_dockers};

const CONFLIST: ConfFile<'_> =
    ("10-bridge.conflist", include_str!("../../../conflists/bridge.conflist"));
const SERVICE: &str = include_str!("../../../plugin-spec/systemd/cnm-cni.service");
const SOCKET: &str = include_str!("../../../plugin-spec/systemd/cnm-cni.socket");

on_both_dockers! {
    the_quick_start_gives_a_container_an_address_of_the_built_in_bridge,
    spec_files_name_a_socket_elsewhere,
    systemd_finds_no_fault_with_the_units,
    a_driver_takes_over_from_another_while_containers_run,
}

fn the_quick_start_gives_a_container_an_address_of_the_built_in_bridge(suite: Suite) {
    on_a_host(suite, &[], |host| {
        // What Docker would fetch.
        host.docker(&["tag", "cnm-cni/busybox", "busybox"]);
        let told = Steps::read("README.md", "quick-start").on(host);
        assert!(told.contains("inet 172."), "{told}");
        host.docker(&["network", "rm", "web"]);
    });
}

fn spec_files_name_a_socket_elsewhere(suite: Suite) {
    for (steps, file, text) in [
        ("install-spec", "cni.spec", include_str!("../../../plugin-spec/cni.spec")),
        ("install-json", "cni.json", include_str!("../../../plugin-spec/cni.json")),
    ] {
        let host = Host::up(suite);
        host.write(&format!("{FOLDER}/plugin-spec/{file}"), text);
        host.write("/etc/cni/net.d/10-bridge.conflist", CONFLIST.1);
        host.start_driver_on("/run/cnm-cni/cni.sock");
        assert!(!host.path("/run/docker/plugins/cni.sock").exists());
        Steps::read("docs/install.md", steps).on(&host);
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice"], &["web"]);
    }
}

fn systemd_finds_no_fault_with_the_units(suite: Suite) {
    let host = Host::up(suite);
    host.exec(&["cp", "/usr/local/bin/cnm-cni", "/usr/bin/cnm-cni"]);
    host.write("/etc/systemd/system/cnm-cni.service", SERVICE);
    host.write("/etc/systemd/system/cnm-cni.socket", SOCKET);
    // The hosts have no man(1) to look for the page with.
    let units = ["cnm-cni.service", "cnm-cni.socket"];
    let verify = ["systemd-analyze", "verify", "--man=no"];
    let said = host.exec(&[
        "sh",
        "-c",
        r#""$@" 2>&1"#,
        "sh",
        verify[0],
        verify[1],
        verify[2],
        units[0],
        units[1],
    ]);
    assert_eq!(said, "");
    // Fails above 6.5 of 10.
    let security = ["systemd-analyze", "security", "--offline=yes", "--threshold=65", "--no-pager"];
    let judged = host.exec(&[&security[..], &units[..1]].concat());
    eprintln!("{}", judged.lines().last().unwrap_or_default());
}

fn a_driver_takes_over_from_another_while_containers_run(suite: Suite) {
    on_a_host(suite, &[CONFLIST], |host| {
        host.create_network("web", None);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("carol", "web", &[]);
        let traffic = Traffic::between(host, "alice", "carol");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let away = scope.spawn(|| longest_absence(host, &over));
            host.stop_driver("TERM");
            // A call while no driver is there: dockerd repeats it.
            let bob = scope.spawn(|| host.run("bob", "web", &[]));
            host.start_driver();
            bob.join().unwrap();
            over.store(true, Ordering::Relaxed);
            let away = away.join().unwrap();
            eprintln!("the driver was away for {away:?}");
            assert!(away < Duration::from_secs(1), "the driver was away for {away:?}");
        });
        host.ping("bob", "alice").unwrap();
        answers("alice", || host.get_from_outside(8080));
        traffic.assert_that_no_packet_was_lost();
        host.remove(&["alice", "bob", "carol"], &["web"]);
    });
}

/// The longest time in which no process accepted connections on the driver's socket, until it is `over`.
fn longest_absence(host: &Host, over: &AtomicBool) -> Duration {
    let socket = host.path("/run/docker/plugins/cni.sock");
    let (mut seen, mut longest) = (Instant::now(), Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        if UnixStream::connect(&socket).is_ok() {
            longest = longest.max(seen.elapsed());
            seen = Instant::now();
        }
        thread::sleep(Duration::from_millis(5));
    }
    longest
}
