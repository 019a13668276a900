//! DeleteEndpoint: the intent on disk; then the interface back in staging as ADD left it, and DEL.
//!
//! The reference plugins find what to remove by the *live* addresses of the interface: a
//! DEL that does not see them leaks a masquerade chain for every container. So the
//! addresses are put back first, and an interface that was lost with its namespace gets a
//! stand-in that bears them. An address whose rule is gone already is left out: some versions
//! of the plugins fail for it, each time again.

use std::sync::Arc;

use crate::cnm::EndpointRequest;
use crate::lifecycle::error::chain;
use crate::lifecycle::record::Attachment;
use crate::lifecycle::removal::Cell;
use crate::lifecycle::{Driver, Inner, Result};

impl Driver {
    /// `NetworkDriver.DeleteEndpoint`. An unknown endpoint is gone already.
    ///
    /// Answered once the intent is on disk, and before DEL has run, unless the configuration
    /// asks for that. Docker forgets the endpoint whatever is answered, so a DEL that fails
    /// is no error to it: see [`crate::lifecycle::removal`].
    pub async fn delete_endpoint(&self, request: EndpointRequest) {
        let inner = &self.inner;
        let mut slot = inner.endpoints.lock(&request.endpoint_id).await;
        let Some(orphan) = inner.release(&mut slot).await else { return };
        if inner.sync_delete {
            // Logged where it failed; it is tried again.
            let _ = inner.remove_now(orphan).await;
        } else {
            inner.remove_soon(orphan);
        }
    }
}

impl Inner {
    /// Takes back whatever there is of the attachment in `slot`, and empties the slot.
    ///
    /// # Errors
    /// What failed. It is tried again in the background.
    pub(crate) async fn detach(self: &Arc<Self>, slot: &mut Option<Attachment>) -> Result<()> {
        match self.release(slot).await {
            Some(orphan) => self.remove_now(orphan).await,
            None => Ok(()),
        }
    }

    /// Empties the slot: what was in it is to be deleted, and on record as such.
    pub(crate) async fn release(&self, slot: &mut Option<Attachment>) -> Option<Arc<Cell>> {
        let mut attachment = slot.take()?;
        attachment.begin_removal();
        // Before the record is written, which says where the interface may stand.
        let held = attachment.hold_sandbox().await;
        let kept = self.keep(&attachment).await;
        for (outcome, consequence) in [
            (held, "the interface may be lost with its container"),
            (kept, "should the driver crash now, the attachment leaks"),
        ] {
            if let Err(error) = outcome {
                tracing::warn!(attachment = %attachment.id, error = chain(&error), consequence);
            }
        }
        self.sandboxes.leave(&attachment.endpoint);
        Some(self.abandon(attachment))
    }
}
