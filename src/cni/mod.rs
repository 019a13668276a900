//! CNI's words and engine: a runtime in the sense of the CNI specification 1.1.0, which
//! also speaks the versions from 0.1.0 on.
//!
//! | room | its part | may use |
//! |---|---|---|
//! | `runtime` | ADD, DEL, CHECK, GC, STATUS and VERSION, as walks along a chain; what would keep ADD from working | `exec`, and what that may use |
//! | `exec` | one run of one plugin: finding it, what it reads, what it answers, within its limits | `config`, `result`, and what those may use |
//! | `cache` | what ADD gave, as libcni keeps it, for tools without records of their own | `config`, `result`, and what those may use |
//! | `config` | configuration lists, and the folder that they are in | `attachment`, and what that may use |
//! | `result` | what ADD answers, in every version | `attachment`, and what that may use |
//! | `attachment` | what differs from container to container | `name`, `lenient`, `version`, `verb` |
//! | `name`, `lenient`, `version`, `verb` | valid names; JSON read as Go reads it; versions; operations | nobody |
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
//! | "try again later" (code 11) is left to the caller | it is tried again a few times, with a DEL before each further ADD |
//! | CHECK before 0.4.0 fails even where it is disabled | where it is disabled it succeeds |
//! | DEL reads the result from a cache, and takes the caller's arguments | the caller keeps both with the attachment |
//!
//! The message of an error is complete, with those of its sources: print it
//! alone.

mod attachment;
mod cache;
mod config;
mod exec;
mod lenient;
mod name;
#[cfg(test)]
mod properties;
mod result;
mod runtime;
mod verb;
mod version;

pub use attachment::{Attachment, InvalidAttachment, ValidAttachment};
pub use cache::{Cache, CacheError, CachedAttachment, Turn};
pub use config::{
    ConfDir, ConfigError, Listed, Listing, NetworkConfigList, NoSubnet, PluginConfig,
};
pub(crate) use exec::Secrets;
pub use exec::{
    Error, Failure, Limits, NotFound, Observer, PluginEnd, PluginError, PluginOutcome, PluginRun,
};
pub use lenient::Mismatch;
pub use name::InvalidName;
pub use result::{AttachResult, Dns, Interface, InvalidResult, IpConfig, Route};
pub use runtime::{Outlook, Runtime, Unusable, ValidatedPlugin, Validation};
pub use verb::Verb;
pub use version::{InvalidVersion, Version};

pub use crate::trust::{Trust, Untrusted};
