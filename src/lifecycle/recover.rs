//! What is done at start, the driver's and dockerd's: every attachment that something
//! interrupted is brought to its end, each on its own, in the background. What still runs is
//! not touched.

use std::collections::HashSet;
use std::fs;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::claims::Claims;
use super::collect::DOCKERS_PATIENCE;
use super::error::chain;
use super::record::{Attachment, Phase};
use super::{Error, Inner, Result, watch};
use crate::cnm::EndpointId;
use crate::netns;

/// Parts the attachments that go on from those that something interrupted.
pub(super) fn part(attachments: Vec<Attachment>, boot_id: &str) -> Parted {
    let mut parted = Parted::default();
    for mut attachment in attachments {
        let Some(reason) = interrupted(&attachment, boot_id) else {
            parted.live.push(attachment);
            continue;
        };
        tracing::info!(attachment = %attachment.id, endpoint = attachment.endpoint.short(), reason,
            "removing the attachment");
        attachment.begin_removal();
        parted.interrupted.push(attachment);
    }
    parted
}

/// Attachments, as they were found on disk.
#[derive(Debug, Default)]
pub(super) struct Parted {
    pub(super) live: Vec<Attachment>,
    /// To be removed.
    pub(super) interrupted: Vec<Attachment>,
}

/// Why the attachment cannot go on; none if it can.
fn interrupted(attachment: &Attachment, boot_id: &str) -> Option<&'static str> {
    match attachment.phase {
        Phase::Adding => Some("its ADD was interrupted"),
        Phase::Deleting => Some("its DEL was interrupted, or failed"),
        Phase::Staged | Phase::Joined | Phase::Settled => {
            (attachment.boot_id != boot_id).then_some("the host has been booted since")
        }
    }
}

/// Removes what was interrupted, in the background. Until then it is known as an orphan.
pub(super) fn remove(inner: &Arc<Inner>, interrupted: Vec<Attachment>) {
    if interrupted.is_empty() {
        return;
    }
    let strays = interrupted.iter().map(|attachment| attachment.id.to_string()).collect();
    let cells: Vec<_> =
        interrupted.into_iter().map(|attachment| inner.abandon(attachment)).collect();
    let inner = Arc::clone(inner);
    inner.background.clone().spawn(async move {
        // A DEL that runs beside the last driver's ADD would not see what that is about to make.
        inner.runtime.end_strays(strays).await;
        for cell in cells {
            inner.remove_soon(cell);
        }
    });
}

/// Watches again what the last driver watched: Docker before version 28 may put an interface in
/// place while no driver runs, and makes no call about it afterwards.
pub(super) fn watch_again(inner: &Arc<Inner>) {
    for endpoint in inner.endpoints.ids() {
        // Nothing else holds one yet.
        let slot = inner.endpoints.try_lock(&endpoint);
        if let Some(attachment) = slot.as_ref().and_then(|slot| slot.as_ref())
            && attachment.phase == Phase::Joined
            && attachment.sandbox.is_some()
        {
            watch::start(inner, attachment);
        }
    }
}

/// Begins the removal of every attachment whose container has gone without Docker's saying
/// so: a dockerd that was killed forgets the endpoints of drivers that it has not called yet.
/// What it died over, before the container had its interface, is left to the new one for a while.
pub(super) fn sweep(inner: &Arc<Inner>) {
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
    pub(super) fn is_spoken_of(&self, endpoint: &EndpointId) {
        self.inherited().remove(endpoint);
    }

    /// Begins the removal of what a dockerd that died has left half-made, if a new endpoint asks
    /// for the same: the user's next attempt at what failed then.
    pub(super) async fn have_given_way(self: &Arc<Self>, claims: &Claims) {
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

/// Whether its container has gone, with the namespace that it was in.
pub(super) fn lost_its_sandbox(attachment: &Attachment) -> bool {
    let sandbox = attachment.sandbox.as_ref().filter(|_| attachment.phase == Phase::Settled);
    sandbox.is_some_and(|path| matches!(netns::identity(path), Ok(None)))
}

/// The kernel's name for the present boot (`random(4)`).
pub(super) fn boot_id() -> Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .map_err(Error::BootId)
}
