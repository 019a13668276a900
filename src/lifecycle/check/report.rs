//! The report of a check about one endpoint.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::cnm::{EndpointId, NetworkId};
use crate::lifecycle::record::Attachment;

/// The check of a container's endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The endpoint.
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
    /// The differences, a sentence each.
    pub differences: Vec<String>,
    /// What is wrong on the host, with the remedy: the differences on the host, and other reasons why
    /// packets may not arrive, which are not differences.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Remarks that are not faults of this container's network.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What was repaired.
    pub repaired: Vec<String>,
}

/// What the plugins of a chain say to CHECK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "why")]
pub enum ChainCheck {
    /// All is well.
    Ok,
    /// The message of the first plugin that reports a problem.
    Failed(String),
    /// They were not asked, and why.
    NotAsked(String),
}

impl Check {
    /// The report about an attachment that has not been checked yet.
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

    /// All that a check can find, in a word each.
    pub(super) const WORDS: [&str; 4] = ["ok", "differs", "plugin_failed", "not_asked"];

    /// What it has found, in a word.
    pub(super) fn word(&self) -> &'static str {
        match &self.chain {
            ChainCheck::Failed(_) => "plugin_failed",
            _ if !self.differences.is_empty() => "differs",
            ChainCheck::NotAsked(_) => "not_asked",
            ChainCheck::Ok => "ok",
        }
    }

    /// Whether nothing is wrong.
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
