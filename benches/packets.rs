//! How many packets a container sends out of its host, for a second of processor time, beside the exemptions of 0,
//! 100, 400 and 1,000 other containers; on a network of the driver, and on Docker's own bridge. See README.md.
//!
//! In a test host, with the rules of a real Docker and a real driver. Needs root.

#![allow(clippy::print_stdout, reason = "the table is the output")]

#[path = "shared/call.rs"]
mod call;
#[expect(dead_code, reason = "the tests need more of it")]
#[expect(clippy::print_stderr, clippy::unwrap_used, clippy::panic, reason = "it is the tests' own")]
#[path = "../tests/it/e2e/host.rs"]
mod host;
#[expect(dead_code, reason = "the other bench needs more of it")]
#[path = "shared/others.rs"]
mod others;

use std::fs;
use std::net::UdpSocket;
use std::process::ExitCode;

use anyhow::{Context, Result};
use host::{Host, Suite};
use nix::time::{ClockId, clock_gettime};
use others::Others;

/// How many other containers there are.
const OTHERS: [usize; 4] = [0, 100, 400, 1000];
/// Measurements of each kind, in turns.
const TURNS: usize = 15;
/// Packets of a measurement, of which the first do not count.
const PACKETS: u32 = 50_000;
const WARM_UP: u32 = 1_000;

/// What has to hold: a container's packets at 400 others to those at none, each to those of Docker's own bridge.
const MIN_RATIO: f64 = 0.97;

const SENDER: &str = "/usr/local/bin/sender";

fn main() -> Result<ExitCode> {
    // Cargo adds a flag of its own.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if let [to] = arguments.as_slice() {
        println!("{}", sent_per_second(to)?);
        return Ok(ExitCode::SUCCESS);
    }
    let host = Host::up(Suite::Forky);
    fs::copy(std::env::current_exe()?, host.path(SENDER))?;
    host.write("/etc/cni/net.d/10-bridge.conflist", include_str!("../conflists/bridge.conflist"));
    host.write("/etc/cni/net.d/20-others.conflist", others::CONFLIST);
    host.start_driver();
    host.create_network("cni", None);
    host.docker(&["network", "create", "own"]);
    let others = Others::on(&host);
    let senders = ["own", "cni"].map(|network| {
        host.run(network, network, &[]);
        host.docker(&["inspect", "-f", "{{.State.Pid}}", network])
    });
    // It takes the packets, and nobody answers them.
    let sink = UdpSocket::bind((host.machine(), 0))?;
    let to = sink.local_addr()?.to_string();

    println!("medians of {TURNS}; packets for a second of the processor\n");
    println!("others   own bridge        cni   cni / own   iptables -S FORWARD ms   cni add ms");
    let mut ratios = Vec::new();
    let mut count = 0;
    for number in OTHERS {
        others.make(count..number, |_, _, _| Ok(()))?;
        count = number;
        let mut sent: [Vec<f64>; 2] = Default::default();
        let (mut listing, mut adding) = (Vec::new(), Vec::new());
        for turn in 0..=TURNS {
            let measured: Vec<f64> = senders
                .iter()
                .map(|pid| {
                    let send = host.exec(&["nsenter", "--target", pid, "--net", SENDER, &to]);
                    Ok(send.trim().parse()?)
                })
                .collect::<Result<_>>()?;
            let took = [list(&host)?, add(&host)?];
            // The first one warms up.
            if turn > 0 {
                sent.iter_mut().zip(measured).for_each(|(all, sent)| all.push(sent));
                listing.push(took[0]);
                adding.push(took[1]);
            }
        }
        let [own, cni] = sent.each_ref().map(|sent| median(sent));
        ratios.push((number, cni / own));
        println!(
            "{number:>6} {own:>12.0} {cni:>10.0} {:>11.3} {:>24.2} {:>12.1}",
            cni / own,
            median(&listing),
            median(&adding)
        );
    }
    let at = |number| ratios.iter().find(|(of, _)| *of == number).map_or(f64::NAN, |(_, it)| *it);
    let ratio = at(400) / at(0);
    let verdict = if ratio >= MIN_RATIO { "ok" } else { "FAILED" };
    println!(
        "\n{verdict}: at 400 others / at none, each to the own bridge's: {ratio:.3}, >= {MIN_RATIO}"
    );
    Ok(if ratio >= MIN_RATIO { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends small packets, and returns how many it would send with a second of its processor's time. The kernel
/// forwards them within that time: a virtual interface hands each on to the next one at once.
fn sent_per_second(to: &str) -> Result<f64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut begun = None;
    for sent in 0..WARM_UP + PACKETS {
        if sent == WARM_UP {
            begun = Some(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
        }
        socket.send_to(&[0; 64], to)?;
    }
    let ended = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    let took = std::time::Duration::from(ended - begun.context("no packet counts")?);
    Ok(f64::from(PACKETS) / took.as_secs_f64())
}

/// How long a look at FORWARD takes, in ms, less what it takes to start it in the host.
fn list(host: &Host) -> Result<f64> {
    timed(host, "iptables -S FORWARD")
}

/// How long the bridge's chain takes to attach a namespace, in ms.
fn add(host: &Host) -> Result<f64> {
    host.exec(&["ip", "netns", "add", "measured"]);
    let took = timed(host, "cnm-cni cni add cni-bridge /run/netns/measured");
    host.exec(&["cnm-cni", "cni", "del", "cni-bridge", "/run/netns/measured"]);
    host.exec(&["ip", "netns", "delete", "measured"]);
    took
}

/// How long a command takes in the host.
fn timed(host: &Host, command: &str) -> Result<f64> {
    let timed = format!("a=$(date +%s%N); {command} >/dev/null; b=$(date +%s%N); echo $((b - a))");
    let nanoseconds: f64 = host.exec(&["sh", "-ec", &timed]).trim().parse()?;
    Ok(nanoseconds / 1e6)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
