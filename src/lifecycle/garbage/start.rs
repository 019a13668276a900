//! What is done at start, the driver's and dockerd's: every attachment that something
//! interrupted is brought to its end, each on its own, in the background. What still runs is
//! not touched.

use std::fs;
use std::sync::Arc;

use crate::lifecycle::calls::watch;
use crate::lifecycle::host::side;
use crate::lifecycle::record::{Attachment, Phase};
use crate::lifecycle::{Error, Inner, Result};

/// Parts the attachments that go on from those that something interrupted.
pub(crate) fn part(attachments: Vec<Attachment>, boot_id: &str) -> Parted {
    let mut parted = Parted::default();
    for mut attachment in attachments {
        let Some(reason) = interrupted(&attachment, boot_id) else {
            parted.live.push(attachment);
            continue;
        };
        tracing::info!(attachment = %attachment.id, endpoint = attachment.endpoint.short(), reason,
            "removing the attachment");
        attachment.begin_removal();
        parted.interrupted.push(attachment);
    }
    parted
}

/// Attachments, as they were found on disk.
#[derive(Debug, Default)]
pub(crate) struct Parted {
    pub(crate) live: Vec<Attachment>,
    /// To be removed.
    pub(crate) interrupted: Vec<Attachment>,
}

/// Why the attachment cannot go on; none if it can.
fn interrupted(attachment: &Attachment, boot_id: &str) -> Option<&'static str> {
    match attachment.phase {
        Phase::Adding => Some("its ADD was interrupted"),
        Phase::Deleting => Some("its DEL was interrupted, or failed"),
        Phase::Staged | Phase::Joined | Phase::Settled => {
            (attachment.boot_id != boot_id).then_some("the host has been booted since")
        }
    }
}

/// Removes what was interrupted, in the background. Until then it is known as an orphan.
pub(crate) fn remove(inner: &Arc<Inner>, interrupted: Vec<Attachment>) {
    if interrupted.is_empty() {
        return;
    }
    let strays = interrupted.iter().map(|attachment| attachment.id.to_string()).collect();
    let cells: Vec<_> =
        interrupted.into_iter().map(|attachment| inner.abandon(attachment)).collect();
    let inner = Arc::clone(inner);
    inner.background.clone().spawn(async move {
        // A DEL that runs beside the last driver's ADD would not see what that is about to make.
        inner.runtime.end_strays(strays).await;
        for cell in cells {
            inner.remove_soon(cell);
        }
    });
}

/// Watches again what the last driver watched: Docker before version 28 may put an interface in
/// place while no driver runs, and makes no call about it afterwards. And looks at what the last one
/// had no time to look at.
pub(crate) fn watch_again(inner: &Arc<Inner>) {
    for endpoint in inner.endpoints.ids() {
        // Nothing else holds one yet.
        let slot = inner.endpoints.try_lock(&endpoint);
        let Some(attachment) = slot.as_ref().and_then(|slot| slot.as_ref()) else { continue };
        if attachment.phase == Phase::Joined && attachment.sandbox.is_some() {
            watch::start(inner, attachment);
        }
        side::look_soon(inner, attachment);
    }
}

/// The kernel's name for the present boot (`random(4)`).
pub(crate) fn boot_id() -> Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .map_err(Error::BootId)
}
