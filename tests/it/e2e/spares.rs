//! Attachments that are made before a container asks.

use std::time::Duration;

use serde_json::Value;

use super::host::{Host, IMAGE, Suite, answers, within};
use super::{BRIDGE, on_a_host, on_both_dockers};

on_both_dockers! {
    a_container_that_starts_on_a_spare_has_what_any_has_and_nothing_is_left,
}

/// The addresses of the spares, once there are so many.
#[track_caller]
fn ready(host: &Host, count: usize) -> Vec<String> {
    let spares = || {
        let listed = host.exec(&["cnm-cni", "ls", "--spares", "--format", "json"]);
        let spares: Value = serde_json::from_str(&listed).unwrap();
        // The last one may still be in the making.
        let made = spares.as_array().unwrap().iter().filter(|spare| spare["state"] == "spare");
        let addresses = made.map(|spare| {
            let address = spare["addresses"][0].as_str().unwrap();
            address.split('/').next().unwrap().to_owned()
        });
        addresses.collect::<Vec<_>>()
    };
    assert!(within(Duration::from_secs(30), || spares().len() == count), "{:?}", spares());
    spares()
}

fn address(host: &Host, container: &str) -> String {
    host.endpoint(container, "web")["IPAddress"].as_str().unwrap().to_owned()
}

fn a_container_that_starts_on_a_spare_has_what_any_has_and_nothing_is_left(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        host.docker(&[&create[..], &["-o", "spares=2", "web"]].concat());
        let spares = ready(host, 2);
        host.run("alice", "web", &["-p", "8080:80"]);
        host.run("bob", "web", &[]);
        for container in ["alice", "bob"] {
            let address = address(host, container);
            assert!(spares.contains(&address), "{container}: {address}, not of {spares:?}");
        }
        assert!(host.driver_log().contains("from a spare"));
        answers("alice", || host.get("http://127.0.0.1:8080/"));
        answers("alice", || host.get_from_outside(8080));
        answers("alice", || host.get_in("bob", "http://alice/"));
        host.ping("alice", "bob").unwrap();
        host.ping("bob", &host.machine()).unwrap();
        host.exec(&["cnm-cni", "check"]);
        // The next ones survive the driver, and are nobody's garbage.
        let spares = ready(host, 2);
        host.stop_driver("KILL");
        host.start_driver();
        let garbage = host.exec(&["cnm-cni", "gc", "--grace", "0"]);
        assert!(!garbage.contains("attachment "), "{garbage}");
        assert_eq!(ready(host, 2), spares);
        // Whoever names the address of one gets it.
        let asked = format!("name=web,driver-opt=ip={}", spares[0]);
        host.run("carol", &asked, &[]);
        assert_eq!(address(host, "carol"), spares[0]);
        ready(host, 2);
        // Rules that the host has lost meanwhile are there again when the process begins.
        host.exec(&["iptables", "-t", "nat", "-F", "POSTROUTING"]);
        let machine = host.machine();
        let run = ["run", "--rm", "--pull", "never", "--network", "web", IMAGE];
        host.docker(&[&run[..], &["ping", "-c", "1", "-W", "2", &machine]].concat());
        assert!(host.driver_log().contains("they are written again"), "{}", host.driver_log());
        // The other spare has lost them too, and is replaced.
        let replaced = || host.driver_log().contains("spares are replaced");
        assert!(within(Duration::from_secs(20), replaced), "{}", host.driver_log());
        ready(host, 2);
        host.remove(&["alice", "bob", "carol"], &["web"]);
    });
}
