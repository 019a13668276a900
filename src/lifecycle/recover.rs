//! What is done at start, the driver's and dockerd's: every attachment that something
//! interrupted is brought to its end, each on its own, in the background. What still runs is
//! not touched.

use std::fs;
use std::sync::Arc;

use super::error::chain;
use super::record::{Attachment, Phase};
use super::{Error, Inner, Result};
use crate::cnm::EndpointId;
use crate::netns;

/// Begins the recovery of every interrupted attachment.
pub(super) fn start(inner: &Arc<Inner>) {
    for endpoint in inner.endpoints.ids() {
        let recovery = finish(Arc::clone(inner), endpoint);
        inner.background.spawn(recovery);
    }
}

/// Begins the removal of every attachment whose container has gone without Docker's saying
/// so: a dockerd that was killed forgets the endpoints of drivers that it has not called yet.
pub(super) fn sweep(inner: &Arc<Inner>) {
    for endpoint in inner.endpoints.ids() {
        let removal = remove_if(Arc::clone(inner), endpoint, |_, attachment| {
            let sandbox =
                attachment.sandbox.as_ref().filter(|_| attachment.phase == Phase::Settled);
            let gone = sandbox.is_some_and(|path| matches!(netns::identity(path), Ok(None)));
            gone.then_some("its container ended while dockerd was away")
        });
        inner.background.spawn(removal);
    }
}

async fn finish(inner: Arc<Inner>, endpoint: EndpointId) {
    remove_if(inner, endpoint, Inner::interrupted).await;
}

/// Removes an endpoint's attachment if there is a reason to.
async fn remove_if(
    inner: Arc<Inner>,
    endpoint: EndpointId,
    reason: impl Fn(&Inner, &Attachment) -> Option<&'static str>,
) {
    let mut slot = inner.endpoints.lock(&endpoint).await;
    let Some(attachment) = slot.as_ref() else { return };
    let Some(reason) = reason(&inner, attachment) else { return };
    let attachment = attachment.id;
    match inner.detach(&mut slot).await {
        Ok(()) => {
            tracing::info!(endpoint = endpoint.short(), %attachment, reason, "attachment removed");
        }
        Err(error) => tracing::error!(
            endpoint = endpoint.short(), %attachment, reason, error = chain(&error),
            "the attachment cannot be removed"
        ),
    }
}

impl Inner {
    /// Why the attachment cannot go on; none if it can.
    fn interrupted(&self, attachment: &Attachment) -> Option<&'static str> {
        match attachment.phase {
            Phase::Adding => Some("its ADD was interrupted"),
            Phase::Deleting => Some("its DEL was interrupted, or failed"),
            Phase::Staged | Phase::Joined | Phase::Settled => {
                (attachment.boot_id != self.boot_id).then_some("the host has been booted since")
            }
        }
    }
}

/// The kernel's name for the present boot (`random(4)`).
pub(super) fn boot_id() -> Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .map_err(Error::BootId)
}
