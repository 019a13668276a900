//! Settings below `/proc/sys/net` that a chain or the user has changed.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::equal::Equal;
use crate::netlink::{BridgeSettings, Snapshot};
use crate::sysctl::Sysctls;

/// Settings that a chain or the user has changed, below `/proc/sys/net`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) link: Sysctls,
    pub(crate) namespace: Sysctls,
}

/// The setting of an interface that turns IPv6 off.
pub(crate) const DISABLE_IPV6: &str = "ipv6/conf/disable_ipv6";

/// A further link that a chain made in its namespace, beside the interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Further {
    /// The link as it was in the staging namespace, and all that belongs to it.
    pub(crate) snapshot: Snapshot,
    /// Settings of the link that the chain changed.
    #[serde(default, skip_serializing_if = "Sysctls::is_empty")]
    pub(crate) settings: Sysctls,
    /// What a bridge is set to. The kernel does not move one, so it is made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bridge: Option<BridgeSettings>,
    /// The bridge that the link is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<Port>,
}

/// A port of a bridge that the chain made, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Port {
    /// The bridge's name.
    pub(crate) bridge: String,
    /// What the port is set to.
    pub(crate) settings: BridgeSettings,
}

impl Settings {
    /// These settings with `others` laid over them.
    pub(crate) fn overlaid_with(mut self, others: &Self) -> Self {
        self.link.extend(others.link.clone());
        self.namespace.extend(others.namespace.clone());
        self
    }

    /// Whether IPv6 is off at the interface. The kernel then takes no IPv6 address for it.
    pub(crate) fn turn_ipv6_off(&self) -> bool {
        self.link.get(DISABLE_IPV6).is_some_and(|value| value == "1")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.link.is_empty() && self.namespace.is_empty()
    }

    /// These settings, or equal ones that another attachment has.
    pub(crate) fn shared(self) -> Arc<Self> {
        static SETTINGS: Equal<Settings> = Equal::new();
        SETTINGS.share(self)
    }

    /// Reads settings from a record.
    pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Self>, D::Error> {
        Self::deserialize(deserializer).map(Self::shared)
    }
}
