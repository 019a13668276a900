//! Whether the driver's own part grows with the number of attachments: on a host with 1, 100 and 1,000 of them, each
//! in a namespace of its own.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::call::call;
use crate::host::within;
use crate::measuring::number_of_turns;
use crate::others_of_host::{CONFLIST, Others};
use crate::own_part::calls;
use crate::site::{READY, Site, Way};
use crate::table::median;

/// Attachments of others, whose bridge is another one.
const NUMBERS: [usize; 3] = [1, 100, 1000];
/// Endpoints that come and go; and how often every attachment is looked at.
const TURNS: usize = 15;
const LOOKS: usize = 3;

/// What has to hold: Docker's calls for an ordinary endpoint, at the most attachments to at one.
const MAX_RATIO: f64 = 1.1;
/// The driver's memory, in MiB.
const MAX_MEMORY: f64 = 20.0;

/// The threads that have had the work end ten seconds later.
const UNTIL_GIVEN_BACK: Duration = Duration::from_secs(30);

const CALLS: [&str; 3] = ["CreateEndpoint", "Join", "DeleteEndpoint"];

/// Prints a line for each figure; returns whether the promises hold.
pub(crate) fn holds(site: &Site) -> Result<bool> {
    site.host.write("/etc/cni/net.d/20-others.conflist", CONFLIST);
    let others = Others::on(&site.host);
    let mut rows = Vec::<(&str, Vec<f64>)>::new();
    let mut count = 0;
    for number in NUMBERS {
        others.make_in_namespaces(&site.host, count..number)?;
        count = number;
        for (what, value) in at(site, number)? {
            match rows.iter_mut().find(|(other, _)| *other == what) {
                Some((_, values)) => values.push(value),
                None => rows.push((what, vec![value])),
            }
        }
    }
    println!("\n{:<48}{:>9}{:>9}{:>9}{:>12}", "attachments", 1, 100, 1000, "1,000 / 1");
    for (what, values) in &rows {
        let [one, hundred, thousand] = values[..] else { bail!("{what} was not always measured") };
        let ratio = thousand / one;
        println!("{what:<48}{one:>9.2}{hundred:>9.2}{thousand:>9.2}{ratio:>12.2}");
    }
    let of_calls = |at: usize| -> f64 {
        let calls = rows.iter().filter(|(what, _)| CALLS.iter().any(|it| what.starts_with(it)));
        calls.filter_map(|(_, values)| values.get(at)).sum()
    };
    let ratio = of_calls(2) / of_calls(0);
    let memory = rows.iter().filter(|(what, _)| what.starts_with("memory"));
    let memory = memory.flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    let holds = ratio <= MAX_RATIO && memory <= MAX_MEMORY;
    let verdict = if holds { "ok" } else { "FAILED" };
    println!(
        "{verdict}: the three calls at 1,000 / at 1: {ratio:.2}, at most {MAX_RATIO}; memory: {memory:.1} MiB, \
         at most {MAX_MEMORY} MiB"
    );
    Ok(holds)
}

/// The figures beside so many attachments.
fn at(site: &Site, number: usize) -> Result<Vec<(&'static str, f64)>> {
    let mut figures = Vec::new();
    let at_rest = number + READY;
    until_records(site, at_rest)?;

    let turns = number_of_turns(TURNS).min(READY);
    let earlier = site.driver_log()?.len();
    for turn in 0..turns {
        let ordinary = Endpoint::new(site, Way::Cni, turn)?;
        ordinary.begin()?;
        ordinary.end()?;
        until_records(site, at_rest)?;
    }
    let log = site.driver_log()?;
    let own = |method| -> Result<f64> {
        let calls = calls(log.get(earlier..).unwrap_or_default(), method)?;
        Ok(median(&calls.iter().map(|call| call.own_ms).collect::<Vec<_>>()))
    };
    figures.push(("CreateEndpoint less its plugins, ms", own(CALLS[0])?));
    figures.push(("Join, ms", own(CALLS[1])?));
    figures.push(("DeleteEndpoint until its answer, ms", own(CALLS[2])?));

    // All of them before the next spares are made.
    let earlier = log.len();
    let claiming = (0..turns)
        .map(|turn| Endpoint::new(site, Way::Spares, turn))
        .collect::<Result<Vec<_>>>()?;
    claiming.iter().try_for_each(Endpoint::begin)?;
    claiming.iter().try_for_each(Endpoint::end)?;
    until_records(site, at_rest)?;
    let log = site.driver_log()?;
    let log = log.get(earlier..).unwrap_or_default();
    let claims = calls(log, CALLS[0])?;
    ensure!(claims.iter().all(|call| !call.has_run_plugins), "no spare was claimed");
    let own = |calls: &[crate::own_part::Call]| {
        median(&calls.iter().map(|call| call.own_ms).collect::<Vec<_>>())
    };
    figures.push(("claim of a spare, ms", own(&claims)));
    figures.push(("its Join, ms", own(&calls(log, CALLS[1])?)));

    let before = needs(site)?;
    figures.push(("memory, MiB", before.memory));
    figures.push(("descriptors", before.descriptors as f64));
    for (what, verb) in [("check of each, ms", "check"), ("gc of each, ms", "gc")] {
        let mut took = Vec::new();
        for _ in 0..number_of_turns(LOOKS) {
            // It may find something.
            let times = site.timed(&format!("timed it sh -c 'cnm-cni {verb} || [ $? = 1 ]'"))?;
            took.push(times.get("it").context("no time of the verb")? / number as f64);
        }
        figures.push((what, median(&took)));
    }
    // The driver gives memory back when the threads end that had the work.
    within(UNTIL_GIVEN_BACK, || needs(site).is_ok_and(|now| now.memory <= MAX_MEMORY));
    figures.push(("memory after them, MiB", needs(site)?.memory));
    let starts = (0..number_of_turns(LOOKS)).map(|_| start(site)).collect::<Result<Vec<_>>>()?;
    figures.push(("start until it answers, ms", median(&starts)));
    figures.push(("memory after a start, MiB", needs(site)?.memory));
    Ok(figures)
}

/// An endpoint that Docker might make on a network of this way.
struct Endpoint {
    socket: PathBuf,
    ids: serde_json::Value,
}

impl Endpoint {
    fn new(site: &Site, way: Way, number: usize) -> Result<Self> {
        let network = site.host.docker(&["network", "inspect", "-f", "{{.Id}}", way.name()]);
        let endpoint = format!("e{number:063x}");
        let ids = json!({"NetworkID": network, "EndpointID": endpoint, "Interface": {},
                         "Options": {}, "SandboxKey": format!("/run/docker/netns/{number}")});
        Ok(Self { socket: site.socket(), ids })
    }

    fn begin(&self) -> Result<()> {
        ["CreateEndpoint", "Join"].iter().try_for_each(|method| self.call(method))
    }

    fn end(&self) -> Result<()> {
        ["Leave", "DeleteEndpoint"].iter().try_for_each(|method| self.call(method))
    }

    fn call(&self, method: &str) -> Result<()> {
        call(&self.socket, method, &self.ids).map(drop)
    }
}

/// Waits until there are so many records: nothing is being made or removed.
fn until_records(site: &Site, count: usize) -> Result<()> {
    let rests = || {
        // One may be removed while it is read.
        let phases = site.phases().unwrap_or_default();
        phases.len() == count && phases.iter().filter(|phase| *phase == "Spare").count() == READY
    };
    ensure!(within(Duration::from_secs(60), rests), "there are not {count} records");
    Ok(())
}

/// What the driver needs.
struct Needs {
    /// In MiB.
    memory: f64,
    descriptors: usize,
}

fn needs(site: &Site) -> Result<Needs> {
    let pid = fs::read_to_string(site.host.path("/run/testbed/cnm-cni.pid"))?;
    let process = site.host.path(&format!("/proc/{}", pid.trim()));
    let status = fs::read_to_string(process.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    let descriptors = fs::read_dir(process.join("fd"))?.count();
    Ok(Needs { memory: kib / 1024.0, descriptors })
}

/// Stops the driver and starts it again. How many ms until it has read its records and answers, less what it takes to
/// start anything in the host.
fn start(site: &Site) -> Result<f64> {
    site.host.stop("cnm-cni", "TERM");
    let begun = Instant::now();
    site.host.start("nothing", &["true"]);
    let anything = begun.elapsed();
    let begun = Instant::now();
    site.start_driver();
    let unknown = json!({"NetworkID": "unknown", "EndpointID": "unknown"});
    while call(&site.socket(), "EndpointOperInfo", &unknown).is_err() {
        ensure!(begun.elapsed() < Duration::from_secs(30), "the driver does not answer");
        sleep(Duration::from_millis(1));
    }
    Ok((begun.elapsed().as_secs_f64() - anything.as_secs_f64()) * 1000.0)
}
