//! Which spares are there, and how their networks have been used.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::count::Usage;
use crate::cnm::NetworkId;
use crate::lifecycle::record::Spare;

/// A network's spares, the oldest first, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) spares: VecDeque<Spare>,
    pub(super) making: Arc<Making>,
    pub(super) usage: Usage,
    /// No spare is made before: the last one could not be made, or an endpoint needed what it had.
    pub(super) not_before: Option<Instant>,
    /// No spare can be made, and the log says so.
    pub(super) failing: bool,
    /// An endpoint has claimed one since the host's rules were read.
    pub(super) claimed: bool,
}

/// The making of a network's spares.
#[derive(Debug, Default)]
pub(super) struct Making {
    /// Held while one is made, so that it is not missed by those who want all of them gone.
    pub(super) alone: tokio::sync::Mutex<()>,
    /// Somebody needs what it has, or the network is removed: however long its plugins take.
    pub(super) unwanted: Notify,
}

/// The shortest time between two comparisons of the host's rules: they need programs, and many containers may be
/// started one after the other.
const BETWEEN_COMPARISONS: Duration = Duration::from_secs(10);

/// The shelves of all networks.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    of: HashMap<NetworkId, Shelf>,
    /// When the host's rules were last compared with those of spares.
    compared: Option<Instant>,
}

impl Shelves {
    /// With the spares that were found on disk.
    pub(super) fn of(left: Vec<Spare>) -> Self {
        let mut shelves = Self::default();
        for spare in left {
            shelves.shelf(&spare.network.clone()).spares.push_back(spare);
        }
        let now = Instant::now();
        for shelf in shelves.of.values_mut() {
            shelf.usage = Usage::with(shelf.spares.len(), now);
        }
        shelves
    }

    pub(super) fn shelf(&mut self, network: &NetworkId) -> &mut Shelf {
        self.of.entry(network.clone()).or_default()
    }

    /// Every spare.
    pub(super) fn all(&self) -> impl Iterator<Item = &Spare> {
        self.of.values().flat_map(|shelf| &shelf.spares)
    }

    /// How many spares there are.
    pub(super) fn waiting(&self) -> usize {
        self.of.values().map(|shelf| shelf.spares.len()).sum()
    }

    /// How many spares other networks of that conflist have.
    pub(super) fn of_others(&self, network: &NetworkId, conflist: &str) -> usize {
        let others = self.of.iter().filter(|(id, _)| *id != network);
        let spares = others.flat_map(|(_, shelf)| &shelf.spares);
        spares.filter(|spare| spare.list.name() == conflist).count()
    }

    /// Takes every spare that is `unwanted`.
    pub(super) fn take_all(&mut self, unwanted: impl Fn(&Spare) -> bool) -> Vec<Spare> {
        let mut taken = Vec::new();
        for shelf in self.of.values_mut() {
            let (gone, stay) = shelf.spares.drain(..).partition(&unwanted);
            shelf.spares = stay;
            taken.extend::<VecDeque<_>>(gone);
        }
        taken
    }

    /// Whether the host's rules are to be compared now; they are, then.
    pub(super) fn is_comparison_due(&mut self, now: Instant) -> bool {
        let recent = self.compared.is_some_and(|last| now < last + BETWEEN_COMPARISONS);
        let something = self.of.values().any(|it| it.claimed || !it.spares.is_empty());
        let due = something && !recent;
        if due {
            self.compared = Some(now);
        }
        due
    }

    /// The host's rules are to be compared as soon as possible.
    pub(super) fn compare_again(&mut self) {
        self.compared = None;
    }

    /// Whether an endpoint has claimed a spare since this was asked the last time.
    pub(super) fn take_claimed(&mut self) -> bool {
        let any = self.of.values().any(|shelf| shelf.claimed);
        self.of.values_mut().for_each(|shelf| shelf.claimed = false);
        any
    }

    /// Forgets what is known of networks that do not exist any more. Their spares are gone.
    pub(super) fn keep_only(&mut self, networks: &HashSet<NetworkId>) {
        self.of.retain(|id, shelf| networks.contains(id) || !shelf.spares.is_empty());
    }
}
