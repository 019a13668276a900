//! Work that blocks, as on files and folders: kept off the threads that serve Docker.

use super::error::{Error, Result};

/// Runs `work` on a thread for such work, and waits for its end.
///
/// # Errors
/// Its own, or that the driver is stopping.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Stopping),
    }
}
