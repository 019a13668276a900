//! One lock per endpoint, held over a whole operation.
//!
//! Two calls for one endpoint run one after the other; calls for different endpoints run in parallel. No
//! lock covers all endpoints. Work that can wait, such as a check, is notified when a call wants its lock.
//!
//! Plugins that publish an endpoint's ports run beside Docker's work, and the lock is not held meanwhile. Whoever
//! wants it waits for them nevertheless, but for the calls of a start that go on beside them.

use std::collections::HashMap;
use std::mem::replace;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedMutexGuard};

use crate::cnm::EndpointId;
use crate::lifecycle::error::Error;
use crate::lifecycle::record::Attachment;

#[derive(Debug, Default)]
struct Place {
    content: Arc<tokio::sync::Mutex<Option<Attachment>>>,
    activity: Arc<WatchedActivity>,
}

/// The activity at a place, and who waits for it to change. A channel for the same is five times as large, and
/// each endpoint has one.
#[derive(Debug, Default)]
struct WatchedActivity {
    activity: Mutex<Activity>,
    changed: Notify,
}

/// What goes on at a place while its lock is held, or not held.
#[derive(Debug, Default)]
struct Activity {
    /// How many calls wait for the lock, or are about to have it.
    callers: usize,
    /// The endpoint's ports are being published.
    publishing: bool,
    /// Why they could not be, until Docker is told.
    failure: Option<Box<Error>>,
}

impl WatchedActivity {
    /// Changes it, and wakes those who wait.
    fn change<T>(&self, change: impl FnOnce(&mut Activity) -> T) -> T {
        let changed = change(&mut self.now());
        self.changed.notify_waiters();
        changed
    }

    /// Waits until this holds.
    async fn until(&self, holds: impl Fn(&Activity) -> bool) {
        loop {
            // Is woken by a change that comes after this line.
            let changed = self.changed.notified();
            if holds(&self.now()) {
                return;
            }
            changed.await;
        }
    }

    fn is_publishing(&self) -> bool {
        self.now().publishing
    }

    fn now(&self) -> MutexGuard<'_, Activity> {
        // Whole even if a holder panicked: every change is one assignment.
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every endpoint that has an attachment, or a call under way.
#[derive(Debug)]
pub(crate) struct Endpoints {
    slots: Mutex<HashMap<EndpointId, Arc<Place>>>,
}

/// An endpoint's place, locked: its attachment, or none. An empty place is removed with the last call that
/// holds it.
#[derive(Debug)]
pub(crate) struct Slot<'e> {
    endpoints: &'e Endpoints,
    id: EndpointId,
    place: Arc<Place>,
    content: OwnedMutexGuard<Option<Attachment>>,
}

/// A call that waits for a place. Counted until it has it, or stops waiting.
struct Caller<'p>(&'p WatchedActivity);

impl<'p> Caller<'p> {
    fn of(activity: &'p WatchedActivity) -> Self {
        activity.change(|activity| activity.callers += 1);
        Self(activity)
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.0.change(|activity| activity.callers -= 1);
    }
}

/// The ports of an endpoint are being published, until this is dropped.
#[derive(Debug)]
pub(crate) struct Publication(Arc<Place>);

impl Publication {
    /// It has failed. Docker is told with the next call of the endpoint's start.
    pub(crate) fn fail(&self, error: Error) {
        self.0.activity.change(|activity| activity.failure = Some(Box::new(error)));
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.0.activity.change(|activity| activity.publishing = false);
    }
}

impl Endpoints {
    pub(crate) fn holding(attachments: Vec<Attachment>) -> Self {
        let slots = attachments.into_iter().map(|attachment| {
            let (endpoint, place) = (attachment.endpoint.clone(), Place::default());
            // Lists that were read have room to grow, for months perhaps. Those of a copy have none.
            #[allow(clippy::redundant_clone, reason = "the copy is smaller")]
            let content = Arc::new(tokio::sync::Mutex::new(Some(attachment.clone())));
            (endpoint, Arc::new(Place { content, ..place }))
        });
        Self { slots: Mutex::new(slots.collect()) }
    }

    /// Waits for the calls that hold this endpoint, and for the publication of its ports, and holds it. Work
    /// that can wait releases it early.
    pub(crate) async fn lock(&self, id: &EndpointId) -> Slot<'_> {
        let place = self.place(id);
        let caller = Caller::of(&place.activity);
        loop {
            place.activity.until(|activity| !activity.publishing).await;
            let content = Arc::clone(&place.content).lock_owned().await;
            if !place.activity.is_publishing() {
                drop(caller);
                return Slot { endpoints: self, id: id.clone(), place, content };
            }
        }
    }

    /// The same, but does not wait for the publication of its ports. Who holds it so must not change what is
    /// published.
    pub(crate) async fn lock_beside_publication(&self, id: &EndpointId) -> Slot<'_> {
        let place = self.place(id);
        let caller = Caller::of(&place.activity);
        let content = Arc::clone(&place.content).lock_owned().await;
        drop(caller);
        Slot { endpoints: self, id: id.clone(), place, content }
    }

    /// Holds this endpoint, unless a call does, or its ports are being published.
    pub(crate) fn try_lock(&self, id: &EndpointId) -> Option<Slot<'_>> {
        self.try_lock_beside_publication(id).filter(|slot| !slot.place.activity.is_publishing())
    }

    /// Holds this endpoint, unless a call does. Its ports may be being published.
    pub(crate) fn try_lock_beside_publication(&self, id: &EndpointId) -> Option<Slot<'_>> {
        let place = Arc::clone(self.slots().get(id)?);
        let content = Arc::clone(&place.content).try_lock_owned().ok()?;
        Some(Slot { endpoints: self, id: id.clone(), place, content })
    }

    /// Waits as [`Endpoints::lock`], and holds it; none if the endpoint is unknown. Work that
    /// can wait is not asked to release it early.
    pub(crate) async fn lock_after_calls(&self, id: &EndpointId) -> Option<Slot<'_>> {
        let place = Arc::clone(self.slots().get(id)?);
        loop {
            // A call that is counted may not be in the lock's queue yet, and goes first all the same.
            place.activity.until(|activity| activity.callers == 0 && !activity.publishing).await;
            let content = Arc::clone(&place.content).lock_owned().await;
            if !place.activity.is_publishing() {
                return Some(Slot { endpoints: self, id: id.clone(), place, content });
            }
        }
    }

    /// The endpoints that are known now.
    pub(crate) fn ids(&self) -> Vec<EndpointId> {
        self.slots().keys().cloned().collect()
    }

    /// How many endpoints are known now.
    pub(crate) fn count(&self) -> usize {
        self.slots().len()
    }

    fn place(&self, id: &EndpointId) -> Arc<Place> {
        Arc::clone(self.slots().entry(id.clone()).or_default())
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<EndpointId, Arc<Place>>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot<'_> {
    /// The endpoint.
    pub(crate) fn id(&self) -> &EndpointId {
        &self.id
    }

    /// The publication of the endpoint's ports begins; none if one is under way.
    pub(crate) fn begin_publication(&self) -> Option<Publication> {
        let begins = self.place.activity.change(|activity| {
            activity.failure = None;
            !replace(&mut activity.publishing, true)
        });
        begins.then(|| Publication(Arc::clone(&self.place)))
    }

    /// Why its ports could not be published, if nobody has told Docker yet.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        let failure = self.place.activity.now().failure.take();
        failure.map(|error| *error)
    }

    /// Waits until a call waits for this endpoint.
    pub(crate) fn call_waits(&self) -> impl Future<Output = ()> + use<> {
        let activity = Arc::clone(&self.place.activity);
        async move { activity.until(|activity| activity.callers > 0).await }
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
        // The only references are the map's and this guard's. So nobody else waits, and nobody can begin to
        // while the map is locked.
        let ours_alone = Arc::strong_count(&self.place) == 2;
        if self.content.is_none() && ours_alone {
            slots.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use super::*;

    /// Whether a future is still pending.
    fn waits<F: Future>(future: &mut Pin<Box<F>>) -> bool {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

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

    #[tokio::test]
    async fn a_call_goes_before_a_check_although_it_is_not_in_the_queue_yet() {
        let endpoints = Endpoints::holding(Vec::new());
        let id: EndpointId = "ab".parse().unwrap();
        let held = endpoints.lock(&id).await;
        let place = Arc::clone(&held.place);
        let caller = Caller::of(&place.activity);
        let mut check = Box::pin(endpoints.lock_after_calls(&id));
        assert!(waits(&mut check));
        drop(held);
        assert!(waits(&mut check), "the check overtook the call");
        drop(caller);
        drop(check.await);
    }

    #[tokio::test]
    async fn who_holds_a_place_is_told_that_a_call_wants_it() {
        let endpoints = Arc::new(Endpoints::holding(Vec::new()));
        let id: EndpointId = "ab".parse().unwrap();
        let held = endpoints.lock(&id).await;
        let mut wanted = Box::pin(held.call_waits());
        assert!(waits(&mut wanted), "not by itself");
        // A check that waits does not interrupt another one.
        let mut after = Box::pin(endpoints.lock_after_calls(&id));
        assert!(waits(&mut after));
        assert!(waits(&mut wanted));
        {
            let mut call = Box::pin(endpoints.lock(&id));
            assert!(waits(&mut call));
            wanted.await;
        }
        // It has stopped waiting.
        assert!(waits(&mut Box::pin(held.call_waits())));
        drop(held);
        drop(after.await);
        assert!(endpoints.ids().is_empty());
    }
}
