//! Two builds of the driver beside each other, on the same calls in turns: what each adds to the
//! plugins' time, how it takes a burst, and what a thousand attachments cost it. See README.md.
//!
//! usage: beside PLUGIN OLD NEW, the paths of the tests' fake plugin and of two drivers. Needs
//! root: it starts itself once more, in namespaces that end with it.

#![allow(clippy::print_stdout, reason = "the table is the output")]

#[path = "shared/call.rs"]
mod call;

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use call::call;
use serde_json::{Value, json};

/// Containers that each of the two gets, in turns; some more go before, to warm up.
const TURNS: usize = 60;
const WARM_UP: usize = 5;
/// Bursts, and containers of a burst.
const BURSTS: usize = 15;
const AT_ONCE: usize = 16;
/// Starts with a thousand records.
const STARTS: usize = 15;
const RECORDS: u32 = 1000;

/// What has to hold, for each line of the table.
const MAX_RATIO: f64 = 1.05;

const NETWORK: &str = "a0ca6ece2c77192e6a30b8d43e6cc8ecf221af6fbcec1bdea408c1d29c467b9f";
const INSIDE: &str = "CNM_CNI_BENCH_INSIDE";

fn main() -> Result<ExitCode> {
    // Cargo adds a flag of its own.
    let arguments: Vec<_> = std::env::args_os().skip(1).filter(|it| it != "--bench").collect();
    let [plugin, old, new] = arguments.as_slice() else {
        bail!("usage: beside PLUGIN OLD NEW; `make bench OLD=…` gives all three");
    };
    if std::env::var_os(INSIDE).is_none() {
        let mut again = Command::new("unshare");
        again.args(["--net", "--mount", "--"]).arg(std::env::current_exe()?).args(&arguments);
        let ended = again.env(INSIDE, "yes").status().context("cannot start unshare")?;
        return Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    // In memory, so that no disk is measured.
    sh("mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; ip link set lo up")?;
    let sides = [
        Side::new("old", old.as_ref(), plugin.as_ref())?,
        Side::new("new", new.as_ref(), plugin.as_ref())?,
    ];

    let mut table = Table::default();
    let running = [sides[0].start()?, sides[1].start()?];
    for turn in 0..TURNS + WARM_UP {
        for side in in_turns(turn) {
            sides[side].life(&format!("{turn:012x}{:052x}", 0))?;
        }
    }
    for (side, mut parts) in sides.iter().map(Side::parts).enumerate() {
        for (what, times) in parts.drain() {
            table.row(what).values[side].extend(times.into_iter().skip(WARM_UP));
        }
    }
    for burst in 0..=BURSTS {
        for side in in_turns(burst) {
            let ms = sides[side].burst(burst)?;
            if burst > 0 {
                table.row("4. burst of 16, ms").values[side].push(ms);
            }
        }
    }
    for (side, driver) in sides.iter().zip(running) {
        side.create("seed")?;
        drop(driver);
        side.multiply_records()?;
    }
    for start in 0..STARTS {
        for side in in_turns(start) {
            let begin = Instant::now();
            let driver = sides[side].start()?;
            let ms = begin.elapsed().as_secs_f64() * 1000.0;
            table.row("5. start with 1,000 records, ms").values[side].push(ms);
            sides[side].life(&format!("{start:012x}{:052x}", 0))?;
            let kib = memory(&driver)?;
            table.row("6. memory with 1,000 attachments, KiB").values[side].push(kib);
        }
    }
    Ok(table.print())
}

/// The order of a turn: each is first as often as the other.
fn in_turns(turn: usize) -> [usize; 2] {
    if turn.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

/// One build, with folders of its own.
struct Side {
    program: PathBuf,
    folder: PathBuf,
}

impl Side {
    fn new(name: &str, program: &Path, plugin: &Path) -> Result<Self> {
        let folder = Path::new("/run").join(name);
        fs::create_dir_all(folder.join("conf"))?;
        fs::create_dir_all(folder.join("bin"))?;
        symlink(plugin, folder.join("bin/fake-plugin"))?;
        let conflist = json!({"cniVersion": "1.0.0", "name": "bench", "plugins": [
            {"type": "fake-plugin", "fake": {
                "interface": true, "addresses": ["10.22.3.7/16", "fd00:22::7/64"],
                "gateway": "10.22.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.22.0.1"}]}},
        ]});
        fs::write(folder.join("conf/10-bench.conflist"), conflist.to_string())?;
        Ok(Self { program: program.to_owned(), folder })
    }

    /// Starts it, and waits until it has read its records.
    fn start(&self) -> Result<Running> {
        let path = |name: &str| self.folder.join(name).into_os_string();
        let mut command = Command::new(&self.program);
        // Its log has a line for each call and each plugin.
        command.args(["serve", "--gc-interval=0", "--max-attachments=2000", "--log-level=debug"]);
        for (flag, name) in [
            ("--conf-dir", "conf"),
            ("--cni-path", "bin"),
            ("--state-dir", "state"),
            ("--run-dir", "run"),
            ("--socket", "cni.sock"),
        ] {
            command.arg(flag).arg(path(name));
        }
        let log = File::options().create(true).append(true).open(path("log"))?;
        command.env("NO_COLOR", "1").stderr(log).stdin(Stdio::null());
        let running = Running(command.spawn()?);
        let deadline = Instant::now() + Duration::from_secs(30);
        let network = json!({
            "NetworkID": NETWORK,
            "Options": {},
            "IPv4Data": [{"AddressSpace": "null", "Gateway": "10.22.0.1/16", "Pool": "0.0.0.0/0"}],
            "IPv6Data": [],
        });
        // It is answered when the records are read, also for a network that is there.
        while self.call("CreateNetwork", &network).is_err() {
            ensure!(Instant::now() < deadline, "{} does not answer", self.program.display());
            thread::sleep(Duration::from_micros(200));
        }
        Ok(running)
    }

    fn call(&self, method: &str, request: &Value) -> Result<Value> {
        call(&self.folder.join("cni.sock"), method, request)
    }

    fn create(&self, endpoint: &str) -> Result<()> {
        let ids =
            json!({"NetworkID": NETWORK, "EndpointID": endpoint, "Interface": {}, "Options": {}});
        self.call("CreateEndpoint", &ids).map(drop)
    }

    fn join(&self, endpoint: &str) -> Result<()> {
        let sandbox = self.folder.join("sandboxes").join(endpoint);
        let ids = json!({"NetworkID": NETWORK, "EndpointID": endpoint, "SandboxKey": sandbox});
        self.call("Join", &ids).map(drop)
    }

    fn remove(&self, endpoint: &str) -> Result<()> {
        let ids = json!({"NetworkID": NETWORK, "EndpointID": endpoint});
        self.call("Leave", &ids)?;
        self.call("DeleteEndpoint", &ids).map(drop)
    }

    /// A container that comes and goes. DEL runs behind the last answer, and is waited for.
    fn life(&self, endpoint: &str) -> Result<()> {
        let before = self.records()?.len();
        self.create(endpoint)?;
        self.join(endpoint)?;
        self.remove(endpoint)?;
        self.until_records(before)
    }

    /// How many ms so many containers take that are started at once.
    fn burst(&self, number: usize) -> Result<f64> {
        let endpoints: Vec<_> =
            (0..AT_ONCE).map(|n| format!("b{number:07x}{n:04x}{:052x}", 0)).collect();
        let begin = Instant::now();
        thread::scope(|scope| {
            let started = endpoints.iter().map(|endpoint| {
                scope.spawn(|| self.create(endpoint).and_then(|()| self.join(endpoint)))
            });
            let started: Vec<_> = started.collect();
            started.into_iter().try_for_each(|one| match one.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let ms = begin.elapsed().as_secs_f64() * 1000.0;
        endpoints.iter().try_for_each(|endpoint| self.remove(endpoint))?;
        self.until_records(0)?;
        Ok(ms)
    }

    fn records(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.folder.join("state/attachments"))?;
        entries.map(|entry| Ok(entry?.path())).collect()
    }

    fn until_records(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.records()?.len() > count {
            ensure!(Instant::now() < deadline, "DEL does not end");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Makes a thousand of the one record, each of another attachment and endpoint.
    fn multiply_records(&self) -> Result<()> {
        let records = self.records()?;
        let [record] = records.as_slice() else { bail!("not one record: {records:?}") };
        let text = fs::read_to_string(record)?;
        let id = record.file_stem().and_then(|it| it.to_str()).context("a record without an id")?;
        let (head, tail) = id.split_at(id.len() - 4);
        let tail = u32::from_str_radix(tail, 16)?;
        for number in 1..RECORDS {
            let other = format!("{head}{:04x}", tail ^ number);
            let text = text.replace(id, &other).replace("\"seed\"", &format!("\"seed{number}\""));
            fs::write(record.with_file_name(format!("{other}.json")), text)?;
        }
        Ok(())
    }

    /// By the log, call by call: what it took less what its plugins did. And what followed on the
    /// last plugin of a CreateEndpoint: what ADD made is read, and a record written.
    fn parts(&self) -> HashMap<&'static str, Vec<f64>> {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let mut plugins = HashMap::<(&str, &str), (f64, f64)>::new();
        let mut parts = HashMap::<_, Vec<f64>>::new();
        for line in log.lines() {
            let Some(call) = field(line, "method=").zip(field(line, "endpoint=")) else { continue };
            let at = clock(line).unwrap_or_default();
            if line.contains("plugin executed") {
                let ms: f64 =
                    field(line, " ms=").and_then(|ms| ms.parse().ok()).unwrap_or_default();
                let so_far = plugins.entry(call).or_default();
                *so_far = (so_far.0 + ms, at);
            } else if let Some(ms) =
                field(line, "duration_ms=").and_then(|ms| ms.parse::<f64>().ok())
            {
                let theirs = plugins.get(&call);
                match call.0 {
                    "NetworkDriver.CreateEndpoint" => {
                        let (theirs, ended) = theirs.copied().unwrap_or_default();
                        parts
                            .entry("1. CreateEndpoint less plugins, ms")
                            .or_default()
                            .push(ms - theirs);
                        parts.entry("3. snapshot and record, ms").or_default().push(at - ended);
                    }
                    "NetworkDriver.Join" => parts.entry("2. Join, ms").or_default().push(ms),
                    _ => {}
                }
            }
        }
        parts
    }
}

fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.split_once(key)?.1.split([' ', '}']).next()
}

/// The time of day of a line of the log, in ms.
fn clock(line: &str) -> Option<f64> {
    let mut parts = line.split_once('T')?.1.split_once('Z')?.0.split(':');
    let mut next = || parts.next()?.parse::<f64>().ok();
    Some(((next()? * 60.0 + next()?) * 60.0 + next()?) * 1000.0)
}

fn memory(driver: &Running) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", driver.0.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A driver that runs, and is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sh(line: &str) -> Result<()> {
    ensure!(Command::new("sh").args(["-ec", line]).status()?.success(), "{line}");
    Ok(())
}

/// What was measured of the two, line by line.
#[derive(Default)]
struct Table(Vec<Row>);

struct Row {
    what: &'static str,
    values: [Vec<f64>; 2],
}

impl Table {
    fn row(&mut self, what: &'static str) -> &mut Row {
        let at = self.0.iter().position(|row| row.what == what).unwrap_or_else(|| {
            self.0.push(Row { what, values: Default::default() });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    fn print(mut self) -> ExitCode {
        self.0.sort_by_key(|row| row.what);
        println!("medians {:>36} {:>10} {:>10}", "old", "new", "new / old");
        let mut holds = true;
        for Row { what, values } in &self.0 {
            let [old, new] = values.each_ref().map(|values| median(values));
            holds &= new / old <= MAX_RATIO;
            println!("{what:<38} {old:>6.2} {new:>10.2} {:>10.3}", new / old);
        }
        let verdict = if holds { "ok" } else { "FAILED" };
        println!("\n{verdict}: no ratio above {MAX_RATIO}");
        if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
