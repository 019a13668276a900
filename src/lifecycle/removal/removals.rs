//! The removal of attachments that Docker has let go of.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Claims;
use super::orphans::{Cell, Going, Orphan, Orphans, PATIENCE, Retried};
use crate::lifecycle::background::{Background, Gate};
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::host::Chains;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::interface::staging::take_out;
use crate::lifecycle::ports::Ports;
use crate::lifecycle::record::{Attachment, AttachmentId, Records, Removal};
use crate::netns;

/// Removes attachments, and knows those that are not removed yet.
#[derive(Debug)]
pub(crate) struct Removals {
    pub(super) chains: Arc<Chains>,
    pub(super) interfaces: Arc<Interfaces>,
    ports: Arc<Ports>,
    records: Arc<Records>,
    gate: Gate,
    background: Background,
    orphans: Orphans,
}

impl Removals {
    pub(crate) fn new(
        chains: &Arc<Chains>,
        interfaces: &Arc<Interfaces>,
        ports: &Arc<Ports>,
        records: &Arc<Records>,
        gate: &Gate,
        background: &Background,
    ) -> Self {
        Self {
            chains: Arc::clone(chains),
            interfaces: Arc::clone(interfaces),
            ports: Arc::clone(ports),
            records: Arc::clone(records),
            gate: gate.clone(),
            background: background.clone(),
            orphans: Orphans::default(),
        }
    }

    /// How many attachments are not removed yet.
    pub(crate) fn count(&self) -> usize {
        self.orphans.count()
    }

    /// Those whose first DEL has not ended, and whose addresses come from the same pools.
    pub(crate) fn going(&self, conflist: &str) -> Vec<Going> {
        self.orphans.going(conflist)
    }

    /// Makes an orphan of the attachment, whose intent to delete is on record. The caller has
    /// it removed, with [`Removals::now`] or [`Removals::soon`].
    pub(crate) fn begin(&self, attachment: Attachment) -> Arc<Cell> {
        let id = attachment.id;
        let cell = Arc::new(Cell {
            claims: Claims::of_attachment(&attachment),
            content: tokio::sync::Mutex::new(Some(attachment)),
            state: watch::Sender::default(),
            hurry: Notify::new(),
        });
        self.orphans.cells().insert(id, Arc::clone(&cell));
        cell
    }

    /// Removes an orphan. What fails is told, and repeated in the background.
    pub(crate) async fn now(self: &Arc<Self>, cell: Arc<Cell>) -> Result<()> {
        let outcome = self.attempt(&cell).await;
        if outcome.is_err() {
            self.background.spawn(retry(Arc::clone(self), cell));
        }
        outcome
    }

    /// Removes an orphan in the background.
    pub(crate) fn soon(self: &Arc<Self>, cell: Arc<Cell>) {
        let removals = Arc::clone(self);
        self.background.spawn(async move {
            if removals.attempt_in_turn(&cell).await.is_err() {
                retry(removals, cell).await;
            }
        });
    }

    /// Runs DEL once, when background work has a place for it.
    async fn attempt_in_turn(&self, cell: &Cell) -> Result<()> {
        let _pass = self.gate.enter().await;
        self.attempt(cell).await
    }

    /// Runs DEL once, and notes what became of it.
    async fn attempt(&self, cell: &Cell) -> Result<()> {
        let mut content = cell.content.lock().await;
        let Some(attachment) = content.as_mut() else { return Ok(()) };
        let outcome = self.take_back(attachment).await;
        let (id, endpoint) = (attachment.id, attachment.endpoint.short().to_owned());
        let Err(error) = &outcome else {
            tracing::info!(attachment = %id, endpoint, "attachment removed");
            self.orphan_is_gone(cell, &mut content);
            return outcome;
        };
        let error = chain(error);
        let removal = attachment.removal.get_or_insert_with(Removal::begun_now);
        removal.attempts = removal.attempts.saturating_add(1);
        removal.error = Some(error.clone());
        let next = match removal.pause() {
            Some(pause) => format!("tried again in {} s", pause.as_secs()),
            None => "given up; 'cnm-cni orphans retry' tries again".to_owned(),
        };
        tracing::error!(attachment = %id, endpoint, attempt = removal.attempts, error, next,
            "the attachment cannot be removed");
        if let Err(error) = self.records.keep(attachment).await {
            tracing::warn!(attachment = %id, error = chain(&error), "its record is behind");
        }
        cell.state.send_modify(|state| {
            state.ended += 1;
            state.error = Some(error);
        });
        outcome
    }

    /// Waits for the orphans that have what a new endpoint claims, each of which gets one more
    /// attempt.
    ///
    /// # Errors
    /// One of them still has it: its DEL failed again, or takes too long.
    pub(crate) async fn wait_for(&self, claims: &Claims) -> Result<()> {
        while let Some((attachment, cell, what)) = self.orphans.blocking(claims) {
            tracing::debug!(%attachment, what, "waiting for an orphan");
            let reason = match timeout(PATIENCE, cell.try_now()).await {
                Ok(None) => continue,
                Ok(Some(error)) => error,
                Err(_) => format!("it has not ended within {} s", PATIENCE.as_secs()),
            };
            return Err(Error::Orphaned { what, attachment: attachment.to_string(), reason });
        }
        Ok(())
    }

    /// The one orphan that `id` begins the attachment's or the endpoint's id of.
    fn orphan(&self, id: &str) -> Result<(AttachmentId, Arc<Cell>)> {
        let mut named = if id.is_empty() { Vec::new() } else { self.orphans.named(id) };
        match (named.pop(), named.pop()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Error::SeveralOrphans(id.to_owned())),
            (None, _) => Err(Error::NoOrphan(id.to_owned())),
        }
    }

    /// Lets go of all that this program itself keeps for the attachment.
    pub(crate) async fn let_go(&self, attachment: &Attachment) -> Result<()> {
        // Before the record goes: what is not shown as held any more can be had.
        self.ports.release(&attachment.endpoint);
        netns::remove(&attachment.staging).await?;
        self.records.remove(attachment).await
    }

    fn orphan_is_gone(&self, cell: &Cell, content: &mut Option<Attachment>) {
        if let Some(attachment) = content.take() {
            self.orphans.cells().remove(&attachment.id);
        }
        cell.state.send_modify(|state| state.gone = true);
    }

    /// Takes back whatever there is of the attachment in `slot`, and empties the slot.
    ///
    /// # Errors
    /// What failed. It is tried again in the background.
    pub(crate) async fn detach(self: &Arc<Self>, slot: &mut Option<Attachment>) -> Result<()> {
        match self.release(slot).await {
            Some(orphan) => self.now(orphan).await,
            None => Ok(()),
        }
    }

    /// Empties the slot: what was in it is to be deleted, and on record as such.
    pub(crate) async fn release(&self, slot: &mut Option<Attachment>) -> Option<Arc<Cell>> {
        let mut attachment = slot.take()?;
        attachment.begin_removal();
        // Docker removes the sandbox once it is answered: what stands in there yet, because
        // Docker could not take it out, would go with it.
        let (kept, rescued) =
            tokio::join!(self.records.keep(&attachment), self.rescue(&attachment));
        for (outcome, consequence) in [
            (kept, "should the driver crash now, the attachment leaks"),
            (rescued, "the interface may be lost with its container"),
        ] {
            if let Err(error) = outcome {
                tracing::warn!(attachment = %attachment.id, error = chain(&error), consequence);
            }
        }
        self.interfaces.sandboxes.leave(&attachment.endpoint);
        Some(self.begin(attachment))
    }

    /// Moves the interface back into staging, if it stands in the container yet.
    async fn rescue(&self, attachment: &Attachment) -> Result<()> {
        let Place::Sandbox(sandbox, link) = self.interfaces.locate(attachment).await? else {
            return Ok(());
        };
        take_out(&sandbox, &link, attachment).await
    }

    /// Tries at once again to remove the orphans that `id` begins the attachment's or the
    /// endpoint's id of, or every one if it is empty, and says how each stands then.
    ///
    /// # Errors
    /// There is none of that id, or more than one.
    pub(crate) async fn retry(&self, id: &str) -> Result<Vec<Retried>> {
        let orphans = if id.is_empty() { self.orphans.named(id) } else { vec![self.orphan(id)?] };
        // All are told first, and then waited for.
        let attempts: Vec<_> =
            orphans.into_iter().map(|(attachment, cell)| (attachment, cell.try_now())).collect();
        let mut retried = Vec::new();
        for (attachment, attempt) in attempts {
            retried.push(Retried { attachment: attachment.to_string(), error: attempt.await });
        }
        Ok(retried)
    }

    /// Forgets an orphan: its record, its staging namespace and the hold on its ports go. What
    /// its plugins keep on the host stays.
    ///
    /// # Errors
    /// There is none of that id, or more than one; or its namespace or record cannot be removed.
    pub(crate) async fn forget(&self, id: &str) -> Result<Orphan> {
        let (_, cell) = self.orphan(id)?;
        let mut content = cell.content.lock().await;
        let Some(attachment) = content.as_ref() else { return Err(Error::NoOrphan(id.to_owned())) };
        let orphan = Orphan::of(attachment);
        self.let_go(attachment).await?;
        tracing::warn!(
            attachment = orphan.attachment,
            endpoint = orphan.endpoint.short(),
            "orphan forgotten; what its plugins keep on the host stays"
        );
        self.orphan_is_gone(&cell, &mut content);
        Ok(orphan)
    }
}

/// Tries again, later and later. Ends once the orphan is gone, or with the driver.
async fn retry(removals: Arc<Removals>, cell: Arc<Cell>) {
    let mut state = cell.state.subscribe();
    loop {
        let removal = cell.content.lock().await.as_ref().map(|orphan| orphan.removal.clone());
        let Some(removal) = removal else { return };
        let pause = removal.unwrap_or_default().pause();
        let rest = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
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
        if removals.attempt_in_turn(&cell).await.is_ok() {
            return;
        }
    }
}
