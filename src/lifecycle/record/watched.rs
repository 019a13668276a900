//! The attachments whose interface Docker has yet to put in place.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::AttachmentId;

/// The attachments that are watched: one watch for each.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<HashSet<AttachmentId>>);

impl Watched {
    /// A watch begins; false if there is one already.
    pub(crate) fn begin(&self, attachment: AttachmentId) -> bool {
        self.set().insert(attachment)
    }

    /// The watch has ended.
    pub(crate) fn end(&self, attachment: AttachmentId) {
        self.set().remove(&attachment);
    }

    fn set(&self) -> MutexGuard<'_, HashSet<AttachmentId>> {
        // The set is whole even if a holder panicked: every change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
