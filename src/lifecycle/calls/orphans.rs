//! The operator's word on what could not be removed.

use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::Result;
use crate::lifecycle::removal::{Orphan, Retried};

impl Driver {
    /// Tries at once again to remove the orphans that `id` begins the attachment's or the
    /// endpoint's id of, or every one if it is empty, and says how each stands then.
    ///
    /// # Errors
    /// There is none of that id, or more than one.
    pub async fn retry_orphans(&self, id: &str) -> Result<Vec<Retried>> {
        self.removals.retry(id).await
    }

    /// Forgets an orphan: its record, its staging namespace and the hold on its ports go. What
    /// its plugins keep on the host stays.
    ///
    /// # Errors
    /// There is none of that id, or more than one; or its namespace or record cannot be removed.
    pub async fn forget_orphan(&self, id: &str) -> Result<Orphan> {
        self.removals.forget(id).await
    }
}
