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
use crate::lifecycle::error::Result;
use crate::lifecycle::record::{Attachment, AttachmentId, Phase};
use crate::lifecycle::removal::Claims;
use crate::state::Folder;

/// How long a new endpoint waits for an orphan that has what it needs.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

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
    pub(super) claims: Claims,
    /// Locked while DEL runs; empty once it has succeeded.
    pub(super) content: tokio::sync::Mutex<Option<Attachment>>,
    /// How many attempts have ended since the driver's start.
    pub(super) state: watch::Sender<State>,
    /// Ends a pause.
    pub(super) hurry: Notify,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(super) ended: u32,
    pub(super) error: Option<String>,
    pub(super) gone: bool,
}

impl Orphans {
    pub(super) fn cells(&self) -> MutexGuard<'_, HashMap<AttachmentId, Arc<Cell>>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.cells().len()
    }

    /// One that has what is claimed, and what that is.
    pub(super) fn blocking(&self, claims: &Claims) -> Option<(AttachmentId, Arc<Cell>, String)> {
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
    pub(super) fn named(&self, id: &str) -> Vec<(AttachmentId, Arc<Cell>)> {
        let cells = self.cells();
        let named = cells.iter().filter(|(attachment, cell)| {
            attachment.to_string().starts_with(id)
                || cell.claims.endpoint.to_string().starts_with(id)
        });
        named.map(|(attachment, cell)| (*attachment, Arc::clone(cell))).collect()
    }
}

/// The state of an orphan whose first DEL is under way.
pub(crate) type Going = watch::Receiver<State>;

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

/// How an orphan stands after one more attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// The attachment.
    pub attachment: String,
    /// Why it is still there; none if it is gone.
    pub error: Option<String>,
}

impl Cell {
    /// Has the removal tried now, and waits for the end of the attempt: the error, or none if
    /// the orphan is gone.
    pub(super) fn try_now(&self) -> impl Future<Output = Option<String>> + use<> {
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
