//! What the engine itself takes for ADD and DEL of a chain of three plugins; and libcni, on
//! the same chain in the same run. And what the driver takes to read what ADD left. See
//! README.md.
//!
//! usage: engine PLUGIN LIBCNI, the paths of what `make bench` built of nothing.c and libcni/.

#![allow(clippy::print_stdout, reason = "the table is the output")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cnm_cni::cni::{Attachment, Cache, Limits, NetworkConfigList, Runtime};
use cnm_cni::netlink::{Netlink, Route};
use cnm_cni::netns;
use cnm_cni::sysctl::{self, Scope};
use ipnet::IpNet;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::geteuid;
use rtnetlink::LinkUnspec;
use serde_json::json;

/// Rounds, each a line of the table.
const ROUNDS: usize = 9;
/// Turns that everyone has in a round. They are short, so that a busy moment of the machine
/// hits all alike.
const TURNS: usize = 20;
/// Pairs of ADD and DEL in a turn.
const PAIRS: usize = 5;

/// What has to hold.
const MAX_OWN_MS: f64 = 2.0;
const MAX_RATIO: f64 = 1.0;
const MAX_SNAPSHOT_MS: f64 = 5.0;
const MAX_STALL_MS: f64 = 1.0;

/// How often what ADD left is read.
const SNAPSHOTS: usize = 200;
/// How often an interface is moved.
const MOVES: usize = 20;

const CONFLIST: &str = r#"{
    "cniVersion": "1.0.0",
    "name": "bench",
    "plugins": [
        {"type": "one", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "two", "sysctl": {"net.core.somaxconn": "500"}},
        {"type": "three", "capabilities": {"portMappings": true}}
    ]
}"#;

fn main() -> Result<ExitCode> {
    // Cargo adds a flag of its own.
    let paths: Vec<PathBuf> =
        std::env::args_os().skip(1).filter(|it| it != "--bench").map(PathBuf::from).collect();
    let [plugin, libcni] = paths.as_slice() else {
        bail!("usage: engine PLUGIN LIBCNI; `make bench` builds both");
    };
    // In memory, so that no disk is measured.
    let folder = tempfile::tempdir_in("/dev/shm").context("cannot make a folder")?;
    let bench = Arc::new(Bench::new(folder.path(), plugin)?);
    let mut libcni = Libcni::start(libcni, &bench)?;
    // With as many workers as the driver has.
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;

    println!(
        "{ROUNDS} rounds of {} x (ADD + DEL) of three plugins; medians in ms:\n",
        TURNS * PAIRS
    );
    println!("round   bare   ours   ours + cache   libcni");
    let mut all: [Vec<Duration>; 4] = Default::default();
    let mut cpu = Vec::new();
    for round in 0..=ROUNDS {
        let mut times: [Vec<Duration>; 4] = Default::default();
        for _ in 0..TURNS {
            times[0].extend(bench.bare()?);
            let before = cpu_time()?;
            times[1].extend(tokio.block_on(tokio.spawn(bench.clone().ours(false)))??);
            cpu.push(cpu_time()?.saturating_sub(before) / PAIRS as u32);
            times[2].extend(tokio.block_on(tokio.spawn(bench.clone().ours(true)))??);
            times[3].extend(libcni.turn()?);
        }
        // The first round warms up.
        if round > 0 {
            print_line(&round.to_string(), times.each_ref().map(|times| median(times)));
            for (all, times) in all.iter_mut().zip(times) {
                all.extend(times);
            }
        }
    }
    let medians = all.each_ref().map(|times| median(times));
    print_line("all", medians);
    let [bare, ours, ours_cached, theirs] = medians;
    let ratio = ours_cached.as_secs_f64() / theirs.as_secs_f64();
    let own = ms(ours_cached) - ms(bare);
    let cpu = median(&cpu);
    println!("\nthe engine's own time, beyond that of the plugins (bare):");
    println!("  by the clock              {:.2} ms", ms(ours) - ms(bare));
    println!("  by the clock, with cache  {own:.2} ms; libcni's {:.2} ms", ms(theirs) - ms(bare));
    println!("  of the processor          {:.2} ms", ms(cpu));
    println!("ours / libcni               {:.3}", ours.as_secs_f64() / theirs.as_secs_f64());
    println!("ours / libcni, with cache   {ratio:.3}");

    let mut holds = own < MAX_OWN_MS && ms(cpu) < MAX_OWN_MS && ratio <= MAX_RATIO;
    if geteuid().is_root() {
        let snapshot = median(&tokio.block_on(snapshots(&folder.path().join("netns")))?);
        println!("snapshot of what ADD left     {:.2} ms", ms(snapshot));
        // One worker, so that all tasks are in one another's way.
        let worker = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let places = [folder.path().join("here"), folder.path().join("there")];
        let [stall, naive] =
            [Mover::Ours, Mover::Naive].map(|mover| worker.block_on(worst_stall(&places, mover)));
        let (stall, naive) = (stall?, naive?);
        println!(
            "{MOVES} moves of an interface keep another task of the same runtime waiting for:"
        );
        println!("  at most                   {:.2} ms", ms(stall));
        println!("  without a runtime of its own for netlink {:.2} ms", ms(naive));
        holds &= ms(snapshot) < MAX_SNAPSHOT_MS && ms(stall) < MAX_STALL_MS;
    } else {
        println!("snapshot and moves            skipped: only root makes namespaces");
    }
    let verdict = if holds { "ok" } else { "FAILED" };
    println!(
        "\n{verdict}: own times < {MAX_OWN_MS} ms, ratio with cache <= {MAX_RATIO:.2}, snapshot < \
         {MAX_SNAPSHOT_MS} ms, wait of another task < {MAX_STALL_MS} ms"
    );
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A chain, and an attachment to run it for.
struct Bench {
    plugins: PathBuf,
    conflist: PathBuf,
    cache: PathBuf,
    list: NetworkConfigList,
    attachment: Attachment,
    runtime: Runtime,
}

impl Bench {
    fn new(folder: &Path, plugin: &Path) -> Result<Self> {
        let plugin = plugin.canonicalize().with_context(|| format!("no {}", plugin.display()))?;
        let plugins = folder.join("bin");
        std::fs::create_dir(&plugins)?;
        for name in ["one", "two", "three"] {
            symlink(&plugin, plugins.join(name))?;
        }
        let conflist = folder.join("bench.conflist");
        std::fs::write(&conflist, CONFLIST)?;
        let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        let attachment = Attachment {
            container_id: "bench".into(),
            netns: Some("/run/netns/bench".into()),
            if_name: "eth0".into(),
            args: vec![("IgnoreUnknown".into(), "1".into())],
            capability_args: [("portMappings".to_owned(), ports)].into_iter().collect(),
        };
        Ok(Self {
            runtime: Runtime::new(vec![plugins.clone()], Limits::default()),
            list: NetworkConfigList::from_file(&conflist)?,
            cache: folder.join("cache"),
            plugins,
            conflist,
            attachment,
        })
    }

    /// The same six processes, started and heard out by nobody in particular: what the
    /// plugins take by themselves.
    fn bare(&self) -> Result<Vec<Duration>> {
        timed(|| {
            for (command, names) in
                [("ADD", ["one", "two", "three"]), ("DEL", ["three", "two", "one"])]
            {
                for name in names {
                    let mut child = Command::new(self.plugins.join(name))
                        .env("CNI_COMMAND", command)
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .stderr(Stdio::piped())
                        .spawn()?;
                    if let Some(mut stdin) = child.stdin.take() {
                        stdin.write_all(CONFLIST.as_bytes())?;
                    }
                    ensure!(child.wait_with_output()?.status.success(), "{name} failed");
                }
            }
            Ok(())
        })
    }

    /// In a task, as in the driver.
    async fn ours(self: Arc<Self>, cached: bool) -> Result<Vec<Duration>> {
        let cache = Cache::new(&self.cache);
        let of = &self.attachment;
        let mut turn = Vec::with_capacity(PAIRS);
        for _ in 0..PAIRS {
            let begin = Instant::now();
            let mut result = self.runtime.add(&self.list, of).await?;
            if cached {
                cache.put(&self.list, of, &result)?;
                let kept = cache.get(self.list.name(), &of.container_id, &of.if_name)?;
                result = kept.and_then(|it| it.result).context("the cache has lost a result")?;
            }
            self.runtime.del(&self.list, of, Some(&result)).await?;
            if cached {
                cache.remove(self.list.name(), &of.container_id, &of.if_name)?;
            }
            turn.push(begin.elapsed());
        }
        Ok(turn)
    }
}

/// Reads an interface with addresses, routes and sysctls, as the driver does after each ADD.
async fn snapshots(netns: &Path) -> Result<Vec<Duration>> {
    netns::create(netns).await?;
    let read = async {
        let netlink = Netlink::in_netns(netns).await?;
        netlink.add_veth("eth0", "peer").await?;
        let index = netlink.link("eth0").await?.context("no eth0")?.index;
        netlink.set_up(index).await?;
        for net in ["10.22.0.2/16", "fd00:22::2/64"] {
            netlink.add_address(index, &net.parse::<IpNet>()?.into()).await?;
        }
        let gateway = Some("10.22.0.1".parse()?);
        netlink.add_route(&Route::new("0.0.0.0/0".parse()?, gateway, index)).await?;
        let link = Scope::Link("eth0".into());
        let mut times = Vec::with_capacity(SNAPSHOTS);
        for _ in 0..SNAPSHOTS {
            let begin = Instant::now();
            let netlink = Netlink::in_netns(netns).await?;
            let settings = async {
                tokio::try_join!(sysctl::read(netns, &link), sysctl::read(netns, &Scope::Namespace))
            };
            let (snapshot, settings) = tokio::join!(netlink.snapshot(index), settings);
            snapshot?;
            settings?;
            times.push(begin.elapsed());
        }
        Ok(times)
    };
    let times = read.await;
    netns::remove(netns).await?;
    times
}

/// How the requests for moves go to the kernel.
#[derive(Clone, Copy)]
enum Mover {
    /// As in the driver.
    Ours,
    /// By rtnetlink on the runtime of whoever asks.
    Naive,
}

/// Moves an interface to and fro between two namespaces. Returns the longest that another task of
/// this runtime waited for its turn meanwhile: while their thread slept in the kernel, or worked.
async fn worst_stall(places: &[PathBuf; 2], mover: Mover) -> Result<Duration> {
    for place in places {
        netns::create(place).await?;
    }
    let moved = async {
        let links = [Netlink::in_netns(&places[0]).await?, Netlink::in_netns(&places[1]).await?];
        let naive = [naive(&places[0]).await?, naive(&places[1]).await?];
        links[0].add_veth("eth0", "peer").await?;
        let worst = Arc::new(Mutex::new(Duration::ZERO));
        let other = tokio::spawn(take_turns(Arc::clone(&worst)));
        for turn in 0..MOVES {
            let (from, to) = (turn % 2, (turn + 1) % 2);
            let index = links[from].link("eth0").await?.context("no eth0")?.index;
            let target = netns::open(&places[to])?;
            match mover {
                Mover::Ours => links[from].move_to(index, target).await?,
                Mover::Naive => {
                    let link = LinkUnspec::new_with_index(index).setns_by_fd(target.as_raw_fd());
                    naive[from].link().change(link.build()).execute().await?;
                }
            }
        }
        other.abort();
        let worst = *worst.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(worst)
    };
    let worst = moved.await;
    for place in places {
        netns::remove(place).await?;
    }
    worst
}

async fn naive(place: &Path) -> Result<rtnetlink::Handle> {
    let runtime = tokio::runtime::Handle::current();
    let opened = netns::run_in(place, move || {
        let _reactor = runtime.enter();
        rtnetlink::new_connection()
    });
    let (connection, handle, _) = opened.await??;
    tokio::spawn(connection);
    Ok(handle)
}

/// A task that always wants to go on.
async fn take_turns(worst: Arc<Mutex<Duration>>) -> Result<()> {
    loop {
        let (begin, before) = (Instant::now(), thread()?);
        tokio::task::yield_now().await;
        let (took, after) = (begin.elapsed(), thread()?);
        // A thread that has not gone to sleep was kept from running by the machine at most.
        let took = if after.0 > before.0 { took } else { after.1.saturating_sub(before.1) };
        let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
        *worst = took.max(*worst);
    }
}

/// How often this thread has gone to sleep, and how long it has run.
fn thread() -> Result<(i64, Duration)> {
    let sleeps = getrusage(UsageWho::RUSAGE_THREAD)?.voluntary_context_switches();
    Ok((sleeps, clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into()))
}

/// The Go program; it ends when its standard input does.
struct Libcni {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Libcni {
    fn start(program: &Path, bench: &Bench) -> Result<Self> {
        let mut child = Command::new(program)
            .args([&bench.conflist, &bench.plugins, &bench.cache])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        Ok(Self { child, orders, answers })
    }

    fn turn(&mut self) -> Result<Vec<Duration>> {
        writeln!(self.orders.as_mut().context("no standard input")?, "{PAIRS}")?;
        let line = self.answers.next().context("libcni has failed")??;
        let turn: Result<Vec<_>, _> =
            line.split_whitespace().map(|ns| Ok(Duration::from_nanos(ns.parse()?))).collect();
        turn.map_err(|error: std::num::ParseIntError| error.into())
    }
}

impl Drop for Libcni {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}

fn timed(mut work: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    (0..PAIRS)
        .map(|_| {
            let begin = Instant::now();
            work()?;
            Ok(begin.elapsed())
        })
        .collect()
}

/// What this process has taken of the processors, its children not counted.
fn cpu_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.try_into()?))
}

fn print_line(name: &str, medians: [Duration; 4]) {
    let [bare, ours, ours_cached, theirs] = medians.map(ms);
    println!("{name:>5} {bare:>6.2} {ours:>6.2} {ours_cached:>14.2} {theirs:>8.2}");
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
