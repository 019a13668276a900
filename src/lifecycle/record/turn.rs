//! Whose turn it is to change an attachment's file.

use std::sync::Arc;

use tokio::sync::Mutex;

/// The turn to change an attachment's file: changes follow each other, and nothing follows the
/// removal. Copies of an attachment have it in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// Whether the record has been removed, and so must not be written any more: a write that was
    /// begun before may still wait for its turn.
    pub(super) removed: Arc<Mutex<bool>>,
}
