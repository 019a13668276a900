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
//! by DEL at the next start (`recover`). And where the interface stands is observed, never
//! remembered (`place`): Docker moves it, and containers die.
//!
//! | file | its part |
//! |---|---|
//! | `network` | CreateNetwork, DeleteNetwork; which conflist a network runs |
//! | `attach` | CreateEndpoint: ADD in a staging namespace, undone when a step fails |
//! | `place` | Join: where the interface stands, and moving it |
//! | `sandboxes` | what the endpoints of one container must not both tell Docker |
//! | `settle` | what Docker does not carry over, put back in the container |
//! | `reconcile` | what differs from what ADD left: in words, or put right |
//! | `watch` | waiting for Docker before version 28 with that |
//! | `detach` | DeleteEndpoint: the interface back in staging as ADD left it, then DEL |
//! | `claims` | what an orphan keeps others from having |
//! | `orphans` | DEL in the background, again and again; what was given up on |
//! | `check` | the chain's CHECK in a live container, and putting back what was damaged |
//! | `recover` | what is done at start, and when a new dockerd first calls |
//! | `collect` | garbage: what nobody will ask to be removed any more |
//! | `remains` | what attachments leave on a host, and whose it is |
//! | `publish` | Program and RevokeExternalConnectivity: ports follow the gateway |
//! | `ports`, `hold` | the host ports of all endpoints, and holding one |
//! | `forward` | the exemption from the host's FORWARD policy |
//! | `record` | what is kept on disk |
//! | `endpoints` | one lock per endpoint |
//! | `lists` | equal conflists, kept once |
//! | `turns` | GC runs alone |

mod attach;
mod check;
mod claims;
mod collect;
mod detach;
mod endpoints;
mod error;
mod forward;
mod hold;
mod lists;
mod network;
mod orphans;
mod place;
mod ports;
mod publish;
mod reconcile;
mod record;
mod recover;
mod remains;
mod sandboxes;
mod settle;
mod turns;
mod watch;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, json};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cni::{ConfDir, Limits, Runtime, Trust};
use crate::cnm::{
    EndpointId, EndpointOperInfoResponse, EndpointOptions, EndpointRequest, NetworkId,
    ProgramExternalConnectivityRequest,
};
use crate::netlink::Netlink;
use crate::state::{self, Folder};

pub use check::{ChainCheck, Check};
pub use collect::{Collection, Finding, Outcome};
pub use error::{Error, chain};
pub use forward::exempts_by_default;
pub use hold::HostPort;
pub use network::embedded;
pub use orphans::{Orphan, Retried, orphans};
pub use ports::PortError;
pub use publish::{PublishedPort, published};

use endpoints::Endpoints;
use lists::Lists;
use orphans::Orphans;
use ports::Ports;
use record::{Attachment, Network};
use sandboxes::Sandboxes;
use settle::Fresh;
use turns::Turns;

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
        // Not on this thread, which hears of a signal meanwhile: there may be many records.
        let opening = tokio::task::spawn_blocking(|| Inner::open(config));
        let (inner, interrupted) = opening.await.map_err(state::Error::Stopped)??;
        let inner = Arc::new(inner);
        Fresh::clear(&inner.netns_dir).await?;
        if let Err(error) = check::end_interrupted(&inner.netns_dir).await {
            tracing::error!(error = error::chain(&error), "an interrupted check cannot be ended");
        }
        recover::remove(&inner, interrupted);
        recover::watch_again(&inner);
        if let Some(interval) = collect_every {
            inner.background.spawn(collect::at_intervals(Arc::clone(&inner), interval));
        }
        Ok(Self { inner })
    }

    /// `Plugin.Activate`, which every dockerd calls before it calls anything else. What the
    /// last one left behind is removed in the background.
    pub fn activate(&self) {
        recover::sweep(&self.inner);
    }

    /// `NetworkDriver.EndpointOperInfo`: what is known about an endpoint. Nothing about an
    /// unknown one, which is no error: Docker asks about every endpoint of a container
    /// when another network is connected to it.
    ///
    /// It is also the last call before a container's process starts, and the only one for
    /// an endpoint that is not the gateway: it is answered once the endpoint is settled.
    ///
    /// # Errors
    /// What Docker does not carry over could not be put back.
    pub async fn endpoint_oper_info(
        &self,
        request: EndpointRequest,
    ) -> Result<EndpointOperInfoResponse> {
        self.inner.is_spoken_of(&request.endpoint_id);
        let mut slot = self.inner.endpoints.lock(&request.endpoint_id).await;
        let mut value = Map::new();
        if let Some(attachment) = slot.as_mut() {
            self.inner.settle(attachment).await?;
            value.insert("cni.network".into(), json!(attachment.list.name()));
            value.insert("cni.containerID".into(), json!(attachment.parameters.container_id));
            value.insert("cni.ifname".into(), json!(attachment.parameters.if_name));
            if let Some(mappings) = attachment.parameters.capability_args.get("portMappings") {
                value.insert("cni.portMappings".into(), mappings.clone());
            }
            if let Some(result) = &attachment.result {
                value.insert("cni.result".into(), json!(result));
            }
        }
        Ok(EndpointOperInfoResponse { value })
    }

    /// `NetworkDriver.ProgramExternalConnectivity`: the endpoint became its sandbox's
    /// gateway. Its ports are published, where the chain has not done so already, and the
    /// endpoint is settled, so that a container whose network is not whole does not start.
    ///
    /// # Errors
    /// The endpoint is unknown, its ports cannot be published, or what Docker does not carry
    /// over could not be put back.
    pub async fn program_external_connectivity(
        &self,
        request: ProgramExternalConnectivityRequest,
    ) -> Result<()> {
        self.inner.is_spoken_of(&request.endpoint_id);
        let asked = EndpointOptions::read(&request.options)?.ports;
        match self.inner.endpoints.lock(&request.endpoint_id).await.as_mut() {
            Some(attachment) => {
                self.inner.publish(attachment, asked).await?;
                if !attachment.is_gateway {
                    attachment.is_gateway = true;
                    self.inner.keep_soon(attachment).await;
                }
                self.inner.settle(attachment).await?;
                self.inner.straighten(attachment, true).await
            }
            None => Err(Error::UnknownEndpoint(request.endpoint_id)),
        }
    }

    /// `NetworkDriver.Leave`: the container goes, or leaves the network. The interface is
    /// still inside; Docker takes it out after this. What would stay behind goes now. A
    /// namespace that is dying may refuse, which is no reason to keep Docker from leaving.
    pub async fn leave(&self, request: EndpointRequest) {
        let slot = self.inner.endpoints.lock(&request.endpoint_id).await;
        if let Some(attachment) = slot.as_ref()
            && let Err(error) = self.inner.unsettle(attachment).await
        {
            tracing::warn!(error = error::chain(&error), "rules may be left in the container");
        }
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
        let (lists, netns_dir) = (Lists::default(), config.run_dir.join("netns"));
        let (attachment_folder, attachments) =
            Folder::<Attachment>::open_with(&config.state_dir, |attachment| {
                attachment.is_pinned_in(&netns_dir)?;
                attachment.list = lists.share(Arc::clone(&attachment.list));
                // A copy has no room to spare, and lies close.
                *attachment = attachment.clone();
                Ok(())
            })?;
        for aside in networks.set_aside.iter().chain(&attachments.set_aside) {
            tracing::error!(file = %aside.path.display(), reason = aside.reason,
                "a record cannot be read, and was set aside");
        }
        let networks = networks.records.into_iter();
        let boot_id = recover::boot_id()?;
        let ports = Ports::of(attachments.records.iter());
        let attachments = recover::part(attachments.records, &boot_id);
        let trust = if config.allow_writable { Trust::Anybody } else { Trust::Root };
        let inner = Self {
            conf_dir: ConfDir::new(config.conf_dir).trusting(trust),
            runtime: Runtime::trusting(config.cni_path, config.limits, trust),
            turns: Turns::default(),
            lists,
            netns_dir,
            own: Netlink::own()?,
            boot_id,
            sync_delete: config.sync_delete,
            add_within: config.add_within,
            most: config.most,
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
        inner.warn_of_untrusted();
        Ok((inner, attachments.interrupted))
    }

    /// Tells at start what will not be obeyed, as others could change it.
    fn warn_of_untrusted(&self) {
        for problem in self.runtime.untrusted() {
            tracing::warn!(%problem, "no such plugin will be run");
        }
        for problem in self.conf_dir.list().problems.iter().filter(|it| it.is_untrusted()) {
            tracing::warn!(%problem, "no such configuration will be used");
        }
    }

    /// Writes the attachment's record. When this returns, it is on disk.
    async fn keep(&self, attachment: &Attachment) -> Result<()> {
        let _writing = attachment.writing.lock().await;
        Ok(self.attachment_folder.put(&attachment.id.to_string(), attachment).await?)
    }

    /// Writes the attachment's record while its caller goes on. A write that is begun later
    /// waits for this one.
    async fn keep_soon(self: &Arc<Self>, attachment: &Attachment) {
        let writing = Arc::clone(&attachment.writing).lock_owned().await;
        let (inner, attachment) = (Arc::clone(self), attachment.clone());
        self.background.spawn(async move {
            let kept = inner.attachment_folder.put(&attachment.id.to_string(), &attachment).await;
            drop(writing);
            if let Err(error) = kept {
                tracing::warn!(attachment = %attachment.id, error = error::chain(&error),
                    "the attachment's record is behind");
            }
        });
    }

    fn networks(&self) -> MutexGuard<'_, HashMap<NetworkId, Arc<Network>>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
