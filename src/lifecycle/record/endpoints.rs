//! One lock per endpoint, held over a whole operation.
//!
//! Two calls for one endpoint follow each other; calls for different endpoints run side by
//! side. There is no lock over all of them.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::cnm::EndpointId;
use crate::lifecycle::record::Attachment;

type Content = Arc<tokio::sync::Mutex<Option<Attachment>>>;

/// Every endpoint that has an attachment, or a call under way.
#[derive(Debug)]
pub(crate) struct Endpoints {
    slots: Mutex<HashMap<EndpointId, Content>>,
}

/// An endpoint's place, locked: its attachment, or none. An empty place goes with the
/// last call that holds it.
#[derive(Debug)]
pub(crate) struct Slot<'e> {
    endpoints: &'e Endpoints,
    id: EndpointId,
    content: OwnedMutexGuard<Option<Attachment>>,
}

impl Endpoints {
    pub(crate) fn holding(attachments: Vec<Attachment>) -> Self {
        let slots = attachments.into_iter().map(|attachment| {
            (attachment.endpoint.clone(), Arc::new(tokio::sync::Mutex::new(Some(attachment))))
        });
        Self { slots: Mutex::new(slots.collect()) }
    }

    /// Waits for the calls that hold this endpoint, and holds it.
    pub(crate) async fn lock(&self, id: &EndpointId) -> Slot<'_> {
        let content = Arc::clone(self.slots().entry(id.clone()).or_default());
        Slot { endpoints: self, id: id.clone(), content: content.lock_owned().await }
    }

    /// Holds this endpoint, unless a call does.
    pub(crate) fn try_lock(&self, id: &EndpointId) -> Option<Slot<'_>> {
        let content = Arc::clone(self.slots().get(id)?);
        Some(Slot { endpoints: self, id: id.clone(), content: content.try_lock_owned().ok()? })
    }

    /// The endpoints that are known now.
    pub(crate) fn ids(&self) -> Vec<EndpointId> {
        self.slots().keys().cloned().collect()
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.slots().len()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<EndpointId, Content>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Slot<'_> {
    type Target = Option<Attachment>;

    fn deref(&self) -> &Self::Target {
        &self.content
    }
}

impl DerefMut for Slot<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.content
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut slots = self.endpoints.slots();
        // The map's reference and this guard's: nobody else waits, and nobody can begin to
        // while the map is locked.
        let ours_alone = Arc::strong_count(OwnedMutexGuard::mutex(&self.content)) == 2;
        if self.content.is_none() && ours_alone {
            slots.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn empty_places_do_not_pile_up() {
        let endpoints = Endpoints::holding(Vec::new());
        let id: EndpointId = "ab".parse().unwrap();
        drop(endpoints.lock(&id).await);
        assert!(endpoints.ids().is_empty());
    }

    #[tokio::test]
    async fn a_place_stays_while_another_call_waits_for_it() {
        let endpoints = Arc::new(Endpoints::holding(Vec::new()));
        let id: EndpointId = "ab".parse().unwrap();
        let first = endpoints.lock(&id).await;
        let second = {
            let (endpoints, id) = (Arc::clone(&endpoints), id.clone());
            tokio::spawn(async move { drop(endpoints.lock(&id).await) })
        };
        // The second call has taken its reference as soon as it has been polled once.
        tokio::task::yield_now().await;
        drop(first);
        second.await.unwrap();
        assert!(endpoints.ids().is_empty());
    }
}
