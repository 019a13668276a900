//! `cnm-cni serve`: the driver, on Docker's plugin socket.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::{OsStringValueParser, TypedValueParser};
use nix::unistd::geteuid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::activation;
use crate::cni::Limits;
use crate::lifecycle::{Config, Driver};
use crate::server;
use crate::state::Lock;

/// Serve Docker's network calls on a Unix socket, until SIGTERM or SIGINT
///
/// dockerd finds the driver by its socket, and names it after the file: cni.sock is
/// 'docker network create -d cni'. On the first SIGTERM or SIGINT no new call is taken, and
/// those under way may end; a second one ends the driver at once. Containers keep their
/// networks while the driver is away.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the CNI configuration files (*.conflist, *.conf, *.json)
    #[arg(long, value_name = "DIR", env = "NETCONFPATH", default_value = "/etc/cni/net.d")]
    #[arg(value_parser = absolute_path())]
    conf_dir: PathBuf,

    /// Folders of the CNI plugins, searched in order
    #[arg(long, value_name = "DIR:DIR…", env = "CNI_PATH", value_delimiter = ':')]
    #[arg(default_value = "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni")]
    #[arg(value_parser = absolute_path())]
    cni_path: Vec<PathBuf>,

    /// Folder of the records of networks and attachments; must survive a reboot
    #[arg(long, value_name = "DIR", env = "CNM_CNI_STATE_DIR", default_value = "/var/lib/cnm-cni")]
    #[arg(value_parser = absolute_path())]
    state_dir: PathBuf,

    /// Folder of what ends with a reboot: pinned network namespaces
    #[arg(long, value_name = "DIR", env = "CNM_CNI_RUN_DIR", default_value = "/run/cnm-cni")]
    #[arg(value_parser = absolute_path())]
    run_dir: PathBuf,

    /// Socket that dockerd calls; its file name is the driver's name in Docker. A socket
    /// that the service manager hands over (systemd's socket units) takes its place
    #[arg(long, value_name = "FILE", env = "CNM_CNI_SOCKET")]
    #[arg(default_value = "/run/docker/plugins/cni.sock", value_parser = absolute_path())]
    socket: PathBuf,

    /// Seconds that one execution of a CNI plugin may take
    #[arg(long, value_name = "SECONDS", env = "CNM_CNI_PLUGIN_TIMEOUT", default_value = "90")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    plugin_timeout: u64,

    /// Answer DeleteEndpoint only once DEL has run, instead of at once: 'docker rm' then takes as
    /// long as the plugins do
    #[arg(long, env = "CNM_CNI_SYNC_DELETE")]
    sync_delete: bool,

    /// Seconds between two looks for garbage, as by 'cnm-cni gc --apply'; 0 for never
    #[arg(long, value_name = "SECONDS", env = "CNM_CNI_GC_INTERVAL", default_value = "300")]
    gc_interval: u64,

    /// Seconds that calls under way have to end, once the driver is told to stop
    #[arg(long, value_name = "SECONDS", env = "CNM_CNI_DRAIN_TIMEOUT", default_value = "30")]
    drain_timeout: u64,
}

/// Plugins are given these paths, and records keep them: they must not depend on where the
/// driver was started.
fn absolute_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(std::path::absolute)
}

/// Serves until a signal ends it.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        bail!(
            "cnm-cni serve must run as root: it makes network namespaces and moves interfaces; \
             run it with sudo, or as a system service"
        );
    }
    // The socket comes first: calls that arrive during the recovery wait instead of failing.
    // It goes last.
    let (listener, _file) = match activation::socket()? {
        Some(listener) => (listener, None),
        None => {
            let bound = server::bind(&args.socket).context("cannot open the driver's socket")?;
            (bound.0, Some(bound.1))
        }
    };
    let _state = Lock::take(&args.state_dir).context("cannot use the state folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(args, listener));
    // Does not wait for what a second signal, or the end of the drain, has given up.
    runtime.shutdown_background();
    outcome
}

async fn serve(args: Args, listener: UnixListener) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let listener =
        tokio::net::UnixListener::from_std(listener).context("cannot listen on the socket")?;
    let address = listener.local_addr().context("cannot tell the path of the socket")?;
    let socket = address.as_pathname().unwrap_or(&args.socket).to_owned();
    let plugin_timeout = Duration::from_secs(args.plugin_timeout);
    let config = Config {
        conf_dir: args.conf_dir,
        cni_path: args.cni_path,
        state_dir: args.state_dir,
        run_dir: args.run_dir,
        limits: Limits { add: plugin_timeout, del: plugin_timeout, ..Limits::default() },
        sync_delete: args.sync_delete,
        collect_every: (args.gc_interval > 0).then(|| Duration::from_secs(args.gc_interval)),
    };
    let driver = tokio::select! {
        opened = Driver::open(config) => Arc::new(opened.context("cannot open the driver's records")?),
        name = signals.next() => bail!("stopped by {name} before the driver was ready"),
    };
    info!(socket = %socket.display(), version = env!("CARGO_PKG_VERSION"), "listening");
    activation::ready();

    let stop = CancellationToken::new();
    let limit = Duration::from_secs(args.drain_timeout);
    let mut serving = std::pin::pin!(server::serve(listener, driver, stop.clone(), limit));
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        name = signals.next() => info!(signal = name, limit_s = limit.as_secs(), "stopping"),
    }
    activation::stopping();
    stop.cancel();
    tokio::select! {
        ended = &mut serving => Ok(ended?),
        name = signals.next() => {
            warn!(signal = name, "stopping at once");
            bail!("stopped by a second signal while calls were under way")
        }
    }
}

/// The signals that stop the driver.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
