//! What is done when a new dockerd first calls.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cnm::EndpointId;
use crate::lifecycle::Inner;
use crate::lifecycle::error::chain;
use crate::lifecycle::garbage::lost::lost_its_sandbox;
use crate::lifecycle::record::Attachment;
use crate::lifecycle::removal::Claims;

/// For how long after the driver's start dockerd may have a call to repeat that the last driver
/// did not answer; it does so for 30 s.
pub(crate) const DOCKERS_PATIENCE: Duration = Duration::from_secs(45);

/// Begins the removal of every attachment whose container has gone without Docker's saying
/// so: a dockerd that was killed forgets the endpoints of drivers that it has not called yet.
/// What it died over, before the container had its interface, is left to the new one for a while.
pub(crate) fn sweep(inner: &Arc<Inner>) {
    let endpoints = inner.endpoints.ids();
    inner.inherited().extend(endpoints.iter().cloned());
    for endpoint in endpoints.clone() {
        // At once, so that a container that is started again finds an orphan to wait for.
        match inner.endpoints.try_lock(&endpoint) {
            Some(mut slot) => end_if_lost(inner, &mut slot),
            None => {
                let inner = Arc::clone(inner);
                inner.background.clone().spawn(async move {
                    end_if_lost(&inner, &mut *inner.endpoints.lock(&endpoint).await);
                });
            }
        }
    }
    let inner = Arc::clone(inner);
    inner.background.clone().spawn(async move {
        let patience = tokio::time::sleep(DOCKERS_PATIENCE);
        if inner.stop.run_until_cancelled(patience).await.is_some() {
            for endpoint in endpoints {
                inner.give_up(&endpoint, None).await;
                inner.is_spoken_of(&endpoint);
            }
        }
    });
}

/// Makes an orphan of an attachment whose container has gone, and has it removed in the background.
fn end_if_lost(inner: &Arc<Inner>, slot: &mut Option<Attachment>) {
    let Some(mut attachment) = slot.take_if(|attachment| lost_its_sandbox(attachment)) else {
        return;
    };
    tracing::info!(
        endpoint = attachment.endpoint.short(),
        "removing the attachment: its container ended while dockerd was away"
    );
    attachment.begin_removal();
    inner.sandboxes.leave(&attachment.endpoint);
    let intent = attachment.clone();
    let orphan = inner.abandon(attachment);
    let inner = Arc::clone(inner);
    inner.background.clone().spawn(async move {
        if let Err(error) = inner.keep(&intent).await {
            tracing::warn!(attachment = %intent.id, error = chain(&error), "its record is behind");
        }
        inner.remove_soon(orphan);
    });
}

impl Inner {
    fn inherited(&self) -> MutexGuard<'_, HashSet<EndpointId>> {
        // The set is whole even if a holder panicked: every change is one step for each element.
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present dockerd knows this endpoint, and will say so when it ends.
    pub(crate) fn is_spoken_of(&self, endpoint: &EndpointId) {
        self.inherited().remove(endpoint);
    }

    /// Begins the removal of what a dockerd that died has left half-made, if a new endpoint asks
    /// for the same: the user's next attempt at what failed then.
    pub(crate) async fn have_given_way(self: &Arc<Self>, claims: &Claims) {
        let inherited: Vec<_> = self.inherited().iter().cloned().collect();
        for endpoint in inherited {
            self.give_up(&endpoint, Some(claims)).await;
        }
    }

    /// Begins the removal of an inherited endpoint's attachment, if no container has it, and, if
    /// there are any, it has what these claim. One that a call is at work on is left alone.
    async fn give_up(self: &Arc<Self>, endpoint: &EndpointId, claims: Option<&Claims>) {
        let Some(mut slot) = self.endpoints.try_lock(endpoint) else { return };
        let Some(attachment) = slot.as_ref() else { return };
        let wanted = claims
            .is_none_or(|claims| claims.shared_with(&Claims::of_attachment(attachment)).is_some());
        if !wanted || !self.inherited().contains(endpoint) {
            return;
        }
        let Some(reason) = self.is_lost(attachment).await else { return };
        tracing::info!(
            endpoint = endpoint.short(),
            reason,
            "removing the attachment, which the last dockerd has left"
        );
        if let Some(orphan) = self.release(&mut slot).await {
            self.remove_soon(orphan);
        }
    }
}
