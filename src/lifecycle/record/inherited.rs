//! Endpoints inherited from the previous dockerd that the current one has not mentioned yet.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cnm::EndpointId;

/// Those endpoints.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Mutex<HashSet<EndpointId>>);

impl Inherited {
    /// A new dockerd has started, and has not mentioned any of these.
    pub(crate) fn extend(&self, endpoints: impl IntoIterator<Item = EndpointId>) {
        self.set().extend(endpoints);
    }

    /// The current dockerd knows this endpoint, and will delete it.
    pub(crate) fn seen_by_dockerd(&self, endpoint: &EndpointId) {
        self.set().remove(endpoint);
    }

    pub(crate) fn contains(&self, endpoint: &EndpointId) -> bool {
        self.set().contains(endpoint)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<EndpointId> {
        self.set().iter().cloned().collect()
    }

    fn set(&self) -> MutexGuard<'_, HashSet<EndpointId>> {
        // The set is whole even if a holder panicked: every change is one step for each element.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
