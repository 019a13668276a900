//! Work that blocks, as on files and folders: kept off the threads that serve Docker.

/// The program is ending, and begins nothing new.
#[derive(Debug)]
pub(crate) struct Stopping;

/// Runs `work` on a thread for such work, and waits for its end.
///
/// # Errors
/// Its own, or that the program is stopping.
pub(crate) async fn on_blocking_thread<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Stopping> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Stopping.into()),
    }
}
