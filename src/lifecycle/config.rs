//! What the operator decides about a driver.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cni::{Limits, Observer};
use crate::cnm::SpareCount;
use crate::metrics::Metrics;

/// Where the driver finds and keeps its files, and how long a plugin may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the CNI configuration files.
    pub conf_dir: PathBuf,
    /// Folders of the CNI plugins, searched in order.
    pub cni_path: Vec<PathBuf>,
    /// Folder of the records that survive a reboot.
    pub state_dir: PathBuf,
    /// Folder of the run-time files: pinned namespaces.
    pub run_dir: PathBuf,
    /// Limits of a plugin's execution.
    pub limits: Limits,
    /// Whether DeleteEndpoint is answered only once DEL has run.
    pub sync_delete: bool,
    /// Whether conflists and plugins may be in folders that others than root can write.
    pub allow_writable: bool,
    /// How long the ADD of a whole chain may take.
    pub add_within: Duration,
    /// How many networks and how many attachments there may be at a time.
    pub maximum: Maximum,
    /// The bit of the packet mark that exempts the packets of containers from the FORWARD policy.
    pub forward_mark: u32,
    /// How often to look for garbage; none for never.
    pub collect_every: Option<Duration>,
    /// Where what happens is counted.
    pub metrics: Arc<Metrics>,
    /// Who is told of each run of a plugin, beside the log and `metrics`.
    pub observers: Vec<Arc<dyn Observer>>,
    /// How many attachments a network has ready that no container has yet, if its options do not say so.
    /// With 0 there are none, whatever the options say.
    pub spares: SpareCount,
}

/// How much a driver takes on, so that a caller that runs wild does not fill the host.
#[derive(Debug, Clone, Copy)]
pub struct Maximum {
    /// Networks.
    pub networks: usize,
    /// Attachments, with those that are being removed.
    pub attachments: usize,
}

impl Default for Maximum {
    /// More than any host was seen to have.
    fn default() -> Self {
        Self { networks: 1_000, attachments: 10_000 }
    }
}
