//! Spares end when somebody needs what they have, and with their network.

use std::sync::Arc;

use super::{Spares, make};
use crate::cnm::NetworkId;
use crate::lifecycle::record::Spare;
use crate::lifecycle::removal::{Cell, Claims};
use crate::metrics::Unused;

impl Spares {
    /// Begins the removal of spares that have what a new endpoint asks for by name. They are orphans then,
    /// and the endpoint waits for them as for any.
    pub(crate) async fn give_way(&self, claims: &Claims) {
        if !claims.has_address_or_mac() {
            return;
        }
        let has_it = |spare: &Spare| claims.shared_with(&Claims::of_attachment(spare)).is_some();
        let unwanted = self.shelves().take_all(has_it);
        if !unwanted.is_empty() {
            self.remove_soon(unwanted, Unused::GaveWay).await;
            self.look_soon();
        }
    }

    /// Begins the removal of all spares of a conflist: an endpoint could not be made beside them. Returns
    /// the removals that have begun. None is made for a while.
    pub(crate) async fn give_up(&self, conflist: &str) -> Vec<Arc<Cell>> {
        // Among them is what the endpoint's own attempt left: to wait for that would be to wait for nothing.
        let before = self.removals.retrying(conflist);
        let networks = self.parts.networks.all();
        let sharing = networks.iter().filter(|network| network.conflist == conflist);
        // None is begun from here on.
        sharing.clone().for_each(|network| self.rest(&network.id, make::LONG_REST));
        for network in sharing {
            self.cut_short(&network.id).await;
        }
        let unwanted = self.shelves().take_all(|spare| spare.list.name() == conflist);
        self.remove_soon(unwanted, Unused::GaveWay).await;
        // With those whose making was cut short.
        let mut begun = self.removals.retrying(conflist);
        begun.retain(|cell| !before.iter().any(|it| Arc::ptr_eq(it, cell)));
        begun
    }

    /// Begins the removal of the spares of a network that is removed.
    pub(crate) async fn end(&self, network: &NetworkId) {
        self.cut_short(network).await;
        let unwanted = self.shelves().take_all(|spare| spare.network == *network);
        self.remove_soon(unwanted, Unused::NotNeeded).await;
    }

    /// Ends the making of a spare for the network, so that its removal has begun afterwards.
    async fn cut_short(&self, network: &NetworkId) {
        let making = Arc::clone(&self.shelves().shelf(network).making);
        making.unwanted.notify_waiters();
        drop(making.alone.lock().await);
    }

    /// Begins the removal of these spares.
    pub(super) async fn remove_soon(&self, unwanted: Vec<Spare>, reason: Unused) -> Vec<Arc<Cell>> {
        let mut cells = Vec::new();
        for spare in unwanted {
            self.parts.history.spare_given_up(&spare, reason);
            let orphan = self.removals.release(&mut Some(spare.given_up())).await;
            cells.extend(orphan);
        }
        for cell in &cells {
            self.removals.soon(Arc::clone(cell));
        }
        cells
    }
}
