//! CreateNetwork and DeleteNetwork: a network is made on a conflist that can do what Docker wants, or
//! refused.

use crate::cni::NetworkConfigList;
use crate::cnm::{CreateNetworkRequest, DeleteNetworkRequest, NetworkOptions};
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::judgement::Wishes;
use crate::lifecycle::record::Network;
use crate::netlink::Netlink;
use crate::translate;

impl Driver {
    /// `NetworkDriver.CreateNetwork`: finds the conflist, and makes sure that its plugins
    /// are there and that it can serve Docker's pools.
    ///
    /// # Errors
    /// With the reason and the remedy, whatever makes the network unusable.
    pub async fn create_network(&self, request: CreateNetworkRequest) -> Result<()> {
        let options = NetworkOptions::read(&request.options)?;
        let list = self.chains.read(options.conflist.as_deref()).await?;
        let pools = [request.ipv4, request.ipv6].concat();
        let wishes = Wishes { pools: &pools, chain: &options.chain };
        self.chains.judge(&list, wishes).await?;
        if let Some(mtu) = options.mtu {
            translate::with_mtu(list.clone(), mtu)?;
            make_sure_of_room(&self.interfaces.own, &list, mtu).await?;
        }
        let network = Network {
            id: request.network_id,
            conflist: list.name().to_owned(),
            options,
            pools,
            published_elsewhere: Vec::new(),
        };
        self.networks.add(network, self.most.networks).await
    }

    /// `NetworkDriver.DeleteNetwork`: forgets the network. An unknown one is gone already.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub async fn delete_network(&self, request: DeleteNetworkRequest) -> Result<()> {
        self.networks.remove(&request.network_id).await
    }
}

/// Makes sure that packets of `mtu` bytes fit through the device that the chain's interface is
/// made on.
pub(super) async fn make_sure_of_room(
    own: &Netlink,
    list: &NetworkConfigList,
    mtu: u32,
) -> Result<()> {
    let maker = list.plugins().iter().find(|plugin| plugin.get("master").is_some());
    let Some(master) = maker.and_then(|plugin| plugin.get("master")?.as_str()) else {
        return Ok(());
    };
    match own.link(master).await? {
        Some(link) if link.mtu < mtu => Err(Error::Refused(translate::Refusal::Master {
            conflist: list.name().to_owned(),
            mtu,
            master: master.to_owned(),
            most: link.mtu,
        })),
        _ => Ok(()),
    }
}
