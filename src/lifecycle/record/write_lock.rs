//! The lock for the file of an attachment's record.

use std::sync::Arc;

use tokio::sync::Mutex;

/// Changes to the file come one after the other, and none after its removal. Copies of an attachment share the
/// lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteLock {
    /// Whether the record has been removed. Then it must not be written any more: an earlier write may
    /// still wait for the lock.
    pub(super) removed: Arc<Mutex<bool>>,
}
