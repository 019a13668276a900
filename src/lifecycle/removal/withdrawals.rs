//! The FORWARD exemptions of orphans, withdrawn for many at once.
//!
//! Programs list and change the rules. They take longer the more rules there are, and lock the tables
//! meanwhile. Nobody uses an orphan's rules any more. So when a hundred orphans are removed together, the
//! first one also removes the rules of those that wait for their turn.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lifecycle::error::Result;
use crate::lifecycle::host::forward::{self, Exempt};
use crate::lifecycle::record::{Attachment, AttachmentId};

/// How many attachments' rules are removed in one run of the programs.
const AT_ONCE: usize = 64;

/// Orphans whose rules may be there.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    waiting: Mutex<Vec<Exempt>>,
    turn: tokio::sync::Mutex<()>,
}

impl Withdrawals {
    /// The attachment's rules may be removed from now on, at the latest with the attachment itself.
    pub(super) fn add(&self, attachment: &Attachment) {
        self.waiting().extend(Exempt::of(attachment));
    }

    /// The attachment's rules need not be removed any more.
    pub(super) fn forget(&self, id: AttachmentId) {
        self.waiting().retain(|it| it.id != id);
    }

    /// Makes sure that an attachment's rules are gone.
    ///
    /// # Errors
    /// They could not be removed.
    pub(super) async fn withdraw(&self, id: AttachmentId) -> Result<()> {
        let _turn = self.turn.lock().await;
        let Some(batch) = self.batch_with(id) else { return Ok(()) };
        let mut gone = &batch[..];
        if let Err(error) = forward::withdraw_of(gone).await {
            // Another one's rules may be the reason.
            gone = &batch[..1];
            if batch.len() == 1 {
                return Err(error);
            }
            forward::withdraw_of(gone).await?;
        }
        self.waiting().retain(|it| gone.iter().all(|gone| gone.id != it.id));
        Ok(())
    }

    /// The attachment, and others whose rules are removed with its own; none if its own are gone.
    fn batch_with(&self, id: AttachmentId) -> Option<Vec<Exempt>> {
        let waiting = self.waiting();
        let own = waiting.iter().find(|it| it.id == id)?;
        let others = waiting.iter().filter(|it| it.id != id).take(AT_ONCE - 1);
        Some(std::iter::once(own).chain(others).copied().collect())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Exempt>> {
        // Whole even if a holder panicked: every change is one step.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
