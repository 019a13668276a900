//! The endpoints whose rules on the host have not been read yet.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cnm::EndpointId;

/// The endpoints that have joined since the host's rules were last read.
#[derive(Debug, Default)]
pub(crate) struct UnreadRules(Mutex<HashSet<EndpointId>>);

impl UnreadRules {
    /// Adds an endpoint; true if it is the first one since the rules were last read.
    pub(crate) fn add(&self, endpoint: EndpointId) -> bool {
        let mut set = self.set();
        let first = set.is_empty();
        set.insert(endpoint) && first
    }

    /// All of them; their rules are read now.
    pub(crate) fn take(&self) -> HashSet<EndpointId> {
        std::mem::take(&mut *self.set())
    }

    fn set(&self) -> MutexGuard<'_, HashSet<EndpointId>> {
        // The set is whole even if a holder panicked: every change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
