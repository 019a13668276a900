//! What is kept on disk about networks and attachments.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::orphans::Removal;
use super::settle::Settings;
use crate::cni::{self, AttachResult, NetworkConfigList};
use crate::cnm::{
    EndpointId, EndpointInterface, Id, IpamData, NetworkId, NetworkOptions, PortBinding,
};
use crate::netlink::Snapshot;
use crate::state::Record;
use crate::translate::PORT_MAPPINGS;

/// A Docker network. Docker never tells about it again, so this is all there is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Network {
    pub(super) id: NetworkId,
    /// Name of the conflist that its containers are attached by: read anew for each, as a
    /// kubelet does.
    pub(super) conflist: String,
    pub(super) options: NetworkOptions,
    /// The pools that Docker's IPAM has for the network.
    #[serde(default)]
    pub(super) pools: Vec<IpamData>,
}

impl Record for Network {
    const FOLDER: &'static str = "networks";
    const VERSION: u32 = 1;

    fn key(&self) -> String {
        self.id.to_string()
    }
}

/// One run of a chain's ADD, and all that DEL needs to take it back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Attachment {
    pub(super) id: AttachmentId,
    pub(super) network: NetworkId,
    pub(super) endpoint: EndpointId,
    pub(super) phase: Phase,
    /// The boot that ADD ran in: interfaces and namespaces do not outlive it.
    pub(super) boot_id: String,
    /// The chain exactly as ADD ran it, whatever becomes of the file.
    pub(super) list: Arc<NetworkConfigList>,
    /// What ADD was told; DEL is told the same.
    pub(super) parameters: cni::Attachment,
    /// The ports to publish, with the host ports that were chosen. They are published as long
    /// as `parameters` has them too: see [`super::publish`].
    #[serde(default)]
    pub(super) ports: Vec<PortBinding>,
    /// Where the staging namespace is pinned: the `CNI_NETNS` of the parameters.
    pub(super) staging: PathBuf,
    /// The network is `--internal`.
    pub(super) internal: bool,
    /// The addresses are exempt from the host's FORWARD policy.
    pub(super) forwarded: bool,
    /// The container's namespace, from Join on.
    pub(super) sandbox: Option<PathBuf>,
    /// It has its sandbox's default gateway: Docker has said so by
    /// ProgramExternalConnectivity.
    #[serde(default)]
    pub(super) is_gateway: bool,
    /// By how many bits the routes to its gateways are wider than a host route: see
    /// [`super::sandboxes`].
    #[serde(default)]
    pub(super) widened: u8,
    /// Routing tables of the chain's that have another number in the container, by their own:
    /// see [`super::sandboxes`].
    #[serde(default)]
    pub(super) tables: BTreeMap<u32, u32>,
    /// What ADD answered; none before it succeeded.
    pub(super) result: Option<AttachResult>,
    /// The interface that ADD made, as it stood in the staging namespace.
    pub(super) interface: Option<Interface>,
    /// How its removal goes, once it is [`Phase::Deleting`].
    #[serde(default)]
    pub(super) removal: Option<Removal>,
    /// Held while the record is written, so that writes follow each other.
    #[serde(skip)]
    pub(super) writing: Arc<Mutex<()>>,
}

impl Attachment {
    /// The addresses that the chain gave.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.result.iter().flat_map(|result| &result.ips).map(|ip| ip.address.addr())
    }

    /// Whether it leads to nothing but its own pin: what is found there is unmounted and removed.
    pub(super) fn is_pinned_in(&self, netns_dir: &Path) -> Result<(), String> {
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
    pub(super) fn begin_removal(&mut self) {
        self.phase = Phase::Deleting;
        self.removal.get_or_insert_with(Removal::begun_now);
    }

    /// Whether its ports are published: by ADD, and not taken back since.
    pub(super) fn publishes(&self) -> bool {
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
pub(super) struct Interface {
    /// What CreateEndpoint was answered, for when it is asked again.
    pub(super) answer: EndpointInterface,
    /// The addresses that Docker sets: its own, and those that it was answered.
    pub(super) told: Vec<IpNet>,
    /// The interface, and all that belongs to it.
    pub(super) snapshot: Snapshot,
    /// Settings that the chain changed; none before Join.
    pub(super) settings: Option<Settings>,
}

/// How far an attachment has come. Written before the step that it names is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
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
    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Staged | Self::Joined | Self::Settled)
    }
}

/// Which attachment: the `CNI_CONTAINERID` of its chain. Ours, not Docker's: plugins key
/// what they leave on the host by it alone, so no two attachments may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct AttachmentId(Uuid);

impl AttachmentId {
    pub(super) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The attachment that `text` names; none if no attachment of this driver's has such an id.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok().filter(|id| id.get_version_num() == 7);
        id.filter(|id| id.to_string() == text).map(Self)
    }

    /// The id as one that Docker could have given.
    pub(super) fn without_dashes<Of>(self) -> Id<Of> {
        Id::hexadecimal(self.0.as_u128())
    }

    /// How long ago the attachment was made; nothing if the clock was set back since.
    pub(super) fn age(self) -> Duration {
        let made = self.0.get_timestamp().map(|timestamp| timestamp.to_unix());
        let made = made.map_or(UNIX_EPOCH, |(s, ns)| UNIX_EPOCH + Duration::new(s, ns));
        SystemTime::now().duration_since(made).unwrap_or_default()
    }

    /// Whether an interface may have been given this name by [`AttachmentId::if_name`].
    pub(super) fn is_if_name(name: &str) -> bool {
        let digits = name.strip_prefix("cni").unwrap_or_default();
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        digits.len() == 12 && digits.bytes().all(is_digit)
    }

    /// The `CNI_IFNAME`: `cni` and the id's last twelve hex digits, which are random. 15
    /// bytes, the longest that the kernel allows.
    pub(super) fn if_name(self) -> String {
        const NODE: u128 = (1 << 48) - 1;
        format!("cni{:012x}", self.0.as_u128() & NODE)
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_name_fits_the_kernel_and_belongs_to_one_attachment() {
        let (one, other) = (AttachmentId::new(), AttachmentId::new());
        assert_eq!(one.if_name().len(), 15);
        assert!(one.to_string().replace('-', "").ends_with(&one.if_name()[3..]));
        assert_ne!(one.if_name(), other.if_name());
        assert!(AttachmentId::is_if_name(&one.if_name()));
        assert!(!AttachmentId::is_if_name("cni0") && !AttachmentId::is_if_name("cniABCDEF012345"));
    }

    #[test]
    fn an_id_is_known_by_its_form_and_tells_its_age() {
        let id = AttachmentId::new();
        assert_eq!(AttachmentId::parse(&id.to_string()), Some(id));
        assert!(id.age() < Duration::from_secs(60), "{:?}", id.age());
        for other in ["", "4f3c", "67e55044-10b1-426f-9247-bb680e5fe0c8"] {
            assert_eq!(AttachmentId::parse(other), None, "{other}");
        }
    }
}
