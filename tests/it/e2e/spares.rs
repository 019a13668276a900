//! Attachments that are made before a container asks.

use std::time::Duration;

use serde_json::Value;

use super::host::{Host, IMAGE, Suite, answers, within};
use super::{BRIDGE, on_a_host_with_spares, on_both_dockers};

on_both_dockers! {
    a_container_that_starts_on_a_spare_has_what_any_has_and_nothing_is_left,
}

/// The addresses of the spares, once there are so many.
#[track_caller]
fn ready(host: &Host, count: usize) -> Vec<String> {
    let address = |spare: &Value| {
        let address = spare["addresses"][0].as_str().unwrap();
        address.split('/').next().unwrap().to_owned()
    };
    host.spares(count).iter().map(address).collect()
}

fn address(host: &Host, container: &str) -> String {
    host.endpoint(container, "web")["IPAddress"].as_str().unwrap().to_owned()
}

fn a_container_that_starts_on_a_spare_has_what_any_has_and_nothing_is_left(suite: Suite) {
    on_a_host_with_spares(suite, &[BRIDGE], |host| {
        host.create_network_with("web", &["spares=2".to_owned()]).unwrap();
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
        host.start_driver_with_spares();
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
