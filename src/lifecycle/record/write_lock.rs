//! The order of changes to an attachment's file.

use std::sync::Arc;

use tokio::sync::Mutex;

/// The lock for changes to an attachment's file: changes are made one after the other, and none after the
/// removal. Copies of an attachment share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteLock {
    /// Whether the record has been removed. Then it must not be written any more: an earlier write may
    /// still wait for the lock.
    pub(super) removed: Arc<Mutex<bool>>,
}
