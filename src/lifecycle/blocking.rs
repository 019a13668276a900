//! Work that blocks, such as on files and folders, with the errors of these rooms.

use super::error::Result;
use crate::blocking;

/// Runs `work` on a thread for such work, and waits for its end.
///
/// # Errors
/// Its own, or that the driver is stopping.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    blocking::on_blocking_thread(work).await
}
