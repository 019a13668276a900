//! What is done at start: every attachment that something interrupted is brought to its
//! end, each on its own, in the background. What still runs is not touched.

use std::fs;
use std::sync::Arc;

use super::error::chain;
use super::record::{Attachment, Phase};
use super::{Error, Inner, Result};
use crate::cnm::EndpointId;

/// Begins the recovery of every interrupted attachment.
pub(super) fn start(inner: &Arc<Inner>) {
    for endpoint in inner.endpoints.ids() {
        let recovery = finish(Arc::clone(inner), endpoint);
        inner.background.spawn(recovery);
    }
}

async fn finish(inner: Arc<Inner>, endpoint: EndpointId) {
    let mut slot = inner.endpoints.lock(&endpoint).await;
    let Some(attachment) = slot.as_ref() else { return };
    let Some(reason) = inner.interrupted(attachment) else { return };
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
