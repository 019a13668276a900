//! The networks that Docker has made.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Network;
use crate::cnm::NetworkId;
use crate::lifecycle::error::{Error, Result};
use crate::state::Folder;

/// The networks, in memory and on disk.
#[derive(Debug)]
pub(crate) struct Networks {
    folder: Folder<Network>,
    known: Mutex<HashMap<NetworkId, Arc<Network>>>,
    /// Held while a network is made or removed: the record and the map change together.
    changing: tokio::sync::Mutex<()>,
    /// Held while a network's own subnet and bridge are chosen or removed.
    deciding: tokio::sync::Mutex<()>,
}

impl Networks {
    pub(crate) fn new(folder: Folder<Network>, networks: Vec<Network>) -> Self {
        let known = networks.into_iter().map(|network| (network.id.clone(), Arc::new(network)));
        Self {
            folder,
            known: Mutex::new(known.collect()),
            changing: tokio::sync::Mutex::default(),
            deciding: tokio::sync::Mutex::default(),
        }
    }

    /// The network of that id.
    ///
    /// # Errors
    /// There is none, or Docker has removed it.
    pub(crate) fn get(&self, id: &NetworkId) -> Result<Arc<Network>> {
        let network = self.on_record(id).filter(|network| !network.removed);
        network.ok_or_else(|| Error::UnknownNetwork(id.clone()))
    }

    /// The network of that id, whether or not Docker has removed it.
    pub(crate) fn on_record(&self, id: &NetworkId) -> Option<Arc<Network>> {
        self.known().get(id).cloned()
    }

    /// All networks, including those that Docker has removed.
    pub(crate) fn all(&self) -> Vec<Arc<Network>> {
        self.known().values().cloned().collect()
    }

    /// How many records cannot be read.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn unreadable(&self) -> Result<usize> {
        Ok(self.folder.unreadable()?)
    }

    /// Networks that Docker has removed, and that still have something on the host.
    pub(crate) fn removed(&self) -> Vec<Arc<Network>> {
        self.all().into_iter().filter(|network| network.removed).collect()
    }

    /// Whether Docker has removed this one.
    pub(crate) fn is_removed(&self, id: &NetworkId) -> bool {
        self.on_record(id).is_some_and(|network| network.removed)
    }

    /// The conflists in files that are used by a network.
    pub(crate) fn conflists(&self) -> BTreeSet<String> {
        let in_files = self.all().into_iter().filter(|network| network.own_chain.is_none());
        in_files.map(|network| network.conflist.clone()).collect()
    }

    /// Waits until nobody else chooses or removes a network's own subnet and bridge.
    pub(crate) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.deciding.lock().await
    }

    /// Stores a network, if there are fewer than `most` or it is known already.
    ///
    /// # Errors
    /// There are too many; or the record cannot be written.
    pub(crate) async fn add(&self, network: Network, most: usize) -> Result<()> {
        // Docker makes few networks.
        let _alone = self.changing.lock().await;
        let (is_known, count) = {
            let known = self.known();
            (known.contains_key(&network.id), known.len())
        };
        if !is_known && count >= most {
            return Err(Error::TooMany { what: "networks", most, flag: "--max-networks" });
        }
        self.folder.put(network.id.as_str(), &network).await?;
        self.known().insert(network.id.clone(), Arc::new(network));
        Ok(())
    }

    /// Changes a network and its record, unless it is removed, or `change` returns that nothing changes.
    ///
    /// # Errors
    /// The record cannot be written; the network is unchanged.
    pub(crate) async fn change(
        &self,
        id: &NetworkId,
        change: impl FnOnce(&mut Network) -> bool,
    ) -> Result<()> {
        let _alone = self.changing.lock().await;
        let Ok(network) = self.get(id) else { return Ok(()) };
        let mut changed = Network::clone(&network);
        if change(&mut changed) {
            self.folder.put(id.as_str(), &changed).await?;
            self.known().insert(id.clone(), Arc::new(changed));
        }
        Ok(())
    }

    /// Forgets the network, if it is known.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub(crate) async fn remove(&self, id: &NetworkId) -> Result<()> {
        let _alone = self.changing.lock().await;
        self.folder.remove(id.as_str()).await?;
        self.known().remove(id);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<NetworkId, Arc<Network>>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
