//! A lock for each conflist: any number of ADDs and DELs run at once, or one GC
//! (SPEC.md section 3, "Lifecycle & Ordering").

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The locks of the conflists that were used since the start.
#[derive(Debug, Default)]
pub(crate) struct ConflistLocks {
    locks: Mutex<HashMap<String, Arc<RwLock<()>>>>,
}

impl ConflistLocks {
    /// For ADD and DEL.
    pub(crate) async fn shared(&self, conflist: &str) -> OwnedRwLockReadGuard<()> {
        self.of(conflist).read_owned().await
    }

    /// For GC.
    pub(crate) async fn exclusive(&self, conflist: &str) -> OwnedRwLockWriteGuard<()> {
        self.of(conflist).write_owned().await
    }

    fn of(&self, conflist: &str) -> Arc<RwLock<()>> {
        // The map is whole even if a holder panicked: every change is one insert.
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(conflist.to_owned()).or_default())
    }
}
