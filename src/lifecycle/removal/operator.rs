//! The operator's calls about orphans. They wait no longer for an attempt that is under way than a new
//! endpoint does.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::waits::PATIENCE;
use super::{Cell, Orphan, Removals};
use crate::lifecycle::error::{Error, Result};

/// The state of an orphan after one more attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// The attachment.
    pub attachment: String,
    /// Why it is still there; none if it is gone.
    pub error: Option<String>,
}

impl Removals {
    /// Tries at once to remove the orphans whose attachment's or endpoint's id begins with `id`, or all if
    /// it is empty. Returns the state of each. An attempt that takes long continues in the background.
    ///
    /// # Errors
    /// No orphan has that id, or several have.
    pub(crate) async fn retry(&self, id: &str) -> Result<Vec<Retried>> {
        let orphans = if id.is_empty() { self.orphans.named(id) } else { vec![self.orphan(id)?] };
        // All attempts are started first, and then waited for.
        let attempts: Vec<_> = orphans.iter().map(|cell| (cell.id, cell.try_now())).collect();
        let mut retried = Vec::new();
        for (attachment, attempt) in attempts {
            retried.push(Retried { attachment: attachment.to_string(), error: attempt.await });
        }
        Ok(retried)
    }

    /// Forgets an orphan: its record and its staging namespace are removed, and its ports are free. What
    /// its plugins keep on the host stays.
    ///
    /// # Errors
    /// No orphan has that id, or several have; its DEL runs just now; or its namespace or record cannot be
    /// removed.
    pub(crate) async fn forget(&self, id: &str) -> Result<Orphan> {
        let cell = self.orphan(id)?;
        let Ok(mut content) = timeout(PATIENCE, cell.content.lock()).await else {
            return Err(Error::OrphanBusy(cell.id.to_string()));
        };
        let Some(attachment) = content.as_ref() else { return Err(Error::NoOrphan(id.to_owned())) };
        let orphan = Orphan::of(attachment);
        self.release_all(attachment).await?;
        self.history.forgotten(attachment);
        self.orphans.remove(&cell, &mut content);
        Ok(orphan)
    }
}

impl Removals {
    /// The only orphan whose attachment's or endpoint's id begins with `id`.
    fn orphan(&self, id: &str) -> Result<Arc<Cell>> {
        let mut named = if id.is_empty() { Vec::new() } else { self.orphans.named(id) };
        match (named.pop(), named.pop()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Error::SeveralOrphans(id.to_owned())),
            (None, _) => Err(Error::NoOrphan(id.to_owned())),
        }
    }
}
