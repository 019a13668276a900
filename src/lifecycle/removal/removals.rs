//! The removal of attachments whose endpoint Docker has deleted.

use std::sync::Arc;

use super::{Cell, Orphans, Withdrawals};
use crate::lifecycle::background::{Background, Gate};
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::history::History;
use crate::lifecycle::host::Chains;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::parts::Parts;
use crate::lifecycle::ports::Ports;
use crate::lifecycle::record::{Attachment, Records};

/// Removes attachments, and knows the orphans.
#[derive(Debug)]
pub(crate) struct Removals {
    pub(super) chains: Arc<Chains>,
    pub(super) interfaces: Arc<Interfaces>,
    pub(super) ports: Arc<Ports>,
    pub(super) records: Arc<Records>,
    pub(super) history: History,
    pub(super) gate: Gate,
    pub(super) background: Background,
    pub(super) orphans: Orphans,
    pub(super) withdrawals: Withdrawals,
}

impl Removals {
    pub(crate) fn new(parts: &Parts, ports: &Arc<Ports>) -> Self {
        let Parts { records, chains, exemptions, interfaces, history, gate, background, .. } =
            parts.clone();
        let (ports, orphans) = (Arc::clone(ports), Orphans::default());
        let withdrawals = Withdrawals::new(exemptions);
        Self { chains, interfaces, ports, records, history, gate, background, orphans, withdrawals }
    }

    /// How many attachments are not removed yet.
    pub(crate) fn count(&self) -> usize {
        self.orphans.count()
    }

    /// The orphans of a conflist that are still tried without the operator.
    pub(crate) fn retrying(&self, conflist: &str) -> Vec<Arc<Cell>> {
        self.orphans.retrying(conflist)
    }

    /// Removes everything of the attachment in `slot`, and empties the slot.
    ///
    /// # Errors
    /// A step failed. It is tried again in the background.
    pub(crate) async fn detach(self: &Arc<Self>, slot: &mut Option<Attachment>) -> Result<()> {
        match self.release(slot).await {
            Some(orphan) => self.now(orphan).await,
            None => Ok(()),
        }
    }

    /// Empties the slot: its attachment becomes an orphan, on record in the phase Deleting.
    pub(crate) async fn release(&self, slot: &mut Option<Attachment>) -> Option<Arc<Cell>> {
        let mut attachment = slot.take()?;
        // Before the record is written, which has the places where the interface may be.
        let held = attachment.hold_sandbox().await;
        attachment.begin_removal_with(|_, left| {
            if let Ok(Some(pin)) = &held {
                left.sandbox = Some(pin.clone());
            }
        });
        let kept = self.records.keep(&attachment).await;
        for (outcome, consequence) in [
            (held.map(|_| ()), "the interface may be lost with its container"),
            (kept, "should the driver crash now, the attachment leaks"),
        ] {
            if let Err(error) = outcome {
                tracing::warn!(attachment = %attachment.id, error = chain(&error), consequence);
            }
        }
        self.interfaces.sandboxes.leave(&attachment.endpoint);
        Some(self.begin(attachment))
    }
}
