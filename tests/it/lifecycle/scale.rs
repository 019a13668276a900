//! Many attachments.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::host::replace;
use super::{Bench, NETWORK, read, scripted, until};
use crate::alone::{alone, sh};

#[test]
fn a_thousand_attachments_go_on_over_a_restart_with_nothing_run() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        let answer = bench.create_endpoint("e1").await.unwrap();
        let record = bench.records().remove(0);
        let text = fs::read_to_string(&record).unwrap();
        let id = record.file_stem().unwrap().to_string_lossy().into_owned();
        let (head, tail) = id.split_at(id.len() - 4);
        let tail = u16::from_str_radix(tail, 16).unwrap();
        let if_name = |id: &str| format!("cni{}", &id.replace('-', "")[20..]);
        for n in 1..=1000 {
            let other = format!("{head}{:04x}", tail ^ n);
            let text = text.replace(&id, &other).replace(&if_name(&id), &if_name(&other));
            let text = text.replace("\"e1\"", &format!("\"x{n}\""));
            fs::write(record.with_file_name(format!("{other}.json")), text).unwrap();
        }
        bench.restart().await;
        assert_eq!(bench.create_endpoint("x1000").await.unwrap(), answer);
        assert_eq!(bench.verbs(), ["ADD"]);
        assert_eq!(bench.records().len(), 1001);
    });
}

/// So many endpoints, each settled in a container of its own.
async fn attached(number: usize, script: Value) -> Bench {
    let bench = Bench::with(json!([scripted(script)])).await;
    let options = json!({"com.docker.network.generic": {"forward": "always"}});
    let network = json!({"NetworkID": NETWORK, "Options": options});
    bench.driver.create_network(read(network)).await.unwrap();
    sh("mkdir /run/netns");
    let mut made = JoinSet::new();
    let turns = Arc::new(Semaphore::new(8));
    for n in 0..number {
        let (driver, turns) = (bench.driver.clone(), Arc::clone(&turns));
        made.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let mut ids =
                json!({"NetworkID": NETWORK, "EndpointID": format!("e{n}"), "Interface": {}});
            driver.create_endpoint(read(ids.clone())).await.unwrap();
            ids["SandboxKey"] = format!("/run/netns/c{n}").into();
            let sandbox = tokio::task::spawn_blocking(move || {
                sh(&format!("touch /run/netns/c{n}; unshare --net=/run/netns/c{n} true"));
            });
            sandbox.await.unwrap();
            let name = driver.join(read(ids.clone())).await.unwrap().interface_name.src_name;
            let moved = tokio::task::spawn_blocking(move || {
                sh(&format!(
                    "ip link set {name} netns c{n}; ip -n c{n} -batch - <<END
                     link set {name} name eth0
                     addr add 10.22.3.7/16 dev eth0
                     addr add fd00:22::7/64 dev eth0 nodad
                     link set eth0 up
                     route add default via 10.22.0.1
END"
                ));
            });
            moved.await.unwrap();
            driver.program_external_connectivity(read(ids)).await.unwrap();
        });
    }
    made.join_all().await;
    bench
}

/// The most threads, descriptors and children that this process has until it is stopped.
struct Peaks {
    stop: Arc<AtomicBool>,
    watching: thread::JoinHandle<[usize; 3]>,
}

impl Peaks {
    fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let count = |folder: &str| fs::read_dir(folder).map_or(0, Iterator::count);
        let watching = thread::spawn(move || {
            let mut most = [0; 3];
            while !seen.load(Ordering::Relaxed) {
                let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
                let children =
                    tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
                let children = children.map(|children| children.split_whitespace().count()).sum();
                let now = [count("/proc/self/task"), count("/proc/self/fd"), children];
                most = [0, 1, 2].map(|which| most[which].max(now[which]));
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        Self { stop, watching }
    }

    fn stop(self) -> [usize; 3] {
        self.stop.store(true, Ordering::Relaxed);
        self.watching.join().unwrap()
    }
}

/// The test's own thread, the one that waits for it, and the one that counts.
const OF_THE_TEST: usize = 3;

#[test]
fn a_check_of_all_takes_few_threads_and_leaves_dockers_calls_their_way() {
    alone(async {
        let slow = json!({"CHECK": {"sleep_ms": 300, "after_work": true}});
        let bench = attached(40, slow).await;
        let alone = Instant::now();
        bench.create_endpoint("x1").await.unwrap();
        let alone = alone.elapsed();
        let peaks = Peaks::watch();
        let driver = bench.driver.clone();
        let begun = Instant::now();
        let checking = tokio::spawn(async move { driver.check(&[], false).await });
        until(|| bench.verbs().contains(&"CHECK".to_owned())).await;
        let meanwhile = Instant::now();
        bench.create_endpoint("x2").await.unwrap();
        let meanwhile = meanwhile.elapsed();
        // An orphan that waits for its turn with the plugins is not locked.
        let deleted = Instant::now();
        bench.leave("e9").await;
        bench.delete_endpoint("e9").await;
        let deleted = deleted.elapsed();
        let checked = checking.await.unwrap();
        let took = begun.elapsed();
        let [threads, ..] = peaks.stop();
        assert!(took > Duration::from_secs(2), "the check was not under way: {took:?}");
        // x1 has not joined.
        assert_eq!(checked.iter().filter(|check| check.is_well()).count(), 39, "{checked:#?}");
        assert!(
            meanwhile < alone * 4 + Duration::from_millis(200),
            "{meanwhile:?}, alone {alone:?}"
        );
        assert!(deleted < Duration::from_secs(2), "{deleted:?}");
        assert!(threads < 30 + OF_THE_TEST, "{threads} threads");
    });
}

#[test]
fn those_that_go_together_have_their_exemptions_ended_together() {
    alone(async {
        const GOING: usize = 12;
        let bench = attached(GOING, json!({})).await;
        let rules = || sh("iptables -S FORWARD; ip6tables -S FORWARD").matches("cnm-cni ").count();
        // One of each family, for all of them.
        assert_eq!(rules(), 2);
        replace("nft", "#!/bin/sh\necho \"$*\" >>/run/ran\nexec /run/real/nft \"$@\"\n");
        let mut going = JoinSet::new();
        for n in 0..GOING {
            let driver = bench.driver.clone();
            let ids = json!({"NetworkID": NETWORK, "EndpointID": format!("e{n}")});
            going.spawn(async move { driver.delete_endpoint(read(ids)).await });
        }
        going.join_all().await;
        let ran = fs::read_to_string("/run/ran").unwrap();
        let changed = ran.lines().filter(|line| line.contains("-f -")).count();
        assert!((1..GOING).contains(&changed), "changed {changed} times: {ran}");
        bench.assert_nothing_is_left();
    });
}

#[test]
#[ignore = "a table of times: make bench, or by itself with --nocapture on a quiet machine"]
fn a_check_takes_as_long_for_each_attachment_however_many_there_are() {
    alone(async {
        println!(
            "attachments  check ms  ms each  threads  descriptors  children  docker's call ms"
        );
        for number in [1, 50, 200, 400] {
            let bench = attached(number, json!({})).await;
            let peaks = Peaks::watch();
            let driver = bench.driver.clone();
            let begun = Instant::now();
            let checking = tokio::spawn(async move { driver.check(&[], false).await });
            let call = Instant::now();
            bench.create_endpoint("x").await.unwrap();
            let call = call.elapsed().as_millis();
            let checked = checking.await.unwrap();
            let took = begun.elapsed().as_secs_f64() * 1000.0;
            let [threads, descriptors, children] = peaks.stop();
            let well = checked.iter().filter(|check| check.is_well()).count();
            assert_eq!(well, number, "{:#?}", checked.iter().find(|check| !check.is_well()));
            let each = took / number as f64;
            let threads = threads - OF_THE_TEST;
            println!(
                "{number:>11}  {took:>8.0}  {each:>7.1}  {threads:>7}  {descriptors:>11}  {children:>8}  {call:>16}"
            );
            assert!(number < 400 || each < 15.0, "{each} ms each");
            assert!(threads < 30, "{threads} threads");
            drop(bench);
            sh("umount /run/netns/*; rm -r /run/netns");
        }
    });
}
