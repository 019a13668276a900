//! Other runtimes on the same conflist as the driver: podman with its CNI backend, and `ctr` of containerd.
//! Each takes its own time for a container, so what counts is what the network adds to that.

use anyhow::{Context, Result};

use crate::host::{Host, IMAGE, Suite};
use crate::site::{Families, Site, Way, turns};
use crate::table::median;

/// Containers of each runtime, with a network and without, in turns; some more go before, to warm up.
const TURNS: usize = 15;
const WARM_UP: usize = 2;

/// Docker's own containerd, with another containerd namespace than Docker's.
const CTR: &str = "ctr --address /run/docker/containerd/containerd.sock --namespace nodes";

/// As podman 4 takes it.
const CONFLIST: &str = r#"{
    "cniVersion": "0.4.0",
    "name": "shared",
    "plugins": [
        {"type": "bridge", "bridge": "shared0", "isGateway": true,
         "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
                  "ranges": [[{"subnet": "10.77.0.0/24"}]]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}
    ]
}"#;

/// There is no systemd, and the host's disk is an overlay itself.
const CONTAINERS_CONF: &str = r#"
    [network]
    network_backend = "cni"
    [engine]
    cgroup_manager = "cgroupfs"
    events_logger = "file"
    runtime = "runc"
"#;
const STORAGE_CONF: &str = r#"
    [storage]
    driver = "vfs"
    runroot = "/run/containers/storage"
    graphroot = "/var/lib/containers/storage"
"#;

/// A runtime, and the command for a container that ends at once and is removed: without a network,
/// and with one.
struct Runtime {
    name: &'static str,
    lives: [String; 2],
}

pub(crate) fn measure() -> Result<()> {
    for (debian, suite) in [("Debian 12", Suite::Podman), ("Debian 14", Suite::Forky)] {
        let site = Site::up(suite, CONFLIST, Families::Ipv4)?;
        let mut runtimes = vec![docker("docker, own bridge", Way::OwnBridge)];
        runtimes.extend(Way::OURS.map(|way| docker("docker, cni", way)));
        runtimes.push(ctr(&site.host));
        if suite == Suite::Podman {
            runtimes.push(podman(&site.host));
        }
        compare(&site, debian, &runtimes)?;
    }
    Ok(())
}

fn compare(site: &Site, debian: &str, runtimes: &[Runtime]) -> Result<()> {
    let mut times = vec![[Vec::new(), Vec::new()]; runtimes.len()];
    for turn in turns(TURNS, WARM_UP) {
        for (runtime, times) in runtimes.iter().zip(&mut times) {
            for (life, times) in runtime.lives.iter().zip(times) {
                let ms = site.timed(&format!("timed life {life}"))?;
                site.wait_for_removals()?;
                if turn >= WARM_UP {
                    times.push(*ms.get("life").context("no time of a life")?);
                }
            }
        }
    }
    println!(
        "\n{debian}: run --rm … true, ms{:>18}{:>12}{:>12}{:>5}",
        "none", "network", "adds", "of"
    );
    for (runtime, [without, with]) in runtimes.iter().zip(&times) {
        let (without, with, of) = (median(without), median(with), with.len());
        let adds = with - without;
        println!("{:<35}{without:>18.1}{with:>12.1}{adds:>12.1}{of:>5}", runtime.name);
    }
    Ok(())
}

fn docker(name: &'static str, way: Way) -> Runtime {
    let life =
        |network: &str| format!("docker run --rm --pull never --network {network} {IMAGE} true");
    Runtime { name, lives: [life(Way::None.name()), life(way.name())] }
}

/// Puts the plugins where containerd looks for them, and imports Docker's image.
fn ctr(host: &Host) -> Runtime {
    host.exec(&["mkdir", "-p", "/opt/cni"]);
    host.exec(&["ln", "-sfn", "/usr/lib/cni", "/opt/cni/bin"]);
    host.exec(&["sh", "-c", &format!("docker save {IMAGE} | {CTR} image import -")]);
    let group = host.group();
    let life = |network: &str| {
        format!("{CTR} run --rm {network} --cgroup {group}/one docker.io/{IMAGE}:latest one true")
    };
    Runtime { name: "containerd, ctr --cni", lives: [life(""), life("--cni")] }
}

/// Sets podman up, with the image that Docker has.
fn podman(host: &Host) -> Runtime {
    host.write("/etc/containers/containers.conf", CONTAINERS_CONF);
    host.write("/etc/containers/storage.conf", STORAGE_CONF);
    host.exec(&["sh", "-c", &format!("docker save {IMAGE} | podman load --quiet")]);
    let group = host.group();
    let life = |network: &str| {
        format!(
            "podman run --rm --pull never --cgroup-parent {group} --network {network} {IMAGE} true"
        )
    };
    Runtime { name: "podman 4, CNI backend", lives: [life("none"), life("shared")] }
}
