//! Spares: attachments that are made ahead of time, so that CreateEndpoint does not wait for plugins, nor
//! Join for the move of an interface.
//!
//! ```text
//!   a network is in use     CreateEndpoint       Join
//!          │                      │               │
//!     ┌────▼───┐  ADD ok   ┌──────▼─┐        ┌────▼───┐
//!     │ Adding ├──────────▶│ Spare  ├─claim─▶│ Staged │ ...
//!     └────────┘           └────┬───┘        └────────┘
//!                               └──── nobody needs it, or somebody needs what it has: DEL
//! ```
//!
//! A spare is a whole attachment that no endpoint has: its lease, its rules and its record are there, and
//! its interface waits in dockerd's namespace, down and without addresses.
//!
//! | file | question |
//! |---|---|
//! | `count` | how many does a network get? |
//! | `shelf` | which are there, and how has the network been used? |
//! | `make` | how is one made? |
//! | `claim` | may this endpoint have one, and is it still as ADD left it? |
//! | `give_way` | who needs what a spare has, or needs none any more? |
//! | `keep` | the work in the background that makes and removes them |
//! | `rules` | has the host still the rules of those that were made, and claimed? |

mod claim;
mod count;
mod give_way;
mod keep;
mod make;
mod rules;
mod shelf;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::shelf::Shelves;
use crate::cnm::{EndpointId, SpareCount};
use crate::lifecycle::attach::Maker;
use crate::lifecycle::config::Config;
use crate::lifecycle::host::masquerade::SharedRead;
use crate::lifecycle::parts::Parts;
use crate::lifecycle::record::{AttachmentId, Spare};
use crate::lifecycle::removal::Removals;

pub(crate) use claim::may_serve;
pub(crate) use keep::keep;

/// For an endpoint that has claimed a spare: which of its addresses are not masqueraded any more.
type Comparison = (EndpointId, JoinHandle<Vec<IpAddr>>);

/// The spares of all networks.
#[derive(Debug)]
pub(crate) struct Spares {
    parts: Parts,
    maker: Arc<Maker>,
    removals: Arc<Removals>,
    /// How many a network gets that does not say so itself.
    count: SpareCount,
    /// How many attachments there may be, with those that are being removed.
    most: usize,
    shelves: Mutex<Shelves>,
    /// The masquerade rules of the host.
    host_rules: Arc<SharedRead>,
    /// Those that no endpoint has asked for yet.
    comparing: Mutex<HashMap<AttachmentId, Comparison>>,
    /// Somebody has used a spare, or changed how many there are to be.
    work: Notify,
}

impl Spares {
    /// With the spares that the last driver left.
    pub(crate) fn new(
        config: &Config,
        parts: &Parts,
        maker: &Arc<Maker>,
        removals: &Arc<Removals>,
        left: Vec<Spare>,
    ) -> Self {
        Self {
            parts: parts.clone(),
            maker: Arc::clone(maker),
            removals: Arc::clone(removals),
            count: config.spares,
            most: config.maximum.attachments,
            shelves: Mutex::new(Shelves::of(left)),
            host_rules: Arc::default(),
            comparing: Mutex::default(),
            work: Notify::new(),
        }
    }

    /// The conflist of each that is ready.
    pub(crate) fn conflists(&self) -> Vec<String> {
        self.shelves().all().map(|spare| spare.list.name().to_owned()).collect()
    }

    /// How many there are.
    pub(crate) fn waiting(&self) -> usize {
        self.shelves().waiting()
    }

    /// Has the work in the background look whether there is something to do.
    pub(crate) fn look_soon(&self) {
        self.work.notify_one();
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // The map is whole even if a holder panicked: every change is one step.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
