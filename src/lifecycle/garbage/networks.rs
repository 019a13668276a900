//! What a network's own chain has left on the host when Docker has removed the network: its bridge, and the
//! folder of its leases. It is removed after the last attachment, whose DEL still needs it.

use std::fs;
use std::io;

use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::record::Network;
use crate::lifecycle::removal::waits;
use crate::netlink::Netlink;
use crate::translate;

impl Driver {
    /// Removes the bridge and the leases of every network that Docker has removed, in the background.
    pub(crate) fn take_down_removed(&self) {
        for network in self.networks.removed() {
            let driver = self.clone();
            self.background.spawn(async move { driver.take_down(&network).await });
        }
    }

    /// Removes the bridge and the leases of a removed network, as soon as its attachments are gone. If an
    /// attachment stays, the network's record stays too, and each garbage collection tries this again.
    pub(crate) async fn take_down(&self, network: &Network) {
        let retrying = self.removals.retrying(&network.conflist);
        if !retrying.is_empty() {
            let gone = waits::until_gone(retrying, waits::limit());
            if self.background.until_stopped(gone).await.is_none() {
                return;
            }
        }
        if let Err(error) = self.take_down_now(network).await {
            tracing::warn!(
                network = network.id.short(),
                error = chain(&error),
                "not all of the removed network is gone; it is tried again"
            );
        }
    }

    async fn take_down_now(&self, network: &Network) -> Result<()> {
        // Docker may have made the network again, as a swarm does.
        let _alone = self.networks.alone().await;
        if !self.networks.is_removed(&network.id) {
            return Ok(());
        }
        if !self.records.of_conflist(&network.conflist).await?.is_empty() {
            tracing::info!(network = network.id.short(), "the removed network has attachments yet");
            return Ok(());
        }
        self.isolate().await?;
        if let Some(bridge) = network.own_bridge() {
            remove_bridge(&self.interfaces.own, bridge).await?;
        }
        if let Some(folder) = network.own_chain.as_ref().and_then(translate::lease_folder) {
            on_blocking_thread(move || match fs::remove_dir_all(&folder) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(Error::Unreadable { path: folder, source })
                }
                _ => Ok(()),
            })
            .await?;
        }
        self.networks.remove(&network.id).await
    }
}

/// Removes a bridge, if it is one.
async fn remove_bridge(own: &Netlink, name: &str) -> Result<()> {
    match own.link(name).await? {
        Some(link) if link.kind.as_deref() == Some("bridge") => {
            Ok(own.delete_link(link.index).await?)
        }
        _ => Ok(()),
    }
}
