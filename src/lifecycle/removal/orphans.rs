//! Orphans: attachments whose endpoint Docker has deleted, until their DEL has succeeded.
//!
//! Docker forgets an endpoint whatever its driver answers. If the driver answers with an error, Docker cannot
//! remove the network any more. So DeleteEndpoint is answered as soon as the intent is on disk, and DEL runs in the
//! background ([`super::attempts`]). A DEL that fails is tried again after longer and longer pauses, and
//! given up on in the end. Then the operator decides ([`super::operator`]).
//!
//! Until DEL has succeeded, the attachment keeps its addresses, ports and device. A container that asks for
//! one of them waits ([`super::waits`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::cnm::{EndpointId, NetworkId};
use crate::lifecycle::error::Result;
use crate::lifecycle::record::{Attachment, AttachmentId};
use crate::lifecycle::removal::Claims;
use crate::state::Folder;

/// An orphan, as the operator is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// The attachment: the `CNI_CONTAINERID` of its plugins.
    pub attachment: String,
    /// Docker's endpoint, which Docker has deleted.
    pub endpoint: EndpointId,
    /// The endpoint's network in Docker.
    pub network: NetworkId,
    /// It was a spare: no container has had it, and the attachment's id stands for the endpoint.
    #[serde(default)]
    pub spare: bool,
    /// The conflist that attached it.
    pub conflist: String,
    /// The addresses that may still be taken.
    pub addresses: Vec<IpAddr>,
    /// When its removal began, in seconds since 1970.
    pub since: u64,
    /// How often its DEL has failed.
    pub attempts: u32,
    /// Whether the driver has given up, and the operator has to act.
    pub given_up: bool,
    /// Why DEL failed the last time; none if it has not failed.
    pub error: Option<String>,
}

impl Orphan {
    pub(super) fn of(attachment: &Attachment) -> Self {
        let removal = attachment.removal().cloned().unwrap_or_default();
        Self {
            attachment: attachment.id.to_string(),
            endpoint: attachment.endpoint.clone(),
            network: attachment.network.clone(),
            spare: attachment.is_of_no_container(),
            conflist: attachment.list.name().to_owned(),
            addresses: attachment.addresses().collect(),
            since: removal.since,
            attempts: removal.attempts,
            given_up: removal.given_up(),
            error: removal.error,
        }
    }
}

/// Every orphan in the records of `state_dir`, the oldest first. This does not need the driver, and does
/// not disturb it.
///
/// # Errors
/// The folder cannot be listed.
pub fn orphans(state_dir: &Path) -> Result<Vec<Orphan>> {
    let mut attachments = Folder::<Attachment>::glance(state_dir)?;
    attachments.retain(|attachment| attachment.removal().is_some());
    let mut orphans: Vec<_> = attachments.iter().map(Orphan::of).collect();
    // By the time when their removal began.
    orphans
        .sort_by(|one, other| (one.since, &one.attachment).cmp(&(other.since, &other.attachment)));
    Ok(orphans)
}

/// All orphans of this driver.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    cells: Mutex<HashMap<AttachmentId, Arc<Cell>>>,
}

/// One orphan.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(super) id: AttachmentId,
    pub(super) claims: Claims,
    /// Locked while DEL runs; empty once it has succeeded.
    pub(super) content: tokio::sync::Mutex<Option<Attachment>>,
    pub(super) state: watch::Sender<State>,
    /// Notified to end a pause.
    pub(super) hurry: Notify,
    /// How many new endpoints wait for what this orphan has.
    asked_for: watch::Sender<usize>,
}

/// The attempts to remove an orphan, since the driver's start.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// How many attempts have ended.
    pub(super) ended: u32,
    /// Why the last one failed.
    pub(super) error: Option<String>,
    /// No attempt runs, or waits for the gate.
    pub(super) rests: bool,
    /// When the next attempt begins by itself; none if there is none.
    pub(super) until: Option<Instant>,
    /// The orphan is gone.
    pub(super) gone: bool,
}

impl Orphans {
    fn cells(&self) -> MutexGuard<'_, HashMap<AttachmentId, Arc<Cell>>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many orphans there are.
    pub(crate) fn count(&self) -> usize {
        self.cells().len()
    }

    pub(super) fn insert(&self, attachment: Attachment) -> Arc<Cell> {
        let cell = Arc::new(Cell {
            id: attachment.id,
            claims: Claims::of_attachment(&attachment),
            content: tokio::sync::Mutex::new(Some(attachment)),
            state: watch::Sender::default(),
            hurry: Notify::new(),
            asked_for: watch::Sender::default(),
        });
        self.cells().insert(cell.id, Arc::clone(&cell));
        cell
    }

    /// Forgets an orphan. The caller holds its lock.
    pub(super) fn remove(&self, cell: &Cell, content: &mut Option<Attachment>) {
        *content = None;
        self.cells().remove(&cell.id);
        cell.state.send_modify(|state| state.gone = true);
    }

    /// An orphan that has something that is claimed, and what that is.
    pub(super) fn with(&self, claims: &Claims) -> Option<(Arc<Cell>, String)> {
        let cells = self.cells();
        cells.values().find_map(|cell| Some((Arc::clone(cell), claims.shared_with(&cell.claims)?)))
    }

    /// The orphans of a conflist that are still tried without the operator.
    pub(crate) fn retrying(&self, conflist: &str) -> Vec<Arc<Cell>> {
        let cells = self.cells();
        let of_conflist = cells.values().filter(|cell| {
            let given_up = {
                let state = cell.state.borrow();
                state.rests && state.until.is_none()
            };
            cell.claims.conflist.as_deref() == Some(conflist) && !given_up
        });
        of_conflist.map(Arc::clone).collect()
    }

    /// The orphans whose attachment's or endpoint's id begins with `id`; all if it is empty.
    pub(super) fn named(&self, id: &str) -> Vec<Arc<Cell>> {
        let cells = self.cells();
        let named = cells.values().filter(|cell| {
            cell.id.to_string().starts_with(id) || cell.claims.endpoint.to_string().starts_with(id)
        });
        named.map(Arc::clone).collect()
    }
}

impl Cell {
    /// Ends a pause between two attempts.
    pub(super) fn hurry(&self) {
        if self.state.borrow().rests {
            self.hurry.notify_one();
        }
    }

    /// Lets the orphan's attempts run before other background work, until the return value is dropped: a
    /// new endpoint waits for what the orphan has.
    pub(super) fn ask(self: &Arc<Self>) -> Asked {
        self.asked_for.send_modify(|count| *count += 1);
        Asked(Arc::clone(self))
    }

    /// Waits until a new endpoint waits for what the orphan has.
    pub(super) async fn is_asked_for(&self) {
        // The sender lives as long as this cell.
        let _ = self.asked_for.subscribe().wait_for(|count| *count > 0).await;
    }
}

/// See [`Cell::ask`].
pub(super) struct Asked(Arc<Cell>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.asked_for.send_modify(|count| *count -= 1);
    }
}
