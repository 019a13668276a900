//! What is reported to the operator about a driver: its settings, and since when it runs.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::{Config, Maximum};

/// The settings of the driver, and since when it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DriverInfo {
    /// Its version.
    pub version: String,
    /// When it was started.
    pub started: Timestamp,
    /// Folder of its records.
    pub state_dir: PathBuf,
    /// Folder of the CNI configuration files.
    pub conf_dir: PathBuf,
    /// Folders of the plugins.
    pub cni_path: Vec<PathBuf>,
    /// How many networks there may be.
    pub max_networks: usize,
    /// How many attachments there may be.
    pub max_attachments: usize,
}

impl DriverInfo {
    /// The report of a driver that starts now.
    pub(crate) fn of(config: &Config) -> Self {
        let Maximum { networks, attachments } = config.maximum;
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: seconds_of(Timestamp::now()),
            state_dir: config.state_dir.clone(),
            conf_dir: config.conf_dir.clone(),
            cni_path: config.cni_path.clone(),
            max_networks: networks,
            max_attachments: attachments,
        }
    }
}

/// A time to the second: fractions do not help a reader.
pub(crate) fn seconds_of(time: Timestamp) -> Timestamp {
    // In range, because it comes from a time.
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
