//! Settings below `/proc/sys/net` that a chain or the user has changed.

use serde::{Deserialize, Serialize};

use crate::netlink::Snapshot;
use crate::sysctl::Sysctls;

/// Settings that a chain or the user has changed, below `/proc/sys/net`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) link: Sysctls,
    pub(crate) namespace: Sysctls,
}

/// A further link that a chain made in its namespace, beside the interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Further {
    /// The link as it was in the staging namespace, and all that belongs to it.
    pub(crate) snapshot: Snapshot,
    /// Settings of the link that the chain changed.
    #[serde(default, skip_serializing_if = "Sysctls::is_empty")]
    pub(crate) settings: Sysctls,
}

impl Settings {
    /// These settings with `others` laid over them.
    pub(crate) fn overlaid_with(mut self, others: &Self) -> Self {
        self.link.extend(others.link.clone());
        self.namespace.extend(others.namespace.clone());
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.link.is_empty() && self.namespace.is_empty()
    }
}
