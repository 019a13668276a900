//! The FORWARD exemptions of orphans, withdrawn for many at once.
//!
//! A program that changes the host's rules locks them meanwhile. Nobody uses the exemption of an orphan any more.
//! So when many orphans are removed together, the first removal also ends the exemptions of those that wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lifecycle::error::Result;
use crate::lifecycle::host::{Exemptions, forward};
use crate::lifecycle::record::{Attachment, AttachmentId};

/// How many attachments' exemptions are ended in one run of the programs.
const AT_ONCE: usize = 64;

/// Orphans that may be exempt.
#[derive(Debug)]
pub(super) struct Withdrawals {
    exemptions: Arc<Exemptions>,
    waiting: Mutex<Vec<AttachmentId>>,
    turn: tokio::sync::Mutex<()>,
}

impl Withdrawals {
    pub(super) fn new(exemptions: Arc<Exemptions>) -> Self {
        Self { exemptions, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// The attachment's exemption may end from now on, at the latest with the attachment itself.
    pub(super) fn add(&self, attachment: &Attachment) {
        if forward::may_have(attachment) {
            self.waiting().push(attachment.id);
        }
    }

    /// The attachment's exemption need not be ended any more.
    pub(super) fn forget(&self, id: AttachmentId) {
        self.waiting().retain(|it| *it != id);
    }

    /// Makes sure that an attachment's exemption has ended.
    ///
    /// # Errors
    /// It could not be ended.
    pub(super) async fn withdraw(&self, id: AttachmentId) -> Result<()> {
        let _turn = self.turn.lock().await;
        let Some(batch) = self.batch_with(id) else { return Ok(()) };
        let mut gone = &batch[..];
        if let Err(error) = self.exemptions.withdraw_of(gone).await {
            // Another one's may be the reason.
            gone = &batch[..1];
            if batch.len() == 1 {
                return Err(error);
            }
            self.exemptions.withdraw_of(gone).await?;
        }
        self.waiting().retain(|it| !gone.contains(it));
        Ok(())
    }

    /// The attachment, and others whose exemption is ended with its own; none if its own has ended.
    fn batch_with(&self, id: AttachmentId) -> Option<Vec<AttachmentId>> {
        let waiting = self.waiting();
        let own = waiting.iter().find(|it| **it == id)?;
        let others = waiting.iter().filter(|it| **it != id).take(AT_ONCE - 1);
        Some(std::iter::once(own).chain(others).copied().collect())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<AttachmentId>> {
        // Whole even if a holder panicked: every change is one step.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
