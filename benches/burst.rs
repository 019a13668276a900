//! How many containers a second start when sixteen are asked for at once, on a network of the
//! driver and on Docker's own bridge; and what the driver itself adds to CreateEndpoint, which
//! dockerd calls for one endpoint of a network after another. See README.md.
//!
//! In a test host, with the plugins, the rules and the addresses of a real network. Needs root.

#![allow(clippy::print_stdout, reason = "the table is the output")]

#[expect(dead_code, reason = "the tests need more of it")]
#[expect(clippy::print_stderr, clippy::unwrap_used, clippy::panic, reason = "it is the tests' own")]
#[path = "../tests/it/e2e/host.rs"]
mod host;

use std::collections::HashMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use host::{Host, Suite, within};

/// Bursts on each of the two networks, in turns; one more goes before, to warm up.
const BURSTS: usize = 7;
/// Containers of a burst.
const AT_ONCE: usize = 16;
/// Containers that are started one after another, for what a single CreateEndpoint takes.
const ALONE: usize = 20;

/// What has to hold: the driver's own part of a CreateEndpoint that is alone.
const MAX_OWN_MS: f64 = 5.0;

const LOG: &str = "/run/driver.log";

fn main() -> Result<ExitCode> {
    let host = Host::up(Suite::Forky);
    let conflist = include_str!("../conflists/bridge.conflist");
    host.write("/etc/cni/net.d/10-bridge.conflist", conflist);
    host.start("cnm-cni", &["sh", "-c", &format!("exec cnm-cni serve >{LOG} 2>&1")]);
    let socket = host.path("/run/docker/plugins/cni.sock");
    let answers = || UnixStream::connect(&socket).is_ok();
    ensure!(within(Duration::from_secs(10), answers), "the driver does not answer");
    host.create_network("cni", None);
    host.docker(&["network", "create", "own"]);

    for _ in 0..ALONE {
        host.docker(&["run", "--rm", "--network", "cni", "cnm-cni/busybox", "true"]);
    }
    let alone = own_parts(&host)?;
    println!("{BURSTS} bursts of {AT_ONCE} x 'docker run', in seconds:\n");
    println!("burst   own bridge    cni");
    let mut times: [Vec<f64>; 2] = Default::default();
    for burst in 0..=BURSTS {
        let pair = [run_at_once(&host, "own")?, run_at_once(&host, "cni")?];
        if burst > 0 {
            println!("{burst:>5} {:>12.2} {:>6.2}", pair[0], pair[1]);
            times[0].push(pair[0]);
            times[1].push(pair[1]);
        }
    }
    let [bridge, cni] = times.each_ref().map(|times| AT_ONCE as f64 / median(times));
    let crowded = own_parts(&host)?.split_off(alone.len());
    let own = median(&alone);
    println!("\ncontainers a second, by the medians:");
    println!("  Docker's own bridge  {bridge:.1}");
    println!("  cni                  {cni:.1}, {:.2} of that", cni / bridge);
    println!("the driver's own part of CreateEndpoint, beside that of the plugins:");
    println!("  alone                {own:.2} ms");
    println!("  in a burst           {:.2} ms", median(&crowded));
    let holds = own <= MAX_OWN_MS;
    let verdict = if holds { "ok" } else { "FAILED" };
    println!("\n{verdict}: the driver's own part, alone, <= {MAX_OWN_MS} ms");
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the containers, takes them away again, and returns how many seconds the former took.
fn run_at_once(host: &Host, network: &str) -> Result<f64> {
    let run = format!("docker run -d --network {network} cnm-cni/busybox sleep 600");
    let all = format!("for i in $(seq {AT_ONCE}); do {run} >/dev/null & done; wait");
    let begin = Instant::now();
    host.exec(&["sh", "-c", &all]);
    let time = begin.elapsed();
    let running = host.docker(&["ps", "-q"]).lines().count();
    ensure!(running == AT_ONCE, "{running} of {AT_ONCE} containers run on network {network}");
    host.exec(&["sh", "-c", "docker rm -f $(docker ps -aq)"]);
    // The plugins' DEL runs behind that: the next burst shall not meet it.
    let removed = || host.exec(&["cnm-cni", "orphans", "--format", "json"]).trim() == "[]";
    ensure!(within(Duration::from_secs(60), removed), "containers cannot be removed");
    Ok(time.as_secs_f64())
}

/// What each CreateEndpoint so far took less what its plugins did, in ms, by the driver's log.
fn own_parts(host: &Host) -> Result<Vec<f64>> {
    let log = fs::read_to_string(host.path(LOG))?;
    let mut plugins = HashMap::<&str, f64>::new();
    let mut own = Vec::new();
    for line in log.lines().filter(|line| line.contains("method=NetworkDriver.CreateEndpoint")) {
        let endpoint = field(line, "endpoint=").context("a call without an endpoint")?;
        if line.contains("plugin executed") {
            let ms: f64 = field(line, " ms=").context("a plugin without a time")?.parse()?;
            *plugins.entry(endpoint).or_default() += ms;
        } else if let Some(ms) = field(line, "duration_ms=") {
            let theirs = plugins.get(endpoint).context("a call without a plugin")?;
            own.push(ms.parse::<f64>()? - theirs);
        }
    }
    ensure!(!own.is_empty(), "the log has no CreateEndpoint:\n{log}");
    Ok(own)
}

fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.split_once(key)?.1.split([' ', '}']).next()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
