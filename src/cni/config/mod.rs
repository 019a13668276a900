//! Network configuration: what the files of the CNI folder say, checked, and otherwise untouched.
//!
//! | file | has |
//! |---|---|
//! | `conf_dir` | the folder, and how a network is found in it |
//! | `list` | one network's list: its name, its version, its chain |
//! | `plugin` | one plugin's configuration in it |
//! | `delegate` | which plugins a plugin runs itself, as `flannel` does |
//! | `error` | why a file gives no network |

mod conf_dir;
pub(in crate::cni) mod delegate;
mod error;
mod list;
mod plugin;

pub use conf_dir::{ConfDir, Listed, Listing};
pub use delegate::NoSubnet;
pub use error::ConfigError;
pub use list::NetworkConfigList;
pub use plugin::PluginConfig;

/// The longest chain that is read: each plugin is a process at every ADD.
const MOST_PLUGINS: usize = 100;
