//! `cnm-cni serve`: the driver, on Docker's plugin socket.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::folders::Folders;
use super::seconds::{ANY, SOME, seconds};
use super::{activation, heap, host_root, network_options};
use crate::cni::{Limits, Trust};
use crate::cnm::SpareCount;
use crate::docker::{Docker, Wanted};
use crate::follower;
use crate::lifecycle::{Config, Driver, Maximum};
use crate::metrics::Metrics;
use crate::server::{self, MetricsAddress};
use crate::state::Private;

const HELP: &str = "\
Examples:
  docker network create -d cni web
  docker network create -d cni --ipam-driver null -o conflist=k8s pods

Exit status: 0 after SIGTERM or SIGINT; 1 if it cannot start; 2 if the command line is not understood.";

/// Serve Docker's network calls on a Unix socket, until SIGTERM or SIGINT
///
/// dockerd finds the driver by its socket, and names it after the file: cni.sock is
/// 'docker network create -d cni'. On the first SIGTERM or SIGINT no new call is taken, and
/// those under way may end; a second one ends the driver at once. Containers keep their
/// networks while the driver is away.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{}\n\n{HELP}", network_options::HELP))]
pub(super) struct Args {
    #[command(flatten)]
    folders: Folders,

    /// Folder of the records of networks and attachments; must survive a reboot
    #[arg(long, value_name = "DIR", env = "CNM_CNI_STATE_DIR", default_value = "/var/lib/cnm-cni")]
    #[arg(value_parser = absolute_path())]
    state_dir: PathBuf,

    /// Folder of what ends with a reboot: pinned network namespaces
    #[arg(long, value_name = "DIR", env = "CNM_CNI_RUN_DIR", default_value = "/run/cnm-cni")]
    #[arg(value_parser = absolute_path())]
    run_dir: PathBuf,

    /// Socket that dockerd calls; its file name is the driver's name in Docker. A socket
    /// that the service manager passes (systemd's socket units) takes its place
    #[arg(long, value_name = "FILE", env = "CNM_CNI_SOCKET")]
    #[arg(default_value = "/run/docker/plugins/cni.sock", value_parser = absolute_path())]
    socket: PathBuf,

    /// Folder with the files of the host; only for Docker's managed plugin. It becomes the root
    /// folder once the socket is open: all other paths are paths of the host
    #[arg(long, value_name = "DIR", env = "CNM_CNI_HOST_ROOT", value_parser = absolute_path())]
    host_root: Option<PathBuf>,

    /// Seconds that one execution of a CNI plugin may take; or verb by verb, as ADD=90,DEL=60
    /// (also CHECK, GC)
    #[arg(long, value_name = "SECONDS", env = "CNM_CNI_PLUGIN_TIMEOUT", default_value = "90")]
    #[arg(value_parser = plugin_limits)]
    plugin_timeout: Limits,

    /// Seconds that the ADD of all plugins of a conflist may take together
    #[arg(long, value_name = "SECONDS", env = "CNM_CNI_CHAIN_TIMEOUT", default_value = "240")]
    #[arg(value_parser = seconds(SOME))]
    chain_timeout: Duration,

    /// How many networks there may be
    #[arg(long, value_name = "NUMBER", env = "CNM_CNI_MAX_NETWORKS", default_value = "1000")]
    max_networks: usize,

    /// How many attachments there may be, with those that are being removed
    #[arg(long, value_name = "NUMBER", env = "CNM_CNI_MAX_ATTACHMENTS", default_value = "10000")]
    max_attachments: usize,

    /// Answer DeleteEndpoint only once DEL has run, instead of at once: 'docker rm' then takes as
    /// long as the plugins do
    #[arg(long, env = "CNM_CNI_SYNC_DELETE", value_parser = BoolishValueParser::new())]
    sync_delete: bool,

    /// Seconds between two garbage collections, as by 'cnm-cni gc --apply'; 0 for never
    #[arg(long, value_name = "SECONDS", env = "CNM_CNI_GC_INTERVAL", default_value = "300")]
    #[arg(value_parser = seconds(ANY))]
    gc_interval: Duration,

    /// Serve metrics for Prometheus at this address: unix:/PATH, which only root can open, or
    /// 127.0.0.1:PORT, which every user of this host can read. 'cnm-cni metrics' works without it
    #[arg(long, value_name = "ADDRESS", env = "CNM_CNI_METRICS")]
    metrics: Option<MetricsAddress>,

    /// Let --metrics be an address that other hosts reach: whoever can connect to it can read the
    /// metrics
    #[arg(long, env = "CNM_CNI_METRICS_PUBLIC", value_parser = BoolishValueParser::new())]
    metrics_public: bool,

    /// Docker's socket, as unix:///run/docker.sock: it is asked for names of containers, for the journal
    /// [default: DOCKER_HOST, or unix:///var/run/docker.sock]
    #[arg(long, value_name = "HOST", env = "CNM_CNI_DOCKER")]
    docker: Option<String>,

    /// Do not ask Docker for names, and do not follow its events: the journal then has ids alone
    #[arg(long, env = "CNM_CNI_NO_DOCKER", value_parser = BoolishValueParser::new())]
    no_docker: bool,

    /// The bit of the packet mark that exempts the packets of containers from the FORWARD policy, as
    /// 0x1000 or 4096. It is cleared from all other packets in FORWARD: choose another one if a program
    /// of this host uses it
    #[arg(long, value_name = "BIT", env = "CNM_CNI_FORWARD_MARK", default_value = "0x1000")]
    #[arg(value_parser = one_bit)]
    forward_mark: u32,

    /// How many attachments each network has ready before a container asks: a number up to 64; or
    /// auto, for as many as were needed lately, but only a small part of the conflist's addresses.
    /// 0 turns this off; otherwise a network's own option (-o spares=N) takes precedence
    #[arg(long, value_name = "NUMBER", env = "CNM_CNI_SPARES", default_value = "auto")]
    spares: SpareCount,

    /// Seconds that calls under way have to end, once the driver is stopped
    #[arg(long, value_name = "SECONDS", env = "CNM_CNI_DRAIN_TIMEOUT", default_value = "30")]
    #[arg(value_parser = seconds(ANY))]
    drain_timeout: Duration,
}

/// Plugins get these paths, and records contain them: they must not depend on the folder in which the
/// driver was started.
fn absolute_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(std::path::absolute)
}

/// Reads a number with one bit, such as `0x1000` or `4096`.
fn one_bit(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let bit = number.filter(|number| number.is_power_of_two());
    bit.ok_or(format!("{text:?} is no number of 32 bits with one bit set, such as 0x1000"))
}

/// Reads deadlines such as `90` or `ADD=90,DEL=60`.
fn plugin_limits(text: &str) -> Result<Limits, String> {
    let mut limits = Limits::default();
    for part in text.split(',') {
        let (verb, seconds) =
            part.split_once('=').map_or((None, part), |(verb, s)| (Some(verb), s));
        let seconds = seconds.parse().ok().filter(|seconds| SOME.contains(seconds));
        let (least, most) = (SOME.start(), SOME.end());
        let time = Duration::from_secs(
            seconds.ok_or(format!("{part:?} has no number of seconds from {least} to {most}"))?,
        );
        match verb {
            None => (limits.add, limits.del) = (time, time),
            Some("ADD") => limits.add = time,
            Some("DEL") => limits.del = time,
            Some("CHECK") => limits.check = time,
            Some("GC") => limits.gc = time,
            Some(other) => return Err(format!("{other:?} is none of ADD, DEL, CHECK, GC")),
        }
    }
    Ok(limits)
}

/// Threads for work that blocks: files, and the kernel's answers about links. Background work may use only
/// a part of them, so that some are always free for calls that Docker waits for. With the workers, the six
/// of `netlink` and the six of `netns` the driver never has 30 threads.
const BLOCKING_THREADS: usize = 12;

/// Serves until a signal ends it.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        bail!(
            "cnm-cni serve must run as root: it makes network namespaces and moves interfaces; \
             run it with sudo, or as a system service"
        );
    }
    if let Some(address) = &args.metrics
        && address.is_public()
        && !args.metrics_public
    {
        bail!(
            "--metrics is an address that other hosts may reach, and whoever can connect reads the metrics; \
             listen on 127.0.0.1 or on unix:/PATH, or add --metrics-public if that is what you want"
        );
    }
    // The socket comes first: calls that arrive during the recovery wait instead of failing. It is removed
    // last.
    let (listener, _file) = match activation::socket()? {
        Some(listener) => (listener, None),
        None => {
            let bound = server::bind(&args.socket).context("cannot open the driver's socket")?;
            (bound.0, Some(bound.1))
        }
    };
    if let Some(root) = &args.host_root {
        // The socket's file is out of sight from here on; dockerd removes it.
        host_root::enter(root).context("cannot go over to the host's files")?;
    }
    let _state = Private::take(&args.state_dir).context("cannot use --state-dir")?;
    let _run = Private::take(&args.run_dir).context("cannot use --run-dir")?;
    lift_limit_of_files();
    heap::limit_arenas();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        // One ends that has had nothing to do for ten seconds: the work that needed it is over.
        .on_thread_stop(heap::give_back)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(args, listener));
    // Does not wait for calls that were given up after a second signal or the end of the drain.
    runtime.shutdown_background();
    outcome
}

/// Raises the limit for open files as far as allowed, up to the value in the systemd unit: two sockets hold
/// each published port, and the usual limit is for programs that use `select`. Plugins get the same limit.
fn lift_limit_of_files() {
    const ENOUGH: u64 = 1 << 20;
    let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = most.min(ENOUGH);
    if now < wanted
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, most)
    {
        warn!(now, %error, "the limit of open files cannot be lifted; few ports can be published");
    }
}

impl Args {
    /// What the driver goes by.
    fn config(&self, metrics: &Arc<Metrics>) -> anyhow::Result<Config> {
        Ok(Config {
            conf_dir: std::path::absolute(self.folders.configurations())
                .context("cannot make --conf-dir absolute")?,
            cni_path: self.folders.plugins()?,
            state_dir: self.state_dir.clone(),
            run_dir: self.run_dir.clone(),
            limits: self.plugin_timeout.clone(),
            add_within: self.chain_timeout,
            maximum: Maximum { networks: self.max_networks, attachments: self.max_attachments },
            sync_delete: self.sync_delete,
            allow_writable: self.folders.trust() == Trust::Anybody,
            forward_mark: self.forward_mark,
            spares: self.spares,
            collect_every: Some(self.gc_interval).filter(|interval| !interval.is_zero()),
            metrics: Arc::clone(metrics),
            observers: Vec::new(),
        })
    }
}

async fn serve(args: Args, listener: UnixListener) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let listener =
        tokio::net::UnixListener::from_std(listener).context("cannot listen on the socket")?;
    let address = listener.local_addr().context("cannot read the path of the socket")?;
    let socket = address.as_pathname().unwrap_or(&args.socket).to_owned();
    let metrics = Arc::new(Metrics::default());
    let config = args.config(&metrics)?;
    let (opening, stop) = (server::Opening::default(), CancellationToken::new());
    let limit = args.drain_timeout;
    let calls = server::Calls::counted_in(metrics);
    let serving = server::serve(listener, opening.clone(), calls, stop.clone(), limit);
    let mut serving = tokio::spawn(serving);
    let telling = args
        .metrics
        .map(|address| tokio::spawn(server::serve_metrics(address, opening.clone(), stop.clone())));
    let driver = tokio::select! {
        opened = Driver::open(config) => opened.context("cannot open the driver's records")?,
        name = signals.next() => bail!("stopped by {name} before the driver was ready"),
    };
    if !args.no_docker {
        follow_docker(args.docker, &driver);
    }
    opening.done(Arc::new(driver));
    info!(socket = %socket.display(), version = env!("CARGO_PKG_VERSION"), "listening");
    activation::ready();

    tokio::select! {
        ended = &mut serving => return Ok(ended??),
        name = signals.next() => info!(signal = name, limit_s = limit.as_secs(), "stopping"),
    }
    activation::stopping();
    stop.cancel();
    if let Some(telling) = telling {
        // It removes its socket.
        let _ = telling.await;
    }
    tokio::select! {
        ended = &mut serving => Ok(ended??),
        name = signals.next() => {
            warn!(signal = name, "stopping at once");
            bail!("stopped by a second signal while calls were under way")
        }
    }
}

/// Follows Docker's names beside everything else, until the program ends.
fn follow_docker(host: Option<String>, driver: &Driver) {
    // Whose context root has chosen says nothing of the Docker that calls this driver.
    let context = host.is_none().then(|| "default".to_owned());
    match Docker::find(&Wanted { host, context, config: None }) {
        Ok(docker) => {
            let (journal, driver) = (driver.journal(), driver.clone());
            let left = move |endpoints| driver.look_at_default_routes(endpoints);
            drop(tokio::spawn(follower::follow(docker, journal, left)));
        }
        Err(error) => warn!(%error, "the journal has no names of containers"),
    }
}

/// The signals that stop the driver, or another verb that runs plugins.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_bit() {
        for (text, bit) in [("0x1000", 0x1000), ("4096", 0x1000), ("1", 1), ("0x80000000", 1 << 31)]
        {
            assert_eq!(one_bit(text), Ok(bit));
        }
        for wrong in ["0", "3", "0x3000", "0x100000000", "", "-1", "1000h"] {
            one_bit(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_plugins_time_is_for_all_or_verb_by_verb() {
        let seconds = |text| {
            let Limits { add, del, check, .. } = plugin_limits(text).unwrap();
            (add.as_secs(), del.as_secs(), check.as_secs())
        };
        assert_eq!(seconds("7"), (7, 7, 30));
        assert_eq!(seconds("ADD=5,CHECK=3"), (5, 90, 3));
        for wrong in ["", "0", "ADD", "ADD=", "add=5", "-1", "STATUS=3", "DEL=18446744073709551615"]
        {
            plugin_limits(wrong).unwrap_err();
        }
    }
}
