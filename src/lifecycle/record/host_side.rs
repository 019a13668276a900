//! What an attachment's ADD left on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use super::equal::Equal;

/// What an attachment's ADD left on the host, as it was seen there. The configuration does not tell,
/// because plugins delegate to others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostSide {
    /// The links that its packets pass, the innermost first: the peer of its interface or the link below
    /// it, and then the bridges that this link is a port of.
    pub(crate) links: Vec<HostLink>,
    /// Its gateways that are addresses of the host, each with its link's name.
    pub(crate) gateways: Vec<(String, IpNet)>,
    /// The host routes to its addresses, each with its link's name.
    pub(crate) routes: Vec<(String, IpNet)>,
    /// Settings below `/proc/sys` by which its packets are forwarded, as they were.
    #[serde(deserialize_with = "read_settings")]
    pub(crate) settings: Arc<BTreeMap<String, String>>,
    /// Its addresses that are masqueraded; none before the rules were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) masqueraded: Option<BTreeSet<IpAddr>>,
}

/// A link of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostLink {
    pub(crate) name: String,
    pub(crate) up: bool,
    /// The bridge that it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) controller: Option<String>,
}

/// These settings of the host, or equal ones that another attachment has.
pub(crate) fn shared_settings(settings: BTreeMap<String, String>) -> Arc<BTreeMap<String, String>> {
    static SETTINGS: Equal<BTreeMap<String, String>> = Equal::new();
    SETTINGS.share(settings)
}

fn read_settings<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Arc<BTreeMap<String, String>>, D::Error> {
    BTreeMap::deserialize(deserializer).map(shared_settings)
}
