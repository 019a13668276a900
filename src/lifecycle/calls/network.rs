//! CreateNetwork and DeleteNetwork: a network is made on a conflist that can do what Docker wants, or
//! refused.

use crate::cnm::{CreateNetworkRequest, DeleteNetworkRequest, NetworkOptions};
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::Result;
use crate::lifecycle::record::Network;
use crate::translate;

impl Driver {
    /// `NetworkDriver.CreateNetwork`: finds the conflist, and makes sure that its plugins
    /// are there and that it can serve Docker's pools.
    ///
    /// # Errors
    /// With the reason and the remedy, whatever makes the network unusable.
    pub async fn create_network(&self, request: CreateNetworkRequest) -> Result<()> {
        let options = NetworkOptions::read(&request.options)?;
        let CreateNetworkRequest { network_id: id, ipv4, ipv6, .. } = request;
        let make = || {
            let list = self.chains.conflist(options.conflist.as_deref())?;
            self.chains.find_plugins(&list)?;
            translate::carries_over(&list)?;
            translate::serves(&list, &ipv4)?;
            translate::serves(&list, &ipv6)?;
            Ok(Network {
                id: id.clone(),
                conflist: list.name().to_owned(),
                options,
                pools: [ipv4, ipv6].concat(),
            })
        };
        self.networks.add(&id, self.most.networks, make).await
    }

    /// `NetworkDriver.DeleteNetwork`: forgets the network. An unknown one is gone already.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub async fn delete_network(&self, request: DeleteNetworkRequest) -> Result<()> {
        self.networks.remove(&request.network_id).await
    }
}
