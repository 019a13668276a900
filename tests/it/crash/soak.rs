//! Under load: containers come and go, sixteen at a time, on the reference plugins, while the
//! driver is killed every few seconds.
//!
//! `make soak` sets how many (`CNM_CNI_SOAK`); `make test` has a few. The seed of what is random is
//! printed, and taken from `CNM_CNI_SEED`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tokio::process::Child;
use tokio::time::sleep;

use super::files;
use super::site::{AT_ONCE, Life, Site};
use crate::alone::alone;

/// What the driver may need, in KiB, with a thousand live attachments.
const MOST_MEMORY: u64 = 20 << 10;

#[test]
fn a_driver_under_load_that_is_killed_now_and_then_loses_nothing() {
    alone(async { under_load(0).await });
}

#[test]
fn nor_does_it_where_containers_get_spares() {
    alone(async { under_load(AT_ONCE).await });
}

/// As many containers as there are spares come and go at once, again and again.
async fn under_load(spares: usize) {
    let cycles = number("CNM_CNI_SOAK").unwrap_or(3 * AT_ONCE);
    let site = Arc::new(Site::with_spares(spares).await);
    let mut random = Random::new();
    let mut driver = site.start().await;
    site.make_network().await;

    // With kills, of which each may lose a call.
    let begun = Instant::now();
    let mut work = Box::pin(site.cycles(cycles / 3));
    let mut kills = 0;
    loop {
        let pause = Duration::from_millis(500 + random.below(3000));
        if tokio::time::timeout(pause, &mut work).await.is_ok() {
            break;
        }
        driver.kill().await.unwrap();
        driver = site.start().await;
        kills += 1;
    }
    drop(work);
    // Without, so that what piles up is seen.
    let claimed = site.claimed();
    site.cycles(cycles / 3).await;
    let between = Figures::of(&driver);
    site.cycles(cycles - cycles / 3 * 2).await;
    let claimed = site.claimed() - claimed;
    let rate = cycles as f64 / begun.elapsed().as_secs_f64();
    let lost = site.lost.load(Ordering::Relaxed);
    site.nothing_is_left().await;
    let after = Figures::of(&driver);
    println!("{cycles} cycles, {rate:.1} a second, {kills} kills, {lost} calls lost");
    println!("{claimed} spares claimed between the last kill and the end");
    println!("after two thirds: {between:?}; at the end: {after:?}");
    assert!(after.files <= between.files, "{between:?} {after:?}");
    assert!(after.threads <= between.threads + 8, "{between:?} {after:?}");
    assert!(after.memory_kib < between.memory_kib + (4 << 10), "{between:?} {after:?}");
    assert_eq!(claimed > cycles / 3, spares > 0, "{claimed} of {cycles}");
    driver.kill().await.unwrap();
}

#[test]
#[ignore = "takes minutes: make soak"]
fn a_thousand_attachments_need_little_memory() {
    alone(async {
        let site = Arc::new(Site::new().await);
        let mut driver = site.start().await;
        site.make_network().await;
        let mut ids: Vec<_> = (0..1000).map(|number| format!("{number:064x}")).collect();
        for some in ids.chunks_mut(AT_ONCE) {
            let made = some.iter().map(|id| {
                let (site, id) = (Arc::clone(&site), id.clone());
                tokio::spawn(async move { Life::begin(&site, &id).await.unwrap() })
            });
            for life in made.collect::<Vec<_>>() {
                life.await.unwrap();
            }
        }
        let live = Figures::of(&driver);
        driver.kill().await.unwrap();
        let begun = Instant::now();
        driver = site.start().await;
        let answered = begun.elapsed();
        site.is_open().await;
        let recovered = begun.elapsed();
        let again = Figures::of(&driver);
        println!("1000 live attachments: {live:?}");
        println!(
            "started again, answers after {answered:?}, has recovered after {recovered:?}: {again:?}"
        );
        driver.kill().await.unwrap();
        // Everything is in this test's own namespaces, and goes with them.
        assert!(live.memory_kib.max(again.memory_kib) < MOST_MEMORY, "{live:?} {again:?}");
    });
}

#[test]
fn two_runtimes_share_a_conflist() {
    alone(async {
        let each = number("CNM_CNI_SOAK").map_or(10, |_| 100);
        let site = Arc::new(Site::with_spares(0).await);
        let mut driver = site.start().await;
        site.make_network().await;
        let mut beginning = Vec::new();
        for number in 0..each {
            let of_site = Arc::clone(&site);
            let ours = async move { Life::begin(&of_site, &format!("{number:064x}")).await };
            let of_site = Arc::clone(&site);
            let theirs = async move { of_site.cni("add", number).await };
            beginning.push((tokio::spawn(ours), tokio::spawn(theirs)));
            if beginning.len() % (AT_ONCE / 2) == 0 {
                // The rest waits for these.
                while !beginning
                    .iter()
                    .all(|(ours, theirs)| ours.is_finished() && theirs.is_finished())
                {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
        let mut ours = Vec::new();
        for (our, their) in beginning {
            ours.push(our.await.unwrap().unwrap());
            let result: Value = serde_json::from_str(&their.await.unwrap()).unwrap();
            site.has(result["ips"][0]["address"].as_str().unwrap());
        }
        assert_eq!(site.leases().len(), 2 * each);
        println!("{} attachments of two runtimes, and no address twice", 2 * each);

        // Half of each goes, at once; and garbage is collected meanwhile.
        let mut going = Vec::new();
        for (number, life) in ours.drain(..each / 2).enumerate() {
            let of_site = Arc::clone(&site);
            going.push(tokio::spawn(async move { life.end(&of_site).await }));
            let of_site = Arc::clone(&site);
            going.push(tokio::spawn(async move { drop(of_site.cni("del", number).await) }));
            if number % 8 == 0 {
                site.collect().await;
            }
        }
        for one in going {
            one.await.unwrap();
        }
        let rest = 2 * (each - each / 2);
        site.until("half of the leases are left", || site.leases().len() == rest).await;
        assert_eq!(site.collect().await, json!([]), "nothing of the other one's is garbage");
        assert_eq!(site.leases().len(), rest);
        for number in each / 2..each {
            site.cni("check", number).await;
            site.cni("del", number).await;
        }
        for life in ours {
            life.end(&site).await;
        }
        site.nothing_is_left().await;
        driver.kill().await.unwrap();
    });
}

/// What a process needs.
#[derive(Debug)]
struct Figures {
    memory_kib: u64,
    threads: u64,
    files: usize,
}

impl Figures {
    fn of(process: &Child) -> Self {
        let folder = format!("/proc/{}", process.id().unwrap());
        let status = fs::read_to_string(format!("{folder}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            memory_kib: field("VmRSS:"),
            threads: field("Threads:"),
            files: files(Path::new(&format!("{folder}/fd"))).len(),
        }
    }
}

/// Numbers as if by chance (SplitMix64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let seed = number("CNM_CNI_SEED").map_or(now.as_secs(), |seed| seed as u64);
        println!("CNM_CNI_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}
