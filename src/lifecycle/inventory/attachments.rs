//! An attachment, as the operator is shown it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cnm::{EndpointId, NetworkId};
use crate::journal::Port;
use crate::lifecycle::driver_info::seconds_of;
use crate::lifecycle::record;

/// An attachment, as the operator is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The `CNI_CONTAINERID` of its plugins.
    pub attachment: String,
    /// The `CNI_IFNAME` of its plugins. Docker names the interface anew in the container.
    pub if_name: String,
    /// Docker's network.
    pub network: NetworkId,
    /// The endpoint in Docker; the attachment's id stands here if no endpoint has it, as for a spare.
    pub endpoint: EndpointId,
    /// The conflist that attached it.
    pub conflist: String,
    /// The chain: the types of its plugins, as ADD ran them.
    pub plugins: Vec<String>,
    /// Its phase.
    pub phase: Phase,
    /// It is a spare, or was one until its removal: no container has had it.
    #[serde(default)]
    pub spare: bool,
    /// When it was made.
    pub made: Option<Timestamp>,
    /// The addresses that the chain gave.
    pub addresses: Vec<IpNet>,
    /// The gateways in the chain's result.
    pub gateways: Vec<IpAddr>,
    /// The interface's hardware address.
    pub mac: Option<String>,
    /// Its MTU, in bytes.
    pub mtu: Option<u32>,
    /// The links of the host that its packets pass, the innermost first: the peer of its interface or the
    /// link below it, and the bridges that this link is a port of.
    pub host_links: Vec<String>,
    /// The ports that are published for it.
    pub ports: Vec<Port>,
    /// Whether the container's default gateway is here.
    pub is_gateway: bool,
    /// Path of the container's namespace: Docker's `SandboxKey`.
    pub sandbox: Option<PathBuf>,
    /// The state of its removal, once Docker has deleted the endpoint.
    pub removal: Option<Removal>,
}

/// The phase of an attachment. `ARCHITECTURE.md` has a picture of the phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// ADD runs.
    Adding,
    /// It was made ahead of time, and no endpoint has it yet.
    Spare,
    /// ADD has succeeded; the interface is not in the container yet.
    Staged,
    /// Docker was given the interface.
    Joined,
    /// What Docker does not carry over is in the container too.
    Settled,
    /// It is an orphan: DEL runs, or has failed.
    Deleting,
}

/// The state of an attachment's removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// When it began.
    pub since: Timestamp,
    /// How often DEL has failed.
    pub attempts: u32,
    /// Whether the driver has given up, and the operator has to act.
    pub given_up: bool,
    /// Why DEL failed the last time.
    pub error: Option<String>,
}

impl Attachment {
    pub(super) fn of(record: &record::Attachment) -> Self {
        let result = record.result();
        let ips = || result.into_iter().flat_map(|result| &result.ips);
        let link = record.snapshot().map(|snapshot| &snapshot.link);
        let made = record.made.or_else(|| record.id.made());
        Self {
            attachment: record.id.to_string(),
            if_name: record.parameters.if_name.clone(),
            network: record.network.clone(),
            endpoint: record.endpoint.clone(),
            conflist: record.list.name().to_owned(),
            plugins: record.list.plugins().iter().map(|it| it.plugin_type().to_owned()).collect(),
            phase: record.phase.name().into(),
            spare: record.is_of_no_container(),
            made: made.and_then(|made| Timestamp::try_from(made).ok()).map(seconds_of),
            addresses: ips().map(|ip| ip.address).collect(),
            gateways: ips().filter_map(|ip| ip.gateway).collect(),
            mac: link.and_then(|link| link.mac.as_ref()).map(ToString::to_string),
            mtu: link.map(|link| link.mtu),
            host_links: host_links(record),
            ports: ports(record),
            is_gateway: record.is_gateway,
            sandbox: record.sandbox().map(Path::to_owned),
            removal: record.removal().map(Removal::of),
        }
    }
}

/// The links that Join has seen; before Join, those in ADD's result.
fn host_links(record: &record::Attachment) -> Vec<String> {
    if let Some(side) = record.host_side() {
        return side.links.iter().map(|link| link.name.clone()).collect();
    }
    let told = record.result().into_iter().flat_map(|result| &result.interfaces);
    let of_host = told.filter(|told| told.sandbox.as_deref().unwrap_or_default().is_empty());
    of_host.map(|told| told.name.clone()).collect()
}

fn ports(record: &record::Attachment) -> Vec<Port> {
    if !record.publishes() {
        return Vec::new();
    }
    record.ports.iter().map(Port::from).collect()
}

impl Removal {
    fn of(removal: &record::Removal) -> Self {
        // A record may tell any time.
        let since = i64::try_from(removal.since).ok();
        Self {
            since: since.and_then(|it| Timestamp::from_second(it).ok()).unwrap_or_default(),
            attempts: removal.attempts,
            given_up: removal.given_up(),
            error: removal.error.clone(),
        }
    }
}

impl From<record::PhaseName> for Phase {
    fn from(phase: record::PhaseName) -> Self {
        match phase {
            record::PhaseName::Adding => Self::Adding,
            record::PhaseName::Spare => Self::Spare,
            record::PhaseName::Staged => Self::Staged,
            record::PhaseName::Joined => Self::Joined,
            record::PhaseName::Settled => Self::Settled,
            record::PhaseName::Deleting => Self::Deleting,
        }
    }
}
