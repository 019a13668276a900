//! What a check tells of one endpoint.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::cnm::{EndpointId, NetworkId};
use crate::lifecycle::record::Attachment;

/// How a container's end in a network is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The container's end.
    pub endpoint: EndpointId,
    /// Its network.
    pub network: NetworkId,
    /// The network configuration list.
    pub conflist: String,
    /// Path of the container's namespace: Docker's `SandboxKey`.
    pub sandbox: Option<PathBuf>,
    /// The interface, as it is called in the container.
    pub interface: Option<String>,
    /// The addresses that ADD gave.
    pub addresses: Vec<IpNet>,
    /// What the plugins say.
    pub chain: ChainCheck,
    /// What is not as it should be, one in words each.
    pub differences: Vec<String>,
    /// What is amiss on the host, with what puts it right: those of the differences that are the host's,
    /// and what else may keep packets from arriving, which is none.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What is worth knowing, and no fault of this container's network.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What was not, and is again.
    pub repaired: Vec<String>,
}

/// What the plugins of a chain say to CHECK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainCheck {
    /// All is well.
    Ok,
    /// The problem, in the words of the first plugin that reports one.
    Failed(String),
    /// They were not asked, and why.
    NotAsked(String),
}

impl Check {
    /// Of an attachment that was not looked at yet.
    pub(super) fn of(attachment: &Attachment) -> Self {
        let ips = attachment.result().into_iter().flat_map(|result| &result.ips);
        Self {
            endpoint: attachment.endpoint.clone(),
            network: attachment.network.clone(),
            conflist: attachment.list.name().to_owned(),
            sandbox: attachment.sandbox().map(Path::to_owned),
            interface: None,
            addresses: ips.map(|ip| ip.address).collect(),
            chain: ChainCheck::NotAsked("the interface is not in a container".into()),
            differences: Vec::new(),
            faults: Vec::new(),
            notes: Vec::new(),
            repaired: Vec::new(),
        }
    }

    /// Whether it is asked for by `name`: the beginning of its endpoint's id, its sandbox or one of its
    /// addresses.
    #[must_use]
    pub fn answers_to(&self, name: &str) -> bool {
        let ips = self.addresses.iter().map(IpNet::addr);
        answers_to(name, &self.endpoint, self.sandbox.as_deref(), ips)
    }

    /// Whether there is nothing to complain of.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.differences.is_empty() && !matches!(self.chain, ChainCheck::Failed(_))
    }
}

/// Whether `name` is the beginning of an endpoint's id, its sandbox or one of its addresses.
pub(super) fn answers_to(
    name: &str,
    endpoint: &EndpointId,
    sandbox: Option<&Path>,
    mut ips: impl Iterator<Item = IpAddr>,
) -> bool {
    let key = sandbox.and_then(Path::file_name).and_then(|key| key.to_str());
    (!name.is_empty() && endpoint.as_str().starts_with(name))
        || sandbox.is_some_and(|path| path == Path::new(name))
        || key == Some(name)
        || name.parse::<IpAddr>().is_ok_and(|ip| ips.any(|it| it == ip))
}
