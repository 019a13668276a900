//! What the driver does at its start: it removes every interrupted attachment, in the background. Attachments of
//! running containers are not touched.

use std::fs;

use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::{Attachment, PhaseName, Spare};

/// Separates the attachments that continue from those that were interrupted. A spare continues if `keeps` says
/// so.
pub(crate) fn partition(
    attachments: Vec<Attachment>,
    boot_id: &str,
    keeps: impl Fn(&Attachment) -> bool,
) -> Partition {
    let mut partition = Partition::default();
    for attachment in attachments {
        let reason = interrupted(&attachment, boot_id);
        let (mut attachment, reason) = match (reason, Spare::found(attachment)) {
            (None, Ok(spare)) if keeps(&spare) => {
                partition.spares.push(spare);
                continue;
            }
            (None, Ok(spare)) => (spare.given_up(), "it is a spare that nobody needs"),
            (None, Err(attachment)) => {
                partition.live.push(attachment);
                continue;
            }
            (Some(reason), found) => (found.map_or_else(|it| it, Spare::given_up), reason),
        };
        tracing::info!(attachment = %attachment.id, endpoint = attachment.endpoint.short(), reason,
            "removing the attachment");
        attachment.begin_removal();
        partition.interrupted.push(attachment);
    }
    partition
}

/// The attachments that were found on disk.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    pub(crate) live: Vec<Attachment>,
    /// That no endpoint has.
    pub(crate) spares: Vec<Spare>,
    /// To be removed.
    pub(crate) interrupted: Vec<Attachment>,
}

/// Why the attachment cannot go on; none if it can.
fn interrupted(attachment: &Attachment, boot_id: &str) -> Option<&'static str> {
    match attachment.phase.name() {
        PhaseName::Adding => Some("its ADD was interrupted"),
        PhaseName::Deleting => Some("its DEL was interrupted, or failed"),
        PhaseName::Spare | PhaseName::Staged | PhaseName::Joined | PhaseName::Settled => {
            (attachment.boot_id != boot_id).then_some("the host has been booted since")
        }
    }
}

/// Removes the interrupted attachments in the background. Until then they are orphans.
pub(crate) fn remove(driver: &Driver, interrupted: Vec<Attachment>) {
    if interrupted.is_empty() {
        return;
    }
    let strays = interrupted.iter().map(|attachment| attachment.id.to_string()).collect();
    let cells: Vec<_> =
        interrupted.into_iter().map(|attachment| driver.removals.begin(attachment)).collect();
    let driver = driver.clone();
    driver.background.clone().spawn(async move {
        // A DEL that runs in parallel to an ADD of the last driver would not see what that ADD is about to
        // make.
        driver.chains.end_strays(strays).await;
        for cell in cells {
            driver.removals.soon(cell);
        }
    });
}

/// The kernel's id of the current boot (`random(4)`).
pub(crate) fn boot_id() -> Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .map_err(Error::BootId)
}
