//! containerd on the driver's conflists and leases: `ctr run --cni`, by the same library (go-cni,
//! on libcni) as a kubelet's containers.

use std::thread;
use std::time::Duration;

use super::host::{Host, IMAGE, Suite, within};
use super::{on_a_host_without_spares, on_both_dockers};

on_both_dockers! {
    containers_of_both_come_and_go_at_once_and_leave_each_other_alone,
}

const LIMIT: Duration = Duration::from_secs(10);

/// Docker's own containerd, with another containerd namespace than Docker's.
const CTR: [&str; 5] =
    ["ctr", "--address", "/run/docker/containerd/containerd.sock", "--namespace", "nodes"];

/// containerd takes the first conflist there is. `firewall` lets its containers through Docker's
/// FORWARD policy; the driver's own need no plugin for that. No `ipMasq`: `ctr` runs DEL when the namespace has gone, and the
/// plugin then finds no rule to remove.
const CONFLIST: &str = r#"{
    "cniVersion": "VERSION",
    "name": "shared",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "shared0",
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": "10.77.0.0/24"}]]
            }
        },
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"}
    ]
}"#;

fn containers_of_both_come_and_go_at_once_and_leave_each_other_alone(suite: Suite) {
    // GC came with CNI 1.1.0, which the older containerd and plugins do not support.
    let version = if suite == Suite::Forky { "1.1.0" } else { "1.0.0" };
    let conflist = CONFLIST.replace("VERSION", version);
    on_a_host_without_spares(suite, &[("10-shared.conflist", &conflist)], |host| {
        install(host);
        host.create_network("web", None);
        let names = ["c0", "c1", "c2", "c3"];
        thread::scope(|scope| {
            for name in names {
                scope.spawn(|| host.run(name, "web", &[]));
                scope.spawn(|| run(host, name));
            }
        });
        let mut addresses: Vec<_> = names.iter().map(|name| address(host, name)).collect();
        let of_docker =
            |name: &&str| host.endpoint(name, "web")["IPAddress"].as_str().unwrap().to_owned();
        let (ours, theirs) = (of_docker(&"c0"), addresses[0].clone());
        addresses.extend(names.iter().map(of_docker));
        addresses.sort();
        assert_eq!(addresses, leases(host), "each its own");
        host.ping("c0", &theirs).unwrap();
        ping(host, "c0", &ours);

        assert_eq!(gc(host, &["--apply"]), "No garbage.\n");
        let found = gc(host, &["--exclusive", "--apply"]);
        match suite {
            Suite::Forky => {
                for name in names {
                    assert!(found.contains(&format!("valid: nodes-{name} eth0")), "{found}");
                }
                assert_eq!(found.matches("valid: ").count(), 2 * names.len(), "{found}");
            }
            _ => assert!(found.contains("kept: its cniVersion is 1.0.0"), "{found}"),
        }
        assert_eq!(leases(host), addresses);

        thread::scope(|scope| {
            for name in &names[2..] {
                scope.spawn(|| host.docker(&["rm", "-f", name]));
                scope.spawn(|| end(host, name));
            }
        });
        assert!(within(LIMIT, || leases(host).len() == 4), "{:?}", leases(host));
        assert_eq!(gc(host, &["--apply"]), "No garbage.\n");
        host.ping("c0", &theirs).unwrap();
        ping(host, "c0", &ours);
        host.docker(&["rm", "-f", "c0"]);
        let rest = host.exec(&["cnm-cni", "check", "c1"]);
        assert!(rest.contains("as ADD left it"), "{rest}");
        end(host, "c0");
        end(host, "c1");
        host.remove(&["c1"], &["web"]);
    });
}

/// Puts the plugins where containerd looks for them, and imports Docker's image.
fn install(host: &Host) {
    host.exec(&["mkdir", "-p", "/opt/cni"]);
    host.exec(&["ln", "-sfn", "/usr/lib/cni", "/opt/cni/bin"]);
    host.exec(&["docker", "save", "--output", "/root/image.tar", IMAGE]);
    ctr(host, &["image", "import", "/root/image.tar"]);
}

fn ctr(host: &Host, args: &[&str]) -> String {
    host.exec(&[&CTR, args].concat())
}

/// Starts a container of containerd's, which `ctr` removes when it has ended.
fn run(host: &Host, name: &str) {
    let (group, image) = (format!("{}/{name}", host.group()), format!("docker.io/{IMAGE}:latest"));
    let run = ["run", "--rm", "--cni", "--cgroup", &group, &image, name];
    host.start(&format!("ctr-{name}"), &[&CTR, &run[..]].concat());
}

/// Ends a container of containerd's, and waits until it has been removed.
fn end(host: &Host, name: &str) {
    ctr(host, &["task", "kill", "--signal", "KILL", name]);
    let gone = || !ctr(host, &["container", "ls", "--quiet"]).lines().any(|line| line == name);
    assert!(within(LIMIT, gone), "{}", host.log(&format!("ctr-{name}")));
}

/// The address of a container of containerd's, once it runs and has one.
fn address(host: &Host, name: &str) -> String {
    let show = ["ip", "-4", "-o", "addr", "show", "eth0"];
    let exec = [&CTR[..], &["task", "exec", "--exec-id", "show", name], &show].concat();
    let mut address = None;
    let has_one = within(LIMIT, || {
        let shown = host.try_exec(&exec).unwrap_or_default();
        let found = shown.split_once("inet ").and_then(|(_, rest)| rest.split_once('/'));
        address = found.map(|(address, _)| address.to_owned());
        address.is_some()
    });
    assert!(has_one, "{}", host.log(&format!("ctr-{name}")));
    address.unwrap()
}

/// Sends one ping from a container of containerd's.
fn ping(host: &Host, from: &str, to: &str) {
    ctr(host, &["task", "exec", "--exec-id", "ping", from, "ping", "-c", "1", "-W", "3", to]);
}

fn gc(host: &Host, flags: &[&str]) -> String {
    host.exec(&[&["cnm-cni", "gc", "--format", "wide", "--grace", "0"], flags].concat())
}

/// The addresses that `host-local` has given out on the conflist, sorted.
fn leases(host: &Host) -> Vec<String> {
    let names = host.exec(&["ls", "/var/lib/cni/networks/shared"]);
    let mut leases: Vec<_> =
        names.lines().filter(|name| name.starts_with("10.")).map(str::to_owned).collect();
    leases.sort();
    leases
}
