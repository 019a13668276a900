//! The driver with `--metrics` and without, on the same calls in turns: what it costs a call that figures are read
//! meanwhile. See README.md.
//!
//! usage: figures PLUGIN DRIVER, the paths of the tests' fake plugin and of the driver. Needs root: it
//! starts itself once more, in namespaces that end with it.

#![allow(clippy::print_stdout, reason = "the table is the output")]

#[path = "shared/call.rs"]
mod call;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use call::call;
use serde_json::{Value, json};

/// Containers that each of the two gets, in turns; some more go before, to warm up.
const TURNS: usize = 400;
const WARM_UP: usize = 20;

/// The pause between two scrapes: far shorter than anybody's.
const PAUSE: Duration = Duration::from_secs(1);

/// What has to hold for each call.
const MAX_RATIO: f64 = 1.01;

/// Docker's calls for a container.
const CALLS: [&str; 4] = ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"];

const NETWORK: &str = "a0ca6ece2c77192e6a30b8d43e6cc8ecf221af6fbcec1bdea408c1d29c467b9f";
const INSIDE: &str = "CNM_CNI_BENCH_INSIDE";

fn main() -> Result<ExitCode> {
    // Cargo adds a flag of its own.
    let arguments: Vec<_> = std::env::args_os().skip(1).filter(|it| it != "--bench").collect();
    let [plugin, driver] = arguments.as_slice() else {
        bail!("usage: figures PLUGIN DRIVER; `make bench` gives both");
    };
    if std::env::var_os(INSIDE).is_none() {
        let mut again = Command::new("unshare");
        again.args(["--net", "--mount", "--"]).arg(std::env::current_exe()?).args(&arguments);
        let ended = again.env(INSIDE, "yes").status().context("cannot start unshare")?;
        return Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    // In memory, so that no disk is measured.
    sh("mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; ip link set lo up")?;
    let socket = Path::new("/run/with/metrics.sock");
    let metrics = format!("unix:{}", socket.display());
    let without = Side::start("without", driver.as_ref(), plugin.as_ref(), &[])?;
    let with = Side::start("with", driver.as_ref(), plugin.as_ref(), &["--metrics", &metrics])?;
    let (is_over, scrapes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut times: [[Vec<f64>; 2]; 4] = Default::default();
    thread::scope(|scope| -> Result<()> {
        let scraping = scope.spawn(|| -> Result<()> {
            while !is_over.load(Relaxed) {
                let text = answer(socket, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")?;
                ensure!(text.contains("cnm_cni_build_info"), "no figures: {text}");
                scrapes.fetch_add(1, Relaxed);
                thread::sleep(PAUSE);
            }
            Ok(())
        });
        let lives = (0..TURNS + WARM_UP).try_for_each(|turn| {
            // Each is first as often as the other.
            let sides = [(0, &without), (1, &with)];
            let order = if turn.is_multiple_of(2) { [0, 1] } else { [1, 0] };
            order.into_iter().try_for_each(|place| {
                let (column, side) = sides[place];
                let took = side.life(turn)?;
                for (row, ms) in times.iter_mut().zip(took).filter(|_| turn >= WARM_UP) {
                    row[column].push(ms);
                }
                Ok(())
            })
        });
        is_over.store(true, Relaxed);
        match scraping.join() {
            Ok(scraped) => lives.and(scraped),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    println!("medians, ms {:>12} {:>10} {:>8}", "without", "with", "ratio");
    let mut holds = true;
    for (call, [without, with]) in CALLS.iter().zip(times) {
        let (without, with) = (median(without), median(with));
        let ratio = with / without;
        holds &= ratio <= MAX_RATIO;
        println!("{call:<14} {without:>9.3} {with:>10.3} {ratio:>8.3}");
    }
    let verdict = if holds { "ok" } else { "FAILED" };
    let scrapes = scrapes.into_inner();
    println!("\n{verdict}: no call takes more than {MAX_RATIO} times as long; {scrapes} scrapes");
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A driver with folders of its own. It is killed when this is dropped.
struct Side {
    driver: Child,
    folder: PathBuf,
}

impl Side {
    fn start(name: &str, program: &Path, plugin: &Path, more: &[&str]) -> Result<Self> {
        let folder = Path::new("/run").join(name);
        fs::create_dir_all(folder.join("conf"))?;
        fs::create_dir_all(folder.join("bin"))?;
        symlink(plugin, folder.join("bin/fake-plugin"))?;
        let conflist = json!({"cniVersion": "1.0.0", "name": "bench", "plugins": [
            {"type": "fake-plugin", "fake": {
                "interface": true, "addresses": ["10.22.3.7/16"], "gateway": "10.22.0.1",
                "routes": [{"dst": "0.0.0.0/0", "gw": "10.22.0.1"}]}}]});
        fs::write(folder.join("conf/10-bench.conflist"), conflist.to_string())?;
        let mut command = Command::new(program);
        // DEL runs before its call is answered, so that it disturbs no other.
        command.args(["serve", "--gc-interval=0", "--sync-delete", "--allow-writable"]).args(more);
        for (flag, name) in [
            ("--conf-dir", "conf"),
            ("--cni-path", "bin"),
            ("--state-dir", "state"),
            ("--run-dir", "run"),
            ("--socket", "cni.sock"),
        ] {
            command.arg(flag).arg(folder.join(name));
        }
        command.stderr(File::create(folder.join("log"))?).stdin(Stdio::null());
        let side = Self { driver: command.spawn()?, folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        let network = json!({"NetworkID": NETWORK, "Options": {}});
        while side.call("CreateNetwork", &network).is_err() {
            ensure!(Instant::now() < deadline, "{} does not answer", program.display());
            thread::sleep(Duration::from_millis(1));
        }
        Ok(side)
    }

    fn call(&self, method: &str, request: &Value) -> Result<()> {
        call(&self.folder.join("cni.sock"), method, request).map(drop)
    }

    /// The life of a container: what each of its calls took, in ms.
    fn life(&self, turn: usize) -> Result<[f64; 4]> {
        let endpoint = format!("{turn:012x}{:052x}", 0);
        let sandbox = self.folder.join("sandbox");
        let request = json!({"NetworkID": NETWORK, "EndpointID": endpoint, "SandboxKey": sandbox,
                             "Interface": {}, "Options": {}});
        let mut took = [0.0; 4];
        for (ms, call) in took.iter_mut().zip(CALLS) {
            let begun = Instant::now();
            self.call(call, &request)?;
            *ms = begun.elapsed().as_secs_f64() * 1000.0;
        }
        Ok(took)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn answer(socket: &Path, request: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn sh(line: &str) -> Result<()> {
    ensure!(Command::new("sh").args(["-ec", line]).status()?.success(), "{line}");
    Ok(())
}
