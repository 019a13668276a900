//! The heart: what becomes of a network and of an attachment, step by step.
//!
//! An **attachment** is one run of a chain's ADD. It is made when Docker creates an
//! endpoint, and it ends with DEL when Docker deletes the endpoint:
//!
//! ```text
//!   CreateEndpoint             Join     Docker has set up      DeleteEndpoint
//!        │                      │       the interface                │
//!   ┌────▼───┐  ADD ok   ┌──────▼─┐    ┌────────┐    ┌─────────┐    ┌──▼───────┐ DEL ok
//!   │ Adding ├──────────▶│ Staged ├───▶│ Joined ├───▶│ Settled ├───▶│ Deleting ├──────▶ gone
//!   └────┬───┘           └────────┘    └────────┘    └─────────┘    └──▲───────┘
//!        └──── a step fails, or a crash: undo ─────────────────────────┘
//! ```
//!
//! Two rules make it safe. The intent is on disk before ADD begins, what ADD answered before
//! Docker is told, and the intent to delete before DEL begins, so that a crash is followed
//! by DEL at the next start ([`garbage`]). And where the interface stands is observed, never
//! remembered ([`interface`]): Docker moves it, and containers die.
//!
//! | room | its part |
//! |---|---|
//! | [`calls`] | one file for each of Docker's calls about an endpoint |
//! | [`garbage`] | what nobody will ask to be removed any more; what is done at start |
//! | [`removal`] | DEL in the background, again and again; what an orphan keeps from others |
//! | [`interface`] | where an interface stands, what ADD left, and making it so again |
//! | [`ports`] | published ports: who holds which, and where they are published |
//! | [`host`] | the exemption from the host's FORWARD policy; whose turn a conflist is; the gate for background work |
//! | [`record`] | what is kept on disk |
//! | [`network`](self) | CreateNetwork, DeleteNetwork; which conflist a network runs |
//! | [`check`](self) | the chain's CHECK in a live container, and putting back what was damaged |

mod calls;
mod check;
mod error;
mod garbage;
mod host;
mod interface;
mod network;
mod ports;
mod record;
mod removal;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cni::{self, ConfDir, Limits, Runtime};
use crate::cnm::{EndpointId, NetworkId};
use crate::netlink::Netlink;
use crate::state::Folder;

pub use check::{ChainCheck, Check};
pub use error::{Error, chain};
pub use garbage::collect::{Collection, Finding, Outcome};
pub use host::forward::exempts_by_default;
pub use network::embedded;
pub use ports::publish::{PublishedPort, published};
pub use ports::{HostPort, PortError};
pub use removal::{Orphan, Retried, orphans};

use calls::Endpoints;
use garbage::{collect, dockerds, start};
use host::{Gate, Turns};
use interface::Sandboxes;
use interface::capture::Fresh;
use ports::Ports;
use record::{Attachment, Lists, Network};
use removal::Orphans;

type Result<T> = std::result::Result<T, Error>;

/// Where the driver finds and keeps its files, and how long a plugin may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the CNI configuration files.
    pub conf_dir: PathBuf,
    /// Folders of the CNI plugins, searched in order.
    pub cni_path: Vec<PathBuf>,
    /// Folder of the records that survive a reboot.
    pub state_dir: PathBuf,
    /// Folder of the run-time files: pinned namespaces.
    pub run_dir: PathBuf,
    /// Limits of a plugin's execution.
    pub limits: Limits,
    /// Whether DeleteEndpoint is answered only once DEL has run.
    pub sync_delete: bool,
    /// Whether conflists and plugins may be in folders that others than root can write.
    pub allow_writable: bool,
    /// How long the ADD of a whole chain may take.
    pub add_within: Duration,
    /// How many networks and how many attachments there may be at a time.
    pub most: Most,
    /// How often to look for garbage; none for never.
    pub collect_every: Option<Duration>,
}

/// How much a driver takes on, so that a caller that runs wild does not fill the host.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Networks.
    pub networks: usize,
    /// Attachments, with those that are being removed.
    pub attachments: usize,
}

impl Default for Most {
    /// More than any host was seen to have.
    fn default() -> Self {
        Self { networks: 1_000, attachments: 10_000 }
    }
}

/// The driver: every method of the remote driver protocol, without the wire.
///
/// Every method may be called again with the same identities, at any time, and then
/// answers as it did the first time: dockerd repeats a call when the connection fails.
#[derive(Debug, Clone)]
pub struct Driver {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    conf_dir: ConfDir,
    runtime: Runtime,
    turns: Turns,
    /// Where work passes that Docker does not wait for.
    gate: Gate,
    lists: Lists,
    /// Folder of the staging namespaces' pins.
    netns_dir: PathBuf,
    /// Links of the namespace that dockerd and this program share.
    own: Netlink,
    /// The kernel's name for the present boot.
    boot_id: String,
    sync_delete: bool,
    add_within: Duration,
    most: Most,
    /// Folders that nobody but root may be able to change.
    roots_folders: Vec<PathBuf>,
    networks: Mutex<HashMap<NetworkId, Arc<Network>>>,
    network_folder: Folder<Network>,
    /// Held while a network is made or removed.
    changing_networks: tokio::sync::Mutex<()>,
    endpoints: Endpoints,
    /// Those of an earlier dockerd's that the present one has not spoken of, for a while.
    inherited: Mutex<HashSet<EndpointId>>,
    orphans: Orphans,
    ports: Ports,
    sandboxes: Sandboxes,
    attachment_folder: Folder<Attachment>,
    /// Held while garbage is collected.
    collecting: tokio::sync::Mutex<()>,
    background: TaskTracker,
    /// Ends what waits for something in the background.
    stop: CancellationToken,
    /// What a namespace has before any plugin has run in it.
    fresh: OnceCell<Fresh>,
}

impl Driver {
    /// Opens the records, and starts to bring every attachment that a crash or a reboot
    /// interrupted to its end, in the background.
    ///
    /// # Errors
    /// The state folder cannot be opened, or the kernel gives no netlink socket.
    pub async fn open(config: Config) -> Result<Self> {
        let collect_every = config.collect_every;
        let (inner, interrupted) = Inner::open(config)?;
        let inner = Arc::new(inner);
        Fresh::clear(&inner.netns_dir).await?;
        if let Err(error) = check::end_interrupted(&inner.netns_dir).await {
            tracing::error!(error = error::chain(&error), "an interrupted check cannot be ended");
        }
        start::remove(&inner, interrupted);
        start::watch_again(&inner);
        if let Some(interval) = collect_every {
            inner.background.spawn(collect::at_intervals(Arc::clone(&inner), interval));
        }
        Ok(Self { inner })
    }

    /// `Plugin.Activate`, which every dockerd calls before it calls anything else. What the
    /// last one left behind is removed in the background.
    pub fn activate(&self) {
        dockerds::sweep(&self.inner);
    }

    /// Waits until the work in the background has ended.
    pub async fn drain(&self) {
        self.inner.stop.cancel();
        self.inner.background.close();
        self.inner.background.wait().await;
    }
}

impl Inner {
    /// Also returns the attachments that have to be removed.
    fn open(config: Config) -> Result<(Self, Vec<Attachment>)> {
        let (network_folder, networks) = Folder::<Network>::open(&config.state_dir)?;
        let lists = Lists::default();
        let (attachment_folder, attachments) =
            Folder::<Attachment>::open_with(&config.state_dir, |attachment| {
                attachment.list = lists.share(Arc::clone(&attachment.list));
                // A copy has no room to spare, and lies close.
                *attachment = attachment.clone();
            })?;
        for aside in networks.set_aside.iter().chain(&attachments.set_aside) {
            tracing::error!(file = %aside.path.display(), reason = aside.reason,
                "a record cannot be read, and was set aside");
        }
        let networks = networks.records.into_iter();
        let boot_id = start::boot_id()?;
        let ports = Ports::of(attachments.records.iter());
        let attachments = start::part(attachments.records, &boot_id);
        let mut roots_folders = Vec::new();
        if !config.allow_writable {
            roots_folders.push(config.conf_dir.clone());
            roots_folders.extend(config.cni_path.iter().cloned());
        }
        let inner = Self {
            conf_dir: ConfDir::new(config.conf_dir),
            gate: Gate::new(config.limits.parallel),
            runtime: Runtime::new(config.cni_path, config.limits),
            turns: Turns::default(),
            lists,
            netns_dir: config.run_dir.join("netns"),
            own: Netlink::own()?,
            boot_id,
            sync_delete: config.sync_delete,
            add_within: config.add_within,
            most: config.most,
            roots_folders,
            networks: Mutex::new(
                networks.map(|network| (network.id.clone(), Arc::new(network))).collect(),
            ),
            network_folder,
            changing_networks: tokio::sync::Mutex::default(),
            sandboxes: Sandboxes::of(attachments.live.iter()),
            ports,
            endpoints: Endpoints::holding(attachments.live),
            inherited: Mutex::default(),
            orphans: Orphans::default(),
            attachment_folder,
            collecting: tokio::sync::Mutex::default(),
            background: TaskTracker::new(),
            stop: CancellationToken::new(),
            fresh: OnceCell::new(),
        };
        if let Err(error) = inner.trusts_its_folders() {
            tracing::error!(error = chain(&error), "no network and no endpoint will be made");
        }
        Ok((inner, attachments.interrupted))
    }

    /// Makes sure that only root decides what is run. What was attached is detached in any case.
    fn trusts_its_folders(&self) -> Result<()> {
        self.roots_folders.iter().try_for_each(|folder| Ok(cni::is_roots(folder)?))
    }

    fn networks(&self) -> MutexGuard<'_, HashMap<NetworkId, Arc<Network>>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
