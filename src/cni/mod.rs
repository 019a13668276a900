//! CNI's words and engine: a runtime in the sense of the CNI specification 1.1.0, which
//! also speaks the versions from 0.1.0 on.
//!
//! ```text
//!   config    NetworkConfigList, PluginConfig ◀── conf_dir   /etc/cni/net.d
//!      │      + attachment                                   what differs per container
//!      ▼
//!   runtime   ADD, DEL, CHECK, GC, STATUS, VERSION           a walk along the chain
//!      │  ▲
//!      │  └── result, conversion                             AttachResult, in any version
//!      ▼
//!   request   what one plugin reads
//!   plugins   find it, run it, hear it out
//!   process   one process, its pipes, its deadline
//! ```
//!
//! It stands beside libcni: what a conflist does under kubelet it does here, and plugins
//! are sent the same. It knows nothing of Docker, enters no namespace, and stores nothing.
//!
//! The message of an error tells the whole story, that of its sources included: print it
//! alone.

mod attachment;
mod conf_dir;
mod config;
mod config_error;
mod conversion;
mod error;
mod lenient;
mod limits;
mod name;
mod plugin_config;
mod plugins;
mod process;
mod request;
mod result;
mod runtime;
mod verb;
mod version;

pub use attachment::{Attachment, InvalidAttachment};
pub use conf_dir::{ConfDir, Listed, Listing};
pub use config::NetworkConfigList;
pub use config_error::ConfigError;
pub use conversion::InvalidResult;
pub use error::{Error, Failure, PluginError};
pub use lenient::Mismatch;
pub use limits::Limits;
pub use name::InvalidName;
pub use plugin_config::PluginConfig;
pub use result::{AttachResult, Dns, Interface, IpConfig, Route};
pub use runtime::{Runtime, ValidAttachment};
pub use verb::Verb;
pub use version::{InvalidVersion, Version};
