//! The driver dies in the middle of what real dockerds ask of it, and is started again at once.
//!
//! `crash::points` does the same at every point in seconds, with a simulated dockerd. Here real dockerds
//! react to lost calls.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::host::{Host, IMAGE, Suite, answers, within};
use super::leaks::Footprint;
use super::{ConfFile, on_a_host_with_spares, on_both_dockers};

const CONFLIST: ConfFile<'_> =
    ("10-bridge.conflist", include_str!("../../../conflists/bridge.conflist"));

/// How long Docker, and then the driver, may need to finish: 45 s after its start the driver looks for what
/// Docker has given up on.
const LIMIT: Duration = Duration::from_secs(75);

/// How many points are enough for the tests that always run, beside those of [`SPARE`].
const A_FEW: usize = 8;

/// The steps of making a spare, of claiming it, and of publishing its ports beside Docker's work, that nothing else
/// has.
const SPARE: [&str; 6] = [
    "spare: park/1",
    "spare: parked/1",
    "spare: claim/1",
    "spare: claimed/1",
    "ports: publish/1",
    "ports: published/1",
];

on_both_dockers! {
    nothing_is_left_when_dockerd_dies_too,
    nothing_is_left_wherever_the_driver_dies,
    what_dockerd_died_over_can_be_done_again,
    #[ignore = "takes minutes: make crash"] nothing_is_left_at_all_points,
}

fn nothing_is_left_wherever_the_driver_dies(suite: Suite) {
    dies_at_points(suite, Some(A_FEW));
}

fn nothing_is_left_at_all_points(suite: Suite) {
    dies_at_points(suite, None);
}

/// The driver and dockerd are killed while containers run, and the ports of another one have just been published, which
/// Docker does not know. They end with dockerd, and can be started again.
fn nothing_is_left_when_dockerd_dies_too(suite: Suite) {
    on_a_host_with_spares(suite, &[CONFLIST], |host| {
        create_network(host, "web", 0).unwrap();
        host.run("alice", "web", &["-p", "8080:80"]);
        create_network(host, "ready", 1).unwrap();
        let spare = &host.spares(1)[0]["attachment"];
        host.run("bob", "ready", &["-p", "8090:80"]);
        assert!(host.attachments(&[]).iter().any(|it| it["attachment"] == *spare), "no claim");
        host.stop_driver("KILL");
        host.begin_driver("ports: published/1");
        assert!(within(Duration::from_secs(20), || has_spare(host)), "{}", host.driver_log());
        thread::scope(|scope| {
            let create = ["docker", "create", "--name", "carol", "--network", "ready"];
            host.exec(&[&create[..], &["-p", "8091:80", IMAGE]].concat());
            scope.spawn(|| drop(host.try_exec(&["docker", "start", "carol"])));
            assert!(within(Duration::from_secs(20), || !host.driver_runs()), "no publication");
            host.stop_dockerd("KILL");
        });
        host.start_driver_with_spares();
        host.start_dockerd(&[]);
        // When the new dockerd first calls the driver, which is this call, the driver finds what the dead
        // one left.
        host.docker(&["start", "alice", "bob"]);
        // Docker 28 has made a process for carol before it called the driver, and may forget it: then it cannot start
        // carol again, and the process keeps the interface. The port is free.
        if suite == Suite::Forky {
            let id = host.docker(&["inspect", "--format", "{{.Id}}", "carol"]);
            let containerd = ["--address", "/run/docker/containerd/containerd.sock"];
            let remove = ["--namespace", "moby", "task", "rm", "--force", &id];
            // It may have ended by itself, with what dockerd was about to do.
            let _ = host.try_exec(&[&["ctr"], &containerd[..], &remove].concat());
        }
        host.docker(&["rm", "-f", "carol"]);
        host.run("carol", "ready", &["-p", "8091:80"]);
        answers("alice", || host.get_from_outside(8080));
        answers("bob", || host.get_from_outside(8090));
        answers("carol", || host.get_from_outside(8091));
        // A spare is nobody's.
        let listed = || host.exec(&["cnm-cni", "ls", "--quiet"]);
        let alone = || listed().lines().count() == 3;
        assert!(within(Duration::from_secs(20), alone), "an attachment outlives its container");
        host.remove(&["alice", "bob", "carol"], &["web", "ready"]);
    });
}

/// dockerd is killed in the middle of an ADD. The next dockerd does not know the endpoint. Its port is free
/// for the user's next attempt; and without another attempt it is removed, too.
fn what_dockerd_died_over_can_be_done_again(suite: Suite) {
    const SLOW: &str = "#!/bin/sh
        test $CNI_COMMAND = ADD || exit 0
        touch /run/adding; sleep 1
        exec sed 's/.*\"prevResult\": *//; s/}$//'";
    let host = &Host::up(suite);
    let conflist = CONFLIST.1.replace("\n  ]\n", ",\n    { \"type\": \"slow\" }\n  ]\n");
    host.write("/etc/cni/net.d/10-bridge.conflist", &conflist);
    host.write_program("/opt/cni/bin/slow", SLOW);
    // The records are counted.
    host.start_driver_without_spares();
    host.create_network("web", None);
    let folder = "/var/lib/cnm-cni/attachments";
    let records = || files(host, folder);
    let die_over = |name: &str| {
        let _ = fs::remove_file(host.path("/run/adding"));
        thread::scope(|scope| {
            scope.spawn(|| {
                let run = ["docker", "run", "-d", "--network", "web", "-p", "8080:80"];
                host.try_exec(&[&run[..], &["--name", name, IMAGE]].concat()).unwrap_err();
            });
            let adding = || host.path("/run/adding").exists();
            assert!(within(Duration::from_secs(20), adding));
            host.stop_dockerd("KILL");
        });
        let is_staged = |record: &String| {
            let text = fs::read_to_string(host.path(&format!("{folder}/{record}")));
            text.is_ok_and(|text| text.contains("\"Staged\""))
        };
        let added = || records().iter().any(is_staged);
        assert!(within(Duration::from_secs(20), added), "{:?}", records());
        host.start_dockerd(&[]);
        host.docker(&["rm", "-f", name]);
    };

    die_over("alice");
    host.run("alice", "web", &["-p", "8080:80"]);
    answers("alice", || host.get_from_outside(8080));
    host.docker(&["rm", "-f", "alice"]);
    assert!(within(Duration::from_secs(20), || records().is_empty()), "{:?}", records());
    if suite == Suite::Bookworm {
        die_over("bob");
        // The first call of the new dockerd.
        host.create_network("other", None);
        assert!(within(LIMIT, || records().is_empty()), "{:?}", records());
    }
    assert!(files(host, "/run/cnm-cni/netns").is_empty());
    host.stop_driver("KILL");
}

/// Kills the driver at every point of a container's life, or at a few that are spread over it; of one that is
/// attached when Docker asks, and of one that gets a spare.
fn dies_at_points(suite: Suite, few: Option<usize>) {
    let host = Host::up(suite);
    host.write(&format!("/etc/cni/net.d/{}", CONFLIST.0), CONFLIST.1);
    let points = points_of(&host, "list", 0);
    assert!(points.len() > 60, "{points:?}");
    let mut of_spare = points_of(&host, "ready", 1);
    // From the first plugin until Docker has the interface, and its ports are published. The rest is as for any
    // attachment.
    let at = |step: &str| of_spare.iter().position(|point| point == step).unwrap();
    let asked = at("/NetworkDriver.ProgramExternalConnectivity: done/1");
    let (begin, end) = (at("ADD bridge: start/1"), asked);
    assert!(SPARE.iter().all(|step| (begin..end).contains(&at(step))), "{of_spare:?}");
    let of_spare = of_spare.drain(begin..end).collect::<Vec<_>>();
    let before = Footprint::settled(&host);
    let step = few.map_or(1, |few| points.len().div_ceil(few));
    let mut chosen: Vec<_> = points.iter().skip(step / 2).step_by(step).map(|it| (it, 0)).collect();
    let each = |point: &&String| few.is_none() || SPARE.contains(&point.as_str());
    chosen.extend(of_spare.iter().filter(each).map(|point| (point, 1)));
    let mut lost_networks = 0;
    for (number, (point, spares)) in chosen.iter().enumerate() {
        lost_networks += dies_at(&host, point, &format!("c{number}"), *spares);
    }
    host.start_driver_with_spares();
    if suite == Suite::Forky && few.is_some() {
        // Instead of waiting until the driver does it by itself, as with the other one.
        host.exec(&["cnm-cni", "gc", "--apply", "--grace", "0"]);
    }
    println!("{} of {} crash points on {suite:?}", chosen.len(), points.len() + of_spare.len());
    let records = |kind: &str| files(&host, &format!("/var/lib/cnm-cni/{kind}"));
    let left = || [records("attachments"), files(&host, "/run/cnm-cni/netns")].concat();
    assert!(within(LIMIT, || left().is_empty()), "{:?}", left());
    // Docker never mentions a network again if the answer to its creation was lost, although it may exist;
    // nor a network whose removal it repeated without a body.
    let log = host.log("cnm-cni");
    let refused = |line: &&str| line.contains("method=NetworkDriver.DeleteNetwork}: failed");
    let networks = records("networks");
    assert!(networks.len() <= lost_networks + log.lines().filter(refused).count(), "{networks:?}");
    for network in networks {
        fs::remove_file(host.path(&format!("/var/lib/cnm-cni/networks/{network}"))).unwrap();
    }
    host.stop_driver("KILL");
    before.assert_nothing_more(&host);
}

/// The points that a container's life passes, on a network with so many spares.
fn points_of(host: &Host, name: &str, spares: usize) -> Vec<String> {
    let earlier = host.log("cnm-cni").lines().count();
    host.begin_driver("list");
    life(host, name, spares);
    let records = || files(host, "/var/lib/cnm-cni/attachments");
    assert!(within(LIMIT, || records().is_empty()), "{:?}", records());
    host.stop_driver("KILL");
    let log = host.log("cnm-cni");
    let not_in_each_life = |point: &str| {
        // Calls that each dockerd makes only once.
        point.contains("Activate") || point.contains("GetCapabilities")
            // FORWARD is written again only if the rule there is gone, or not the last any more.
            || (point.contains("tables-restore") && !point.ends_with("/1"))
    };
    let lines = log.lines().skip(earlier);
    let points = lines.filter_map(|line| line.strip_prefix("crash point: "));
    points.filter(|point| !not_in_each_life(point)).map(str::to_owned).collect()
}

/// A container comes and goes while the driver dies at `point`, and comes back at once. How many
/// networks Docker could not make.
fn dies_at(host: &Host, point: &str, name: &str, spares: usize) -> usize {
    host.begin_driver(point);
    let over = AtomicBool::new(false);
    let lost_networks = thread::scope(|scope| {
        let came_back = scope.spawn(|| {
            // Some points are in the background, after all that Docker waits for.
            let dead = || !host.driver_runs();
            let died = within(Duration::from_secs(60), || dead() || over.load(Ordering::Relaxed))
                && within(Duration::from_secs(10), dead);
            if died {
                host.start_driver_with_spares();
            }
            died
        });
        let lost_networks = life(host, name, spares);
        over.store(true, Ordering::Relaxed);
        assert!(came_back.join().unwrap(), "{point} is not passed");
        lost_networks
    });
    host.stop_driver("KILL");
    // The rule may have outlived its last container. Each life passes the same points, so the next one writes it
    // again.
    for program in ["iptables", "ip6tables"] {
        let remove = "-S FORWARD | sed -n 's/^-A \\(.*cnm-cni table.*\\)/-D \\1/p'";
        host.exec(&["sh", "-c", &format!("{program} {remove} | xargs -r -L 1 {program}")]);
    }
    lost_networks
}

/// What a user does: makes a network and a container with a port on it, and removes both. A step that fails
/// because the driver has died is repeated, except for the start of the container. How many networks could
/// not be made.
fn life(host: &Host, name: &str, spares: usize) -> usize {
    let create = || create_network(host, name, spares);
    let lost_networks = usize::from(create().is_err());
    if lost_networks > 0 {
        create().unwrap();
    }
    if spares > 0 {
        assert!(within(Duration::from_secs(20), || has_spare(host)), "{}", host.driver_log());
    }
    let run = ["docker", "run", "-d", "--init", "--network", name, "-p", "80", "--name", name];
    let _ = host.try_exec(&[&run[..], &["cnm-cni/busybox"]].concat());
    host.docker(&["rm", "-f", name]);
    let remove = ["docker", "network", "rm", name];
    if host.try_exec(&remove).is_err() {
        host.exec(&remove);
    }
    lost_networks
}

/// Makes a network with so many spares.
fn create_network(host: &Host, name: &str, spares: usize) -> Result<String, String> {
    host.create_network_with(name, &[format!("spares={spares}")])
}

/// Whether a driver runs, and a spare is on record, with its interface where Docker takes it.
fn has_spare(host: &Host) -> bool {
    let links = fs::read_to_string(host.path("/proc/1/net/dev")).unwrap();
    let folder = "/var/lib/cnm-cni/attachments";
    let is_ready = |file: &String| {
        let record = fs::read(host.path(&format!("{folder}/{file}"))).unwrap_or_default();
        let record: Value = serde_json::from_slice(&record).unwrap_or_default();
        let if_name = record["record"]["parameters"]["if_name"].as_str().unwrap_or("none");
        record["record"]["phase"] == "Spare" && links.contains(&format!("{if_name}:"))
    };
    host.driver_runs() && files(host, folder).iter().any(is_ready)
}

fn files(host: &Host, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(host.path(folder)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
