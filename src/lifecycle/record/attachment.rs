//! One run of a chain's ADD, and all that DEL needs to take it back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cni;
use crate::cni::{AttachResult, NetworkConfigList};
use crate::cnm::{EndpointId, EndpointInterface, NetworkId, PortBinding};
use crate::lifecycle::error::Error;
use crate::lifecycle::record::{AttachmentId, HostSide, Removal, Settings, Turn};
use crate::netlink::Snapshot;
use crate::state::Record;
use crate::translate::PORT_MAPPINGS;

/// One run of a chain's ADD, and all that DEL needs to take it back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) id: AttachmentId,
    /// When it was made. Records of version 0.1.0 leave that to the id.
    #[serde(default)]
    pub(crate) made: Option<SystemTime>,
    pub(crate) network: NetworkId,
    pub(crate) endpoint: EndpointId,
    pub(crate) phase: Phase,
    /// The boot that ADD ran in: interfaces and namespaces do not outlive it.
    pub(crate) boot_id: String,
    /// The chain exactly as ADD ran it, whatever becomes of the file.
    pub(crate) list: Arc<NetworkConfigList>,
    /// What ADD was told; DEL is told the same.
    pub(crate) parameters: cni::Attachment,
    /// The ports to publish, with the host ports that were chosen. They are published as long
    /// as `parameters` has them too: see [`crate::lifecycle::ports::publish`].
    #[serde(default)]
    pub(crate) ports: Vec<PortBinding>,
    /// Another network of the container was seen to publish the ports, which this one cannot.
    #[serde(default)]
    pub(crate) published_elsewhere: bool,
    /// Where the staging namespace is pinned: the `CNI_NETNS` of the parameters.
    pub(crate) staging: PathBuf,
    /// The network is `--internal`.
    pub(crate) internal: bool,
    /// The addresses are exempt from the host's FORWARD policy.
    pub(crate) forwarded: bool,
    /// That holds for new connections to them as well.
    #[serde(default)]
    pub(crate) open: bool,
    /// The container's namespace, from Join on.
    pub(crate) sandbox: Option<PathBuf>,
    /// It has its sandbox's default gateway: Docker has said so by
    /// ProgramExternalConnectivity.
    #[serde(default)]
    pub(crate) is_gateway: bool,
    /// By how many bits the routes to its gateways are wider than a host route: see
    /// [`crate::lifecycle::interface`].
    #[serde(default)]
    pub(crate) widened: u8,
    /// Routing tables of the chain's that have another number in the container, by their own:
    /// see [`crate::lifecycle::interface`].
    #[serde(default)]
    pub(crate) tables: BTreeMap<u32, u32>,
    /// What ADD answered; none before it succeeded.
    pub(crate) result: Option<AttachResult>,
    /// The interface that ADD made, as it stood in the staging namespace.
    pub(crate) interface: Option<Interface>,
    /// What ADD left on the host; none before Join has looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host_side: Option<HostSide>,
    /// How its removal goes, once it is [`Phase::Deleting`].
    #[serde(default)]
    pub(crate) removal: Option<Removal>,
    /// Whose turn it is to change the record on disk.
    #[serde(skip)]
    pub(crate) turn: Turn,
}

impl Attachment {
    /// How long ago it was made; nothing if the clock was set back since.
    pub(crate) fn age(&self) -> Duration {
        let made = self.made.or_else(|| self.id.made());
        made.and_then(|made| made.elapsed().ok()).unwrap_or_default()
    }

    /// The addresses that the chain gave.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.result.iter().flat_map(|result| &result.ips).map(|ip| ip.address.addr())
    }

    /// The error that its interface is in none of the places where it can be.
    pub(crate) fn gone(&self) -> Error {
        Error::InterfaceGone {
            endpoint: self.endpoint.clone(),
            if_name: self.parameters.if_name.clone(),
        }
    }

    /// Whether it leads to nothing but its own pin: what is found there is unmounted and removed.
    pub(crate) fn is_pinned_in(&self, netns_dir: &Path) -> Result<(), String> {
        let own = netns_dir.join(self.id.to_string());
        match () {
            () if self.staging != own => Err(format!(
                "its namespace is pinned at {}, not at {}: was it made with another --run-dir?",
                self.staging.display(),
                own.display()
            )),
            () if self.parameters.netns.as_ref() != Some(&own) => {
                Err("its plugins are told of another namespace than its own".to_owned())
            }
            () if self.parameters.container_id != self.id.to_string()
                || self.parameters.if_name != self.id.if_name() =>
            {
                Err("its plugins are told of another container, or interface, than its own"
                    .to_owned())
            }
            () => Ok(()),
        }
    }

    /// It is to be deleted; for how long that has been tried, it keeps.
    pub(crate) fn begin_removal(&mut self) {
        self.phase = Phase::Deleting;
        self.removal.get_or_insert_with(Removal::begun_now);
    }

    /// The ports that it came with; where Docker had kept them from it, these.
    pub(crate) fn ports_or<'p>(&'p self, asked: &'p [PortBinding]) -> &'p [PortBinding] {
        match &self.ports[..] {
            [] if !self.internal => asked,
            own => own,
        }
    }

    /// Whether its ports are published: by ADD, and not taken back since.
    pub(crate) fn publishes(&self) -> bool {
        !self.ports.is_empty() && self.parameters.capability_args.contains_key(PORT_MAPPINGS)
    }
}

impl Record for Attachment {
    const FOLDER: &'static str = "attachments";
    const VERSION: u32 = 1;

    fn key(&self) -> String {
        self.id.to_string()
    }
}

/// A container's interface, as ADD left it, with what Docker decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Interface {
    /// What CreateEndpoint was answered, for when it is asked again.
    pub(crate) answer: EndpointInterface,
    /// The addresses that Docker sets: its own, and those that it was answered.
    pub(crate) told: Vec<IpNet>,
    /// The interface, and all that belongs to it.
    pub(crate) snapshot: Snapshot,
    /// Settings that the chain changed; none before Join.
    pub(crate) settings: Option<Settings>,
    /// Settings that the user has decided; in the container they win over the chain's.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub(crate) users: Settings,
    /// Docker before version 28 started the container: the user's settings came about when it was
    /// settled, or after that.
    #[serde(default)]
    pub(crate) users_follow: bool,
}

impl Interface {
    /// The settings that the container is to have; none before Join.
    pub(crate) fn settings_in_sandbox(&self) -> Option<Settings> {
        self.settings.clone().map(|chains| chains.overlaid_with(&self.users))
    }
}

/// How far an attachment has come. Written before the step that it names is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// ADD runs. Found at start, it was interrupted.
    Adding,
    /// ADD has succeeded; the interface is in the staging namespace.
    Staged,
    /// Docker was given the interface.
    Joined,
    /// What Docker does not carry over has been put back in the container.
    Settled,
    /// DEL runs, or has failed and has to run again.
    Deleting,
}

impl Phase {
    /// Whether the endpoint exists as far as Docker is concerned.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Staged | Self::Joined | Self::Settled)
    }
}
