//! The attempts to remove an orphan. Each orphan has its own task, which passes the gate for background
//! work, and pauses longer and longer after failures.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Cell, Removals};
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::record::Attachment;
use crate::netns;

impl Removals {
    /// Makes an orphan of the attachment, which is on record in the phase Deleting. The caller then removes
    /// it with one of the functions below.
    pub(crate) fn begin(&self, attachment: Attachment) -> Arc<Cell> {
        self.withdrawals.add(&attachment);
        self.orphans.insert(attachment)
    }

    /// Removes an orphan at once, for a caller that waits for it.
    ///
    /// # Errors
    /// DEL has failed. It is tried again in the background.
    pub(crate) async fn now(self: &Arc<Self>, cell: Arc<Cell>) -> Result<()> {
        let _call = self.gate.docker_call(&cell.claims.endpoint).last();
        let outcome = self.attempt(&cell).await;
        self.repeat(&outcome, cell);
        outcome
    }

    /// As [`Removals::now`], when background work has a place for it.
    pub(crate) async fn in_turn(self: &Arc<Self>, cell: Arc<Cell>) -> Result<()> {
        let outcome = self.attempt_in_turn(&cell).await;
        self.repeat(&outcome, cell);
        outcome
    }

    /// Removes an orphan in the background.
    pub(crate) fn soon(self: &Arc<Self>, cell: Arc<Cell>) {
        let removals = Arc::clone(self);
        self.background.spawn(async move { drop(removals.in_turn(cell).await) });
    }

    fn repeat(self: &Arc<Self>, outcome: &Result<()>, cell: Arc<Cell>) {
        if outcome.is_err() {
            self.background.spawn(retry(Arc::clone(self), cell));
        }
    }

    /// Runs DEL once, when background work has a place for it, or a new endpoint waits for what the orphan
    /// has.
    async fn attempt_in_turn(&self, cell: &Cell) -> Result<()> {
        let _pass = self.gate.enter_unless(&cell.claims.endpoint, cell.is_asked_for()).await;
        self.attempt(cell).await
    }

    /// Runs DEL once, and records the outcome.
    async fn attempt(&self, cell: &Cell) -> Result<()> {
        let mut content = cell.content.lock().await;
        let Some(attachment) = content.as_mut() else { return Ok(()) };
        let begun = Instant::now();
        let Err(cause) = self.take_back(attachment).await else {
            self.history.detached(attachment, begun.elapsed());
            self.orphans.remove(cell, &mut content);
            return Ok(());
        };
        let error = chain(&cause);
        let pause = attachment.begin_removal_with(|removal, _| {
            removal.attempts = removal.attempts.saturating_add(1);
            removal.error = Some(error.clone());
            removal.pause()
        });
        let next = match pause {
            Some(pause) => format!("tried again in {} s", pause.as_secs()),
            None => "given up; 'cnm-cni orphans retry' tries again".to_owned(),
        };
        self.history.not_detached(attachment, next, begun.elapsed());
        if let Err(error) = self.records.keep(attachment).await {
            tracing::warn!(attachment = %attachment.id, error = chain(&error), "its record is behind");
        }
        cell.state.send_modify(|state| {
            state.ended += 1;
            state.error = Some(error);
            state.rests = true;
            state.until = pause.map(|pause| Instant::now() + pause);
        });
        Err(cause)
    }

    /// Releases all that this program itself keeps for the attachment. The record is last: once it is gone, all
    /// that the attachment had is free.
    pub(crate) async fn release_all(&self, attachment: &Attachment) -> Result<()> {
        netns::remove(&attachment.staging).await?;
        attachment.release_sandbox().await?;
        self.ports.release(&attachment.endpoint);
        self.withdrawals.forget(attachment.id);
        self.records.remove(attachment).await
    }
}

/// Tries again, after longer and longer pauses. Ends once the orphan is gone, or with the driver.
async fn retry(removals: Arc<Removals>, cell: Arc<Cell>) {
    let mut state = cell.state.subscribe();
    loop {
        let until = state.borrow_and_update().until;
        let rest = async {
            match until {
                Some(time) => tokio::time::sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = rest => {}
            () = cell.hurry.notified() => {}
            // Somebody forgot it.
            _ = state.wait_for(|state| state.gone) => return,
            () = removals.background.stopped() => return,
        }
        cell.state.send_modify(|state| state.rests = false);
        if removals.attempt_in_turn(&cell).await.is_ok() {
            return;
        }
    }
}
