//! Settings below `/proc/sys/net` that a chain has changed.

use serde::{Deserialize, Serialize};

use crate::netlink::sysctl::Sysctls;

/// Settings that a chain has changed, below `/proc/sys/net`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) link: Sysctls,
    pub(crate) namespace: Sysctls,
}
