//! Orphans: attachments that Docker has let go of, until their DEL has succeeded.
//!
//! Docker forgets an endpoint whatever its driver answers, and a network whose endpoint's
//! driver failed cannot be removed any more. So DeleteEndpoint is answered as soon as the
//! intent is on disk, and DEL runs in the background ([`super::attempts`]). What fails is tried
//! again, later and later, and given up on in the end; the operator is shown it, and has the
//! last word ([`super::operator`]).
//!
//! Until DEL has succeeded, what the attachment has is its own. A container that asks for some of
//! it waits ([`super::waits`]).

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
    pub(super) fn of(attachment: &Attachment) -> Self {
        let removal = attachment.removal().cloned().unwrap_or_default();
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
    attachments.retain(|attachment| attachment.removal().is_some());
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
    pub(super) id: AttachmentId,
    pub(super) claims: Claims,
    /// Locked while DEL runs; empty once it has succeeded.
    pub(super) content: tokio::sync::Mutex<Option<Attachment>>,
    pub(super) state: watch::Sender<State>,
    /// Ends a pause.
    pub(super) hurry: Notify,
    /// How many new endpoints ask for just what this one has.
    asked_for: watch::Sender<usize>,
}

/// How the attempts to remove an orphan go, since the driver's start.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// How many have ended.
    pub(super) ended: u32,
    /// Why the last one failed.
    pub(super) error: Option<String>,
    /// No attempt is under way, nor waits for its turn.
    pub(super) rests: bool,
    /// Until when, if the next attempt comes by itself.
    pub(super) until: Option<Instant>,
    /// The orphan is no more.
    pub(super) gone: bool,
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

    /// Forgets an orphan whose content the caller holds.
    pub(super) fn remove(&self, cell: &Cell, content: &mut Option<Attachment>) {
        *content = None;
        self.cells().remove(&cell.id);
        cell.state.send_modify(|state| state.gone = true);
    }

    /// One that has what is claimed, and what that is.
    pub(super) fn with(&self, claims: &Claims) -> Option<(Arc<Cell>, String)> {
        let cells = self.cells();
        cells.values().find_map(|cell| Some((Arc::clone(cell), claims.shared_with(&cell.claims)?)))
    }

    /// Those of a conflist that go by themselves, sooner or later.
    pub(crate) fn going(&self, conflist: &str) -> Vec<Arc<Cell>> {
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

    /// Those that `id` begins the attachment's or the endpoint's id of; every one, if empty.
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

    /// Has the orphan's attempts go ahead of other background work, until the return value is
    /// dropped: a new endpoint asks for what it has.
    pub(super) fn ask(self: &Arc<Self>) -> Asked {
        self.asked_for.send_modify(|count| *count += 1);
        Asked(Arc::clone(self))
    }

    /// Waits until somebody asks for what the orphan has.
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
