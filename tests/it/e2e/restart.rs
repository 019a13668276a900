//! A container that is started again while its last attachment is being removed: it waits for what the
//! removal still has. Also attempts that fail and leave nothing to remove.

use std::time::Duration;

use super::host::{Host, IMAGE, Suite, answers, within};
use super::{ConfFile, and_on_docker_26_1, leaves_nothing, on_both_dockers};

on_both_dockers! {
    a_port_is_waited_for_until_its_rules_can_be_taken_back,
    a_mac_is_waited_for_however_long_its_plugins_take,
    a_device_of_the_host_is_waited_for,
    a_container_that_cannot_be_attached_leaves_no_orphan,
}

and_on_docker_26_1! {
    a_port_is_waited_for_until_its_rules_can_be_taken_back,
    a_mac_is_waited_for_however_long_its_plugins_take,
    a_device_of_the_host_is_waited_for,
    a_container_that_cannot_be_attached_leaves_no_orphan,
}

const BRIDGE: ConfFile<'_> = (
    "10-k8s.conflist",
    r#"{"cniVersion": "1.0.0", "name": "k8s", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}]]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]}"#,
);

/// A host with the driver, these configuration files, and devices that a plugin may take or build on.
fn host(suite: Suite, files: &[ConfFile<'_>]) -> Host {
    let host = Host::up(suite);
    for (device, peer) in [("wire0", "wire1"), ("card0", "card1")] {
        host.exec(&["ip", "link", "add", device, "type", "veth", "peer", "name", peer]);
        host.exec(&["ip", "link", "set", device, "up"]);
    }
    // Passes the result on, and is slow at DEL.
    host.write_program(
        "/usr/lib/cni/slowdel",
        "#!/bin/sh\n\
         case $CNI_COMMAND in\n\
         VERSION) echo '{\"cniVersion\": \"1.0.0\", \"supportedVersions\": [\"1.0.0\"]}' ;;\n\
         DEL) sleep 3 ;;\n\
         ADD) sed 's/.*\"prevResult\":\\(.*\\)/\\1/; s/}$//' ;;\n\
         esac\n",
    );
    for (name, text) in files {
        host.write(&format!("/etc/cni/net.d/{name}"), text);
    }
    host.start_driver();
    host
}

#[track_caller]
fn restart(host: &Host, container: &str) {
    host.docker(&["restart", "--time", "0", container]);
}

#[track_caller]
fn no_orphans(host: &Host) {
    let orphans = || host.exec(&["cnm-cni", "orphans"]);
    let none = || orphans().starts_with("No orphans");
    assert!(within(Duration::from_secs(20), none), "{}", orphans());
}

fn a_port_is_waited_for_until_its_rules_can_be_taken_back(suite: Suite) {
    let host = host(suite, &[BRIDGE]);
    // A spare that is made meanwhile would have chains too.
    host.stop_driver("TERM");
    host.start_driver_without_spares();
    host.create_network("web", Some("k8s"));
    host.run("alice", "web", &["-p", "8070:80"]);
    for _ in 0..6 {
        for table in ["filter", "nat"] {
            // The driver and the plugins are idle; Docker's own chains are not needed here.
            host.exec(&["iptables", "-t", table, "-F"]);
            host.exec(&["iptables", "-t", table, "-X"]);
        }
        restart(&host, "alice");
        answers("alice", || host.get("http://127.0.0.1:8070/"));
    }
    host.remove(&["alice"], &["web"]);
    no_orphans(&host);
}

fn a_mac_is_waited_for_however_long_its_plugins_take(suite: Suite) {
    const MAC: &str = "02:10:20:30:40:52";
    let conflist = r#"{"cniVersion": "1.0.0", "name": "wire", "plugins": [
        {"type": "macvlan", "master": "wire0",
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.96.0.0/24"}]]}},
        {"type": "slowdel"}]}"#;
    let host = host(suite, &[("10-wire.conflist", conflist)]);
    host.create_network("web", Some("wire"));
    host.run("alice", "web", &["--mac-address", MAC]);
    for _ in 0..3 {
        restart(&host, "alice");
        let mac = ["exec", "alice", "cat", "/sys/class/net/eth0/address"];
        assert_eq!(host.docker(&mac), MAC);
    }
    host.remove(&["alice"], &["web"]);
    no_orphans(&host);
}

fn a_device_of_the_host_is_waited_for(suite: Suite) {
    let conflist = r#"{"cniVersion": "1.0.0", "name": "card", "plugins": [
        {"type": "host-device", "device": "card0",
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.94.0.0/24"}]]}}]}"#;
    let host = host(suite, &[("10-card.conflist", conflist)]);
    leaves_nothing(&host, |host| {
        host.create_network("web", Some("card"));
        host.run("alice", "web", &[]);
        for life in 0..6 {
            restart(host, "alice");
            let kind = host.docker(&["exec", "alice", "ip", "link", "show", "eth0"]);
            assert!(kind.contains("UP"), "life {life}: {kind}");
        }
        host.remove(&["alice"], &["web"]);
        no_orphans(host);
        assert!(host.exec(&["ip", "link", "show", "card0"]).contains("card0"));
        // As the plugin leaves it: down.
        host.exec(&["ip", "link", "set", "card0", "up"]);
    });
}

fn a_container_that_cannot_be_attached_leaves_no_orphan(suite: Suite) {
    let no_device = r#"{"cniVersion": "1.0.0", "name": "hdmiss", "plugins": [
        {"type": "host-device", "device": "enp9s0",
         "ipam": {"type": "host-local", "subnet": "10.94.0.0/24"}}]}"#;
    let no_ranges = r#"{"cniVersion": "1.0.0", "name": "noranges", "plugins": [
        {"type": "bridge", "bridge": "cni1", "capabilities": {"ipRanges": true},
         "ipam": {"type": "host-local"}}]}"#;
    let gone = r#"{"cniVersion": "1.0.0", "name": "gone", "plugins": [
        {"type": "bridge", "bridge": "cni2", "ipam": {"type": "host-local", "subnet": "10.93.0.0/24"}},
        {"type": "borrowed"}]}"#;
    let host = Host::up(suite);
    for (name, text) in [("hdmiss", no_device), ("noranges", no_ranges), ("gone", gone)] {
        host.write(&format!("/etc/cni/net.d/{name}.conflist"), text);
    }
    host.write_program("/usr/lib/cni/borrowed", "#!/bin/sh\nexit 1\n");
    host.start_driver();
    for name in ["hdmiss", "noranges", "gone"] {
        // A conflist that cannot work may be refused when the network is made.
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null", "-o"];
        let option = format!("conflist={name}");
        if host.try_exec(&[&["docker"], &create[..], &[&option, name]].concat()).is_err() {
            continue;
        }
        if name == "gone" {
            host.exec(&["rm", "/usr/lib/cni/borrowed"]);
        }
        for _ in 0..3 {
            let error = host.docker_refuses(&["run", "--rm", "--network", name, IMAGE, "true"]);
            assert!(error.contains("failed"), "{name}: {error}");
            assert!(!error.contains("undoing it failed"), "{name}: {error}");
            let orphans = host.exec(&["cnm-cni", "orphans"]);
            assert!(orphans.starts_with("No orphans"), "{name}: {orphans}");
        }
        host.docker(&["network", "rm", name]);
    }
    let leases = host.exec(&["find", "/var/lib/cni/networks", "-name", "10.*"]);
    assert_eq!(leases, "");
}
