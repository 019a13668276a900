//! One run of one plugin: it is found and judged, gets its request, and its answer is read, within limits.
//!
//! | file | has |
//! |---|---|
//! | `plugins` | finding a plugin, and running it |
//! | `call` | what one run is about |
//! | `program` | the executable that was found, and judged |
//! | `request` | what the plugin reads on standard input |
//! | `secrets` | the user's arguments, hidden in what the plugin writes |
//! | `output` | a result, an error, or neither on standard output |
//! | `limits` | deadlines, tries, and how many plugins run at a time |
//! | `observer` | who is told of each run |
//! | `log` | the log, which is told of each |
//! | `strays` | plugins that a killed runtime left running |
//! | `error` | why an operation failed, on which plugin |

pub(in crate::cni) mod call;
mod error;
mod limits;
mod log;
mod observer;
pub(in crate::cni) mod output;
pub(in crate::cni) mod plugins;
pub(in crate::cni) mod program;
pub(in crate::cni) mod request;
mod secrets;
pub(in crate::cni) mod strays;

pub(crate) use secrets::Secrets;

pub use error::{Error, Failure, NotFound, PluginError};
pub use limits::Limits;
pub use observer::{Observer, PluginEnd, PluginOutcome, PluginRun};
