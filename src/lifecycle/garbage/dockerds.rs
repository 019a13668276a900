//! What the driver does when a new dockerd calls it first.

use std::time::Duration;

use crate::cnm::EndpointId;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::chain;
use crate::lifecycle::garbage::lost::{self, lost_its_sandbox};
use crate::lifecycle::record::{Attachment, Slot};
use crate::lifecycle::removal::Claims;

/// For how long after the driver's start dockerd may repeat a call that the last driver did not answer; it
/// does so for 30 s.
pub(crate) const DOCKERS_PATIENCE: Duration = Duration::from_secs(45);

/// Begins the removal of every attachment whose container has ended without a call from Docker: a dockerd that
/// was killed forgets the endpoints for which it had not called the driver yet. An endpoint that no container has
/// yet, because dockerd was killed while it created it, is left to the new dockerd for a while.
pub(crate) fn sweep(driver: &Driver) {
    let endpoints = driver.endpoints.ids();
    driver.inherited.extend(endpoints.iter().cloned());
    for endpoint in endpoints.clone() {
        // Before this returns, so that a container that is started again finds an orphan to wait for.
        match driver.endpoints.try_lock(&endpoint) {
            Some(mut slot) => end_if_lost(driver, &mut slot),
            None => {
                let driver = driver.clone();
                driver.background.clone().spawn(async move {
                    end_if_lost(&driver, &mut *driver.endpoints.lock(&endpoint).await);
                });
            }
        }
    }
    let driver = driver.clone();
    driver.background.clone().spawn(async move {
        let patience = tokio::time::sleep(DOCKERS_PATIENCE);
        if driver.background.until_stopped(patience).await.is_some() {
            for endpoint in endpoints {
                give_up(&driver, &endpoint, None).await;
                driver.inherited.seen_by_dockerd(&endpoint);
            }
        }
    });
}

/// Makes an orphan of an attachment whose container has gone, and removes it in the background.
fn end_if_lost(driver: &Driver, slot: &mut Option<Attachment>) {
    let Some(mut attachment) = slot.take_if(|attachment| lost_its_sandbox(attachment)) else {
        return;
    };
    tracing::info!(
        endpoint = attachment.endpoint.short(),
        "removing the attachment: its container ended while dockerd was away"
    );
    attachment.begin_removal();
    driver.interfaces.sandboxes.leave(&attachment.endpoint);
    let intent = attachment.clone();
    let orphan = driver.removals.begin(attachment);
    let driver = driver.clone();
    driver.background.clone().spawn(async move {
        if let Err(error) = driver.records.keep(&intent).await {
            tracing::warn!(attachment = %intent.id, error = chain(&error), "its record is behind");
        }
        driver.removals.soon(orphan);
    });
}

/// Begins the removal of endpoints that the previous dockerd left unfinished, if a new endpoint has the same
/// claims: the user tries again what failed then.
pub(crate) async fn evict_inherited(driver: &Driver, claims: &Claims) {
    for endpoint in driver.inherited.all() {
        give_up(driver, &endpoint, Some(claims)).await;
    }
}

/// Begins the removal of an inherited endpoint's attachment, if no container has it, and if it has
/// something that these claims name (without claims: always). An endpoint that a call works on is left
/// alone. Plugins that publish its ports are waited for: they work for nobody.
async fn give_up(driver: &Driver, endpoint: &EndpointId, claims: Option<&Claims>) {
    let is_meant = |slot: &Slot<'_>| {
        let shares = |attachment: &Attachment| {
            let own = Claims::of_attachment(attachment);
            claims.is_none_or(|claims| claims.shared_with(&own).is_some())
        };
        driver.inherited.contains(endpoint) && slot.as_ref().is_some_and(shares)
    };
    let found = driver.endpoints.try_lock_beside_publication(endpoint).filter(is_meant);
    if found.map(drop).is_none() {
        return;
    }
    let waited_for = driver.endpoints.lock_after_calls(endpoint).await.filter(is_meant);
    let Some(mut slot) = waited_for else { return };
    let Some(attachment) = slot.as_ref() else { return };
    let Some(reason) = lost::reason(&driver.interfaces, attachment).await else { return };
    tracing::info!(
        endpoint = endpoint.short(),
        reason,
        "removing the attachment, which the previous dockerd has left"
    );
    if let Some(orphan) = driver.removals.release(&mut slot).await {
        driver.removals.soon(orphan);
    }
}
