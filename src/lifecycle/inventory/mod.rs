//! All that the driver has, reported to the operator: attachments, networks, conflists, leases.
//!
//! It is read from the records on disk and the host's files, not from the driver's memory. So no call of
//! Docker's waits for it, and it is available while the driver does not run. It does not contain Docker's
//! names, which the driver does not know: the command line asks Docker for them.

mod attachments;
mod conflists;
mod metrics;
mod networks;
mod pools;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::blocking::on_blocking_thread;
use super::driver::Driver;
use super::driver_info::DriverInfo;
use super::error::Result;
use super::interface::place::Place;
use super::record;
use crate::cni::ConfDir;
use crate::state::Folder;

pub use attachments::{Attachment, Phase, Removal};
pub use conflists::{Conflist, Lease};
pub use networks::Network;
pub use pools::{Fill, Held, Holder, Owner, fills, holders};

/// The version of [`Inventory`] that this program writes. It stays the same when a field is added, and
/// changes when a field is removed or changes its meaning.
pub const VERSION: u32 = 1;

/// All that the driver has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Inventory {
    /// [`VERSION`] of the program that wrote it.
    pub version: u32,
    /// The driver that reports it; none if it was read from records while no driver runs.
    pub driver: Option<DriverInfo>,
    /// Docker's networks on this driver, by their ids.
    pub networks: Vec<Network>,
    /// The attachments, the oldest first.
    pub attachments: Vec<Attachment>,
    /// The attachments that are, or were, made ahead of time, and that no container has yet; the oldest first.
    #[serde(default)]
    pub spares: Vec<Attachment>,
    /// The conflists that networks can use, by the names of their files; then networks' own chains.
    pub conflists: Vec<Conflist>,
    /// What is wrong with files that contain no usable conflist, a sentence each.
    pub problems: Vec<String>,
}

impl Inventory {
    /// The inventory from the records in `state_dir` and the configuration files. This does not need the
    /// driver, and does not disturb it.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub fn read(state_dir: &Path, conf_dir: &ConfDir) -> Result<Self> {
        let records = Folder::<record::Attachment>::glance(state_dir)?;
        let networks = Folder::<record::Network>::glance(state_dir)?;
        Self::of(&records, &networks, conf_dir)
    }

    fn of(
        attachments: &[record::Attachment],
        networks: &[record::Network],
        conf_dir: &ConfDir,
    ) -> Result<Self> {
        let (conflists, problems) = conflists::known(conf_dir, networks)?;
        // A network that Docker has removed exists only until its last attachment is gone.
        let present = networks.iter().filter(|network| !network.removed);
        let mut networks: Vec<_> = present.map(Network::of).collect();
        networks.sort_by(|one, other| one.network.as_str().cmp(other.network.as_str()));
        let mut attachments: Vec<_> = attachments.iter().map(Attachment::of).collect();
        attachments.sort_by(|one, other| {
            (one.made, &one.attachment).cmp(&(other.made, &other.attachment))
        });
        // One that is removed is an orphan as any other.
        let (spares, attachments) =
            attachments.into_iter().partition(|it| it.spare && it.phase != Phase::Deleting);
        let (version, driver) = (VERSION, None);
        Ok(Self { version, driver, networks, attachments, spares, conflists, problems })
    }
}

impl Driver {
    /// All that this driver has.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub async fn inventory(&self) -> Result<Inventory> {
        let (info, conf_dir) = (self.info.clone(), self.chains.conf_dir().clone());
        on_blocking_thread(move || {
            let inventory = Inventory::read(&info.state_dir, &conf_dir)?;
            Ok(Inventory { driver: Some(DriverInfo::clone(&info)), ..inventory })
        })
        .await
    }

    /// The names of these attachments' interfaces in their containers, by the attachments' ids; of all
    /// attachments if none is named. An interface that is in no container is left out.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub async fn interface_names(&self, attachments: Vec<String>) -> Result<Vec<(String, String)>> {
        let state_dir = self.info.state_dir.clone();
        let records =
            on_blocking_thread(move || Ok(Folder::<record::Attachment>::glance(&state_dir)?))
                .await?;
        let mut names = Vec::new();
        for record in records {
            let id = record.id.to_string();
            if !attachments.is_empty() && !attachments.contains(&id) {
                continue;
            }
            // A container may end meanwhile.
            if let Ok(Place::Sandbox(_, link)) = self.interfaces.locate(&record).await {
                names.push((id, link.name));
            }
        }
        Ok(names)
    }
}
