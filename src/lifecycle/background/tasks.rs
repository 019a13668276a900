//! The tasks of work that Docker does not wait for.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks in the background. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    /// Runs `work` in parallel. The driver ends only after it has ended.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(work)
    }

    /// Runs `wait` until it ends, or until the driver stops: none then.
    pub(crate) async fn until_stopped<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(wait).await
    }

    /// Waits until the driver stops.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Ends the tasks that wait for something, and waits for the rest to end.
    pub(crate) async fn drain(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
