//! What an attachment's ADD left on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What an attachment's ADD left on the host's side, as it was seen there: whatever a configuration
/// says, since plugins hand work on to others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostSide {
    /// The links that its packets pass, the innermost first: the other end of its interface, or
    /// the one below, and then the bridges that this is a port of.
    pub(crate) links: Vec<HostLink>,
    /// The gateways of its that are addresses of the host, each with its link's name.
    pub(crate) gateways: Vec<(String, IpNet)>,
    /// The routes of the host to its addresses alone, each with its link's name.
    pub(crate) routes: Vec<(String, IpNet)>,
    /// Settings below `/proc/sys` that have its packets forwarded, as they were.
    pub(crate) settings: BTreeMap<String, String>,
    /// The addresses of its that are hidden behind the host's; none before the rules were read.
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
