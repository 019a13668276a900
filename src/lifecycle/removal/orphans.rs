//! Orphans: attachments that Docker has let go of, until their DEL has succeeded.
//!
//! Docker forgets an endpoint whatever its driver answers, and a network whose endpoint's
//! driver failed cannot be removed any more. So DeleteEndpoint is answered as soon as the
//! intent is on disk, and DEL runs here, in a task of its own for each attachment. What fails
//! is tried again, later and later, and given up on in the end; the operator is shown it, and
//! has the last word.
//!
//! Until DEL has succeeded, the attachment's addresses and host ports are its own. A container
//! that asks for one of them waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::cnm::{EndpointId, NetworkId};
use crate::lifecycle::error::chain;
use crate::lifecycle::record::{Attachment, AttachmentId, Phase, Removal};
use crate::lifecycle::removal::Claims;
use crate::lifecycle::{Driver, Error, Inner, Result};
use crate::netns;
use crate::state::Folder;

/// How long a new endpoint waits for an orphan that has what it needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// An orphan, as the operator is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// The attachment: the `CNI_CONTAINERID` of its plugins.
    pub attachment: String,
    /// Docker's endpoint, which is no more.
    pub endpoint: EndpointId,
    /// The endpoint's network in Docker.
    pub network: NetworkId,
    /// The conflist that it was attached by.
    pub conflist: String,
    /// The addresses that may be taken yet.
    pub addresses: Vec<IpAddr>,
    /// When its removal began, in seconds since 1970.
    pub since: u64,
    /// How often its DEL has failed.
    pub attempts: u32,
    /// Whether it is left to the operator now.
    pub given_up: bool,
    /// Why DEL failed the last time; none while it has not.
    pub error: Option<String>,
}

impl Orphan {
    fn of(attachment: &Attachment) -> Self {
        let removal = attachment.removal.clone().unwrap_or_default();
        Self {
            attachment: attachment.id.to_string(),
            endpoint: attachment.endpoint.clone(),
            network: attachment.network.clone(),
            conflist: attachment.list.name().to_owned(),
            addresses: attachment.addresses().collect(),
            since: removal.since,
            attempts: removal.attempts,
            given_up: removal.given_up(),
            error: removal.error,
        }
    }
}

/// Every orphan, by the records in `state_dir`, the oldest first: whether or not the driver
/// runs, and without disturbing it.
///
/// # Errors
/// The folder cannot be listed.
pub fn orphans(state_dir: &Path) -> Result<Vec<Orphan>> {
    let mut attachments = Folder::<Attachment>::glance(state_dir)?;
    attachments.retain(|attachment| attachment.phase == Phase::Deleting);
    let mut orphans: Vec<_> = attachments.iter().map(Orphan::of).collect();
    // Attachments' ids begin with the time at which they were made.
    orphans
        .sort_by(|one, other| (one.since, &one.attachment).cmp(&(other.since, &other.attachment)));
    Ok(orphans)
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    cells: Mutex<HashMap<AttachmentId, Arc<Cell>>>,
}

/// One orphan.
#[derive(Debug)]
pub(crate) struct Cell {
    claims: Claims,
    /// Locked while DEL runs; empty once it has succeeded.
    content: tokio::sync::Mutex<Option<Attachment>>,
    /// How many attempts have ended since the driver's start.
    state: watch::Sender<State>,
    /// Ends a pause.
    hurry: Notify,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    ended: u32,
    error: Option<String>,
    gone: bool,
}

impl Orphans {
    fn cells(&self) -> MutexGuard<'_, HashMap<AttachmentId, Arc<Cell>>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.cells().len()
    }

    /// One that has what is claimed, and what that is.
    fn blocking(&self, claims: &Claims) -> Option<(AttachmentId, Arc<Cell>, String)> {
        self.cells()
            .iter()
            .find_map(|(id, cell)| Some((*id, Arc::clone(cell), claims.shared_with(&cell.claims)?)))
    }

    /// Those whose first DEL has not ended, and whose addresses come from the same pools.
    pub(crate) fn going(&self, conflist: &str) -> Vec<Going> {
        let cells = self.cells();
        let cells = cells.values().filter(|cell| cell.claims.conflist == conflist);
        cells.map(|cell| cell.state.subscribe()).filter(|state| state.borrow().ended == 0).collect()
    }

    /// Those that `id` begins the attachment's or the endpoint's id of; every one, if empty.
    fn named(&self, id: &str) -> Vec<(AttachmentId, Arc<Cell>)> {
        let cells = self.cells();
        let named = cells.iter().filter(|(attachment, cell)| {
            attachment.to_string().starts_with(id)
                || cell.claims.endpoint.to_string().starts_with(id)
        });
        named.map(|(attachment, cell)| (*attachment, Arc::clone(cell))).collect()
    }
}

/// The state of an orphan whose first DEL is under way.
type Going = watch::Receiver<State>;

/// Waits until every one of these DELs has ended, for good or ill.
pub(crate) async fn ended(going: Vec<Going>) {
    let all = async {
        for mut orphan in going {
            // A sender that is dropped has ended, too.
            let _ = orphan.wait_for(|state| state.gone || state.ended > 0).await;
        }
    };
    // What hangs has had its time; the caller finds out what that means.
    let _ = timeout(PATIENCE, all).await;
}

impl Driver {
    /// Tries at once again to remove the orphans that `id` begins the attachment's or the
    /// endpoint's id of, or every one if it is empty, and says how each stands then.
    ///
    /// # Errors
    /// There is none of that id, or more than one.
    pub async fn retry_orphans(&self, id: &str) -> Result<Vec<Retried>> {
        let inner = &self.inner;
        let orphans = if id.is_empty() { inner.orphans.named(id) } else { vec![inner.orphan(id)?] };
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
    pub async fn forget_orphan(&self, id: &str) -> Result<Orphan> {
        let (_, cell) = self.inner.orphan(id)?;
        let mut content = cell.content.lock().await;
        let Some(attachment) = content.as_ref() else { return Err(Error::NoOrphan(id.to_owned())) };
        let orphan = Orphan::of(attachment);
        self.inner.let_go(attachment).await?;
        tracing::warn!(
            attachment = orphan.attachment,
            endpoint = orphan.endpoint.short(),
            "orphan forgotten; what its plugins keep on the host stays"
        );
        self.inner.orphan_is_gone(&cell, &mut content);
        Ok(orphan)
    }
}

/// How an orphan stands after one more attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// The attachment.
    pub attachment: String,
    /// Why it is still there; none if it is gone.
    pub error: Option<String>,
}

impl Inner {
    /// Makes an orphan of the attachment, whose intent to delete is on record. The caller has
    /// it removed, with [`Inner::remove_now`] or [`Inner::remove_soon`].
    pub(crate) fn abandon(&self, attachment: Attachment) -> Arc<Cell> {
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
    pub(crate) async fn remove_now(self: &Arc<Self>, cell: Arc<Cell>) -> Result<()> {
        let outcome = self.attempt(&cell).await;
        if outcome.is_err() {
            self.background.spawn(retry(Arc::clone(self), cell));
        }
        outcome
    }

    /// Removes an orphan in the background.
    pub(crate) fn remove_soon(self: &Arc<Self>, cell: Arc<Cell>) {
        let inner = Arc::clone(self);
        self.background.spawn(async move {
            if inner.attempt_in_turn(&cell).await.is_err() {
                retry(inner, cell).await;
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
        removal.attempts += 1;
        removal.error = Some(error.clone());
        let next = match removal.pause() {
            Some(pause) => format!("tried again in {} s", pause.as_secs()),
            None => "given up; 'cnm-cni orphans retry' tries again".to_owned(),
        };
        tracing::error!(attachment = %id, endpoint, attempt = removal.attempts, error, next,
            "the attachment cannot be removed");
        if let Err(error) = self.keep(attachment).await {
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
    pub(crate) async fn wait_for_orphans(&self, claims: &Claims) -> Result<()> {
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
        Ok(self.attachment_folder.remove(&attachment.id.to_string()).await?)
    }

    fn orphan_is_gone(&self, cell: &Cell, content: &mut Option<Attachment>) {
        if let Some(attachment) = content.take() {
            self.orphans.cells().remove(&attachment.id);
        }
        cell.state.send_modify(|state| state.gone = true);
    }
}

impl Cell {
    /// Has the removal tried now, and waits for the end of the attempt: the error, or none if
    /// the orphan is gone.
    fn try_now(&self) -> impl Future<Output = Option<String>> + use<> {
        let mut state = self.state.subscribe();
        let ended = state.borrow().ended;
        self.hurry.notify_one();
        async move {
            match state.wait_for(|state| state.gone || state.ended > ended).await {
                Ok(state) if !state.gone => state.error.clone(),
                // Whoever dropped the sender has said before that its orphan is gone.
                Ok(_) | Err(_) => None,
            }
        }
    }
}

/// Tries again, later and later. Ends once the orphan is gone, or with the driver.
async fn retry(inner: Arc<Inner>, cell: Arc<Cell>) {
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
            () = inner.stop.cancelled() => return,
        }
        if inner.attempt_in_turn(&cell).await.is_ok() {
            return;
        }
    }
}
