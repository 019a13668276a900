//! CNI's words and engine: a runtime in the sense of the CNI specification 1.1.0, which
//! also speaks the versions from 0.1.0 on.
//!
//! ```text
//!   config    NetworkConfigList, PluginConfig ◀── conf_dir   /etc/cni/net.d
//!      │      + attachment                                   what differs per container
//!      ▼
//!   runtime   ADD, DEL, CHECK, GC, STATUS, VERSION           a walk along the chain
//!      │  ▲      validate: what would keep ADD from working
//!      │  └── result, conversion                             AttachResult, in any version
//!      ▼
//!   request   what one plugin reads
//!   plugins   find it, judge it, run it, hear it out
//!             (crate::process: one process, its pipes, its deadline)
//!
//!   cache     what ADD gave, as libcni keeps it; for whoever has no records of his own
//!   turn      GC apart from ADD and DEL, among those
//! ```
//!
//! It stands beside libcni: what a conflist does under kubelet it does here, and plugins
//! are sent the same. It knows nothing of Docker, enters no namespace, and stores nothing by itself.
//!
//! Where it departs from libcni, it does what the specification says, or the safer thing:
//!
//! | libcni | here |
//! |---|---|
//! | one malformed file makes every network of the folder unfindable | the others are found; the error names that file where the wanted network is not |
//! | a network's name is checked at ADD, after paths were made of it | it is checked where it is read |
//! | plugins are sent `capabilities`, and a `prevResult` or `cni.dev/…` that stands in a file | they are not (SPEC.md section 3) |
//! | a result goes to the next plugin in whatever version it has | it goes in the list's version |
//! | fields of a result that it does not know are lost between plugins | they are kept |
//! | large numbers pass through a float | every digit is kept |
//! | ADD looks for a plugin when its turn comes | it looks for all of them before it runs any |
//! | any regular file is a plugin | it has to be executable; else the search goes on |
//! | no deadline; a cancelled plugin's children live on | a deadline per verb; the process group is killed |
//! | an executable that stays busy counts as success | it is an error |
//! | "try again later" (code 11) is the caller's affair | it is tried again a few times, with a DEL before each further ADD |
//! | CHECK before 0.4.0 fails even where it is disabled | where it is disabled it succeeds |
//! | DEL reads the result from a cache, and takes the caller's arguments | the caller keeps both with the attachment |
//!
//! The message of an error tells the whole story, that of its sources included: print it
//! alone.

mod attachment;
mod cache;
mod conf_dir;
mod config;
mod config_error;
mod conversion;
mod delegate;
mod error;
mod lenient;
mod limits;
mod name;
mod plugin_config;
mod plugins;
mod program;
#[cfg(test)]
mod properties;
mod request;
mod result;
mod runtime;
mod secrets;
mod strays;
mod turn;
mod validate;
mod verb;
mod version;

pub use attachment::{Attachment, InvalidAttachment, ValidAttachment};
pub use cache::{Cache, CacheError, CachedAttachment};
pub use conf_dir::{ConfDir, Listed, Listing};
pub use config::NetworkConfigList;
pub use config_error::ConfigError;
pub use conversion::InvalidResult;
pub use delegate::NoSubnet;
pub use error::{Error, Failure, NotFound, PluginError};
pub use lenient::Mismatch;
pub use limits::Limits;
pub use name::InvalidName;
pub use plugin_config::PluginConfig;
pub use result::{AttachResult, Dns, Interface, IpConfig, Route};
pub use runtime::Runtime;
pub use turn::Turn;
pub use validate::{Unusable, ValidatedPlugin, Validation};
pub use verb::Verb;
pub use version::{InvalidVersion, Version};

pub use crate::trust::{Trust, Untrusted};
