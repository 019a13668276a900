//! Pods beside containers: sandboxes that containerd makes when a kubelet asks, on the conflist and the
//! leases of a Docker network. `fidelity` compares the networks that both get.

use std::collections::BTreeSet;
use std::thread;

use super::cri::{Kubelet, Pod};
use super::host::{Host, Suite, answers, within};
use super::leaks::LIMIT;
use super::{PODS, leaves_nothing, on_both_dockers};

on_both_dockers! {
    pods_and_containers_share_a_conflist_and_leave_each_other_alone,
}

/// `bridge`, which writes down its input.
const RECORDER: &str = r#"#!/bin/sh
mkdir -p /run/recorder
[ "$CNI_COMMAND" != ADD ] || echo "$CNI_ARGS" >"/run/recorder/$CNI_CONTAINERID"
exec /usr/lib/cni/bridge
"#;

fn pods_and_containers_share_a_conflist_and_leave_each_other_alone(suite: Suite) {
    let host = Host::up(suite);
    host.write_program("/usr/lib/cni/recorder", RECORDER);
    let conflist = PODS.1.replace(r#""type": "bridge""#, r#""type": "recorder""#);
    host.write("/etc/cni/net.d/10-pods.conflist", &conflist);
    host.start_driver_without_spares();
    let kubelet = Kubelet::start(&host);
    kubelet.knows(&conflist);
    // `portmap` may fail if two make the shared chains at the same time.
    kubelet.remove(kubelet.run("first", Some(8080)));
    leaves_nothing(&host, |host| {
        // New connections reach its pods, and also these containers.
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        host.docker(&[&create[..], &["-o", "forward=open", "web"]].concat());
        let pods: Vec<Pod> = thread::scope(|scope| {
            for (name, port) in [("alice", "8080:80"), ("bob", "8081:80")] {
                scope.spawn(move || host.run(name, "web", &["-p", port]));
            }
            let kubelet = &kubelet;
            let started = [("dora", 8082), ("emil", 8083)]
                .map(|(name, port)| scope.spawn(move || kubelet.run(name, Some(port))));
            started.map(|pod| pod.join().unwrap()).into()
        });
        let of = |name| host.endpoint(name, "web")["IPAddress"].as_str().unwrap().to_owned();
        let containers = ["alice", "bob"].map(of);
        let all: BTreeSet<_> = pods.iter().map(|pod| &pod.address).chain(&containers).collect();
        assert_eq!(all.len(), 4, "each its own: {all:?}");
        assert_eq!(Vec::from_iter(all), leases(host).iter().collect::<Vec<_>>());
        told_as_by_a_kubelet(host);

        for pod in &pods {
            host.ping("alice", &pod.address).unwrap();
            answers(Pod::PAGE, || host.get_in("bob", &format!("http://{}/", pod.address)));
            for (name, address) in ["alice", "bob"].iter().zip(&containers) {
                answers(name, || get_in(host, pod, address));
            }
        }
        answers("bob", || host.get_from_outside(8081));
        // Other pods would meet Docker's DROP policy, because nothing exempts them here.
        let published = format!("http://{}:8083/", host.address());
        answers(Pod::PAGE, || host.get(&published));

        let collected = host.exec(&[
            "cnm-cni",
            "gc",
            "--format",
            "wide",
            "--apply",
            "--exclusive",
            "--grace",
            "0",
        ]);
        assert_eq!(leases(host).len(), 4, "{collected}");
        let [first, second] = <[Pod; 2]>::try_from(pods).unwrap();
        kubelet.remove(first);
        host.docker(&["rm", "-f", "bob"]);
        assert!(within(LIMIT, || leases(host).len() == 2), "{:?}", leases(host));
        host.ping("alice", &second.address).unwrap();
        answers("alice", || get_in(host, &second, &containers[0]));
        answers("alice", || host.get_from_outside(8080));
        answers(Pod::PAGE, || host.get(&published));
        host.exec(&["cnm-cni", "check"]);
        kubelet.remove(second);
        host.remove(&["alice"], &["web"]);
        host.exec(&["rm", "-r", "/run/recorder"]);
    });
}

/// Containers have the same `CNI_ARGS` as pods, except for a pod's id, which nobody could look up.
fn told_as_by_a_kubelet(host: &Host) {
    let told = host.exec(&["sh", "-c", "cd /run/recorder; grep . *"]);
    let (mut pods, mut containers) = (BTreeSet::new(), BTreeSet::new());
    for line in told.lines() {
        let (id, args) = line.split_once(':').unwrap();
        let pairs: BTreeSet<_> =
            args.split(';').map(|pair| pair.split_once('=').unwrap()).collect();
        assert!(pairs.contains(&("K8S_POD_INFRA_CONTAINER_ID", id)), "{line}");
        let mut keys: BTreeSet<_> = pairs.into_iter().map(|(key, _)| key).collect();
        // A runtime's id is twice as long as the driver's.
        match id.len() {
            64 => pods.insert((keys.remove("K8S_POD_UID"), keys)),
            _ => containers.insert((true, keys)),
        };
    }
    assert_eq!((pods.len(), &pods), (1, &containers), "{told}");
}

/// A container's page, requested by a pod.
fn get_in(host: &Host, pod: &Pod, address: &str) -> Result<String, String> {
    let url = format!("http://{address}/");
    let curl = ["curl", "--silent", "--show-error", "--max-time", "3", &url];
    host.try_exec(&[&["nsenter", &format!("--net={}", pod.netns())], &curl[..]].concat())
}

/// The addresses that `host-local` has given out on the conflist, in order.
fn leases(host: &Host) -> BTreeSet<String> {
    let names = host.exec(&["ls", "/var/lib/cni/networks/pods"]);
    names.lines().filter(|name| name.starts_with("10.")).map(str::to_owned).collect()
}
