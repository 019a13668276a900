//! Networks: made on a conflist that can do what Docker wants, or refused.

use std::sync::Arc;

use super::judgement::{Wishes, choose, judge};
use super::record::Network;
use super::{Driver, Error, Inner, Result};
use crate::cni::NetworkConfigList;
use crate::cnm::{CreateNetworkRequest, DeleteNetworkRequest, NetworkId, NetworkOptions};
use crate::translate;

impl Driver {
    /// `NetworkDriver.CreateNetwork`: finds the conflist, and makes sure that its plugins
    /// are there and that it can serve Docker's pools.
    ///
    /// # Errors
    /// With the reason and the remedy, whatever makes the network unusable.
    pub async fn create_network(&self, request: CreateNetworkRequest) -> Result<()> {
        let inner = &self.inner;
        let options = NetworkOptions::read(&request.options)?;
        inner.trusts_its_folders()?;
        let list = inner.conflist(options.conflist.as_deref())?;
        let pools = [request.ipv4, request.ipv6].concat();
        let wishes = Wishes { pools: &pools, chain: &options.chain };
        judge(&inner.runtime, &list, Some(wishes)).await.verdict(&list)?;
        // Docker makes few of them. The record and the map change together, whatever else comes.
        let _alone = inner.changing_networks.lock().await;
        let most = inner.most.networks;
        let known = inner.networks().contains_key(&request.network_id);
        if !known && inner.networks().len() >= most {
            return Err(Error::TooMany { what: "networks", most, flag: "--max-networks" });
        }
        let network = Network {
            id: request.network_id,
            conflist: list.name().to_owned(),
            options,
            pools,
            published_elsewhere: Vec::new(),
        };
        inner.network_folder.put(network.id.as_str(), &network).await?;
        inner.networks().insert(network.id.clone(), Arc::new(network));
        Ok(())
    }

    /// `NetworkDriver.DeleteNetwork`: forgets the network. An unknown one is gone already.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub async fn delete_network(&self, request: DeleteNetworkRequest) -> Result<()> {
        let _alone = self.inner.changing_networks.lock().await;
        self.inner.network_folder.remove(request.network_id.as_str()).await?;
        self.inner.networks().remove(&request.network_id);
        Ok(())
    }
}

impl Inner {
    pub(crate) fn network(&self, id: &NetworkId) -> Result<Arc<Network>> {
        self.networks().get(id).cloned().ok_or_else(|| Error::UnknownNetwork(id.clone()))
    }

    /// The conflist of that name; without a name the default one.
    pub(crate) fn conflist(&self, name: Option<&str>) -> Result<NetworkConfigList> {
        let list = choose(&self.conf_dir, name)?;
        translate::attaches(&list)?;
        // The loopback interface of a container is Docker's; that of staging is up already.
        Ok(list.without("loopback"))
    }
}
