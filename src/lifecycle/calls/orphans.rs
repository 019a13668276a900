//! The operator's calls about attachments that could not be removed.

use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::Result;
use crate::lifecycle::removal::{Orphan, Retried};

impl Driver {
    /// Tries at once to remove the orphans whose attachment's or endpoint's id begins with `id`, or all if
    /// it is empty. Returns the state of each.
    ///
    /// # Errors
    /// No orphan has that id, or several have.
    pub async fn retry_orphans(&self, id: &str) -> Result<Vec<Retried>> {
        self.removals.retry(id).await
    }

    /// Forgets an orphan: its record and its staging namespace are removed, and its ports are free. What
    /// its plugins keep on the host stays.
    ///
    /// # Errors
    /// No orphan has that id, or several have; or its namespace or record cannot be removed.
    pub async fn forget_orphan(&self, id: &str) -> Result<Orphan> {
        self.removals.forget(id).await
    }
}
