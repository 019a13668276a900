//! CHECK: whether a container still has what ADD gave it, and putting back what can be.
//!
//! Three things are looked at: what the chain's own CHECK says ([`chain`]); how the interface differs
//! from what settling would make it ([`endpoint`]); and what the host has for it ([`host`]).
//!
//! All endpoints are checked in one [`round`], a few at a time: what is the same for all of them is read
//! once, and an endpoint is held only while it is worked on. A call of Docker's for it goes first.

pub(crate) mod chain;
mod endpoint;
mod host;
mod known;
mod round;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::record::Attachment;
use crate::cnm::{EndpointId, NetworkId};

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
    /// What is amiss, in the words of the first plugin that says so.
    Failed(String),
    /// They were not asked, and why.
    NotAsked(String),
}

impl Check {
    /// Of an attachment that was not looked at yet.
    fn of(attachment: &Attachment) -> Self {
        let ips = attachment.result.iter().flat_map(|result| &result.ips);
        Self {
            endpoint: attachment.endpoint.clone(),
            network: attachment.network.clone(),
            conflist: attachment.list.name().to_owned(),
            sandbox: attachment.sandbox.clone(),
            interface: None,
            addresses: ips.map(|ip| ip.address).collect(),
            chain: ChainCheck::NotAsked("the interface is not in a container".into()),
            differences: Vec::new(),
            notes: Vec::new(),
            repaired: Vec::new(),
        }
    }

    /// Whether there is nothing to complain of.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.differences.is_empty() && !matches!(self.chain, ChainCheck::Failed(_))
    }
}

impl Driver {
    /// Checks the endpoints that `which` names, or all if it names none: by the beginning of
    /// an endpoint's id, by the path of its sandbox or the end of that, or by an address. With
    /// `repair`, what can be put back is, and it is looked at again.
    ///
    /// The check of an endpoint is finished even if the caller stops waiting for it; no further one is
    /// begun then. What goes wrong with an endpoint's is one of its differences.
    pub async fn check(&self, which: &[String], repair: bool) -> Vec<Check> {
        round::check(self, which, repair).await
    }
}

impl Attachment {
    /// Whether `name` is the beginning of its endpoint's id, its sandbox or one of its addresses.
    fn answers_to(&self, name: &str) -> bool {
        let sandbox = self.sandbox.as_deref();
        let key = sandbox.and_then(Path::file_name).and_then(|key| key.to_str());
        let mut ips = self.result.iter().flat_map(|result| &result.ips);
        (!name.is_empty() && self.endpoint.as_str().starts_with(name))
            || sandbox.is_some_and(|path| path == Path::new(name))
            || key == Some(name)
            || name.parse::<IpAddr>().is_ok_and(|ip| ips.any(|it| it.address.addr() == ip))
    }
}
