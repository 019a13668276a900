//! CreateNetwork and DeleteNetwork: a network is made on a conflist that can do what Docker asks for, or
//! refused.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::timeout;

use crate::cni::NetworkConfigList;
use crate::cnm::{CreateNetworkRequest, DeleteNetworkRequest, NetworkId, NetworkOptions};
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::history::Asked;
use crate::lifecycle::judgement::{Plan, Wishes, isolated_subnets, routed};
use crate::lifecycle::record::Network;
use crate::netlink::Netlink;
use crate::translate::{self, Refusal};

/// How long Docker waits until a network's bridge and leases are removed; the removal then continues in the
/// background.
const PATIENCE: Duration = Duration::from_secs(10);

impl Driver {
    /// `NetworkDriver.CreateNetwork`: finds the conflist, or makes a chain for this network alone. Makes
    /// sure that the plugins exist and can serve Docker's pools.
    ///
    /// # Errors
    /// The network cannot be used; the error has the reason and the remedy.
    pub async fn create_network(&self, request: CreateNetworkRequest) -> Result<()> {
        let mut asked = Asked::now("CreateNetwork", &request.network_id, None);
        let created = self.make_network(&mut asked, request).await;
        self.history.ended(&asked, created)
    }

    /// `NetworkDriver.DeleteNetwork`: forgets the network, and removes its own bridge and leases from the
    /// host. An unknown network is gone already.
    ///
    /// # Errors
    /// The record cannot be changed.
    pub async fn delete_network(&self, request: DeleteNetworkRequest) -> Result<()> {
        let asked = Asked::now("DeleteNetwork", &request.network_id, None);
        let removed = self.remove_network(request.network_id).await;
        self.history.ended(&asked, removed)
    }
}

impl Driver {
    async fn make_network(&self, asked: &mut Asked, request: CreateNetworkRequest) -> Result<()> {
        let options = NetworkOptions::read(&request.options)?;
        let pools = [request.ipv4, request.ipv6].concat();
        let wishes = Wishes { id: &request.network_id, options: &options, pools: &pools };
        // Two networks must not get the same subnet.
        let _alone = self.networks.alone().await;
        let Plan { list, is_own } = self.plan(wishes).await?;
        asked.conflist = Some(list.name().to_owned());
        self.chains.judge(&list, wishes).await?;
        if let Some(mtu) = options.mtu {
            translate::with_mtu(list.clone(), mtu)?;
            check_parent_mtu(&self.interfaces.own, &list, mtu).await?;
        }
        let isolated_subnets = match options.isolate {
            Some(true) if !is_own => self.subnets_to_isolate(&list, wishes)?,
            _ => Vec::new(),
        };
        let network = Network {
            id: request.network_id.clone(),
            conflist: list.name().to_owned(),
            options,
            pools,
            published_elsewhere: Vec::new(),
            own_chain: is_own.then_some(list),
            isolated_subnets,
            removed: false,
        };
        let (isolated, before) = (network.is_isolated(), self.networks.on_record(&network.id));
        self.networks.add(network, self.maximum.networks).await?;
        if isolated && let Err(cause) = self.isolate().await {
            let undone = match before {
                Some(before) => {
                    self.networks.add(Network::clone(&before), self.maximum.networks).await
                }
                None => self.networks.remove(&request.network_id).await,
            };
            return Err(cause.undone(undone));
        }
        if before.is_none_or(|before| before.removed) {
            self.history.network_created(asked, &*self.networks.get(&request.network_id)?);
        }
        self.spares.look_soon();
        Ok(())
    }

    async fn remove_network(&self, id: NetworkId) -> Result<()> {
        let Ok(network) = self.networks.get(&id) else { return Ok(()) };
        let ended = Arc::clone(&network);
        let driver = self.clone();
        let down = if network.own_chain.is_none() {
            self.networks.remove(&id).await?;
            self.history.network_removed(&ended);
            if network.is_isolated() {
                self.isolate().await?;
            }
            self.background.spawn(async move {
                driver.spares.end(&network.id).await;
            })
        } else {
            let remove = |network: &mut Network| !std::mem::replace(&mut network.removed, true);
            self.networks.change(&id, remove).await?;
            self.history.network_removed(&ended);
            self.background.spawn(async move {
                driver.spares.end(&network.id).await;
                driver.take_down(&network).await;
            })
        };
        // Its spares, and its last attachments, may be in removal.
        drop(timeout(PATIENCE, down).await);
        Ok(())
    }

    /// The chain of a new network. Docker may ask twice for the same network. It may also make a network
    /// again that it has removed, as a swarm does, while its bridge still exists.
    async fn plan(&self, wishes: Wishes<'_>) -> Result<Plan> {
        if let Some(known) = self.networks.on_record(wishes.id)
            && known.options == *wishes.options
            && known.pools == wishes.pools
            && let Some(list) = known.own_chain.clone()
        {
            return Ok(Plan { list, is_own: true });
        }
        let networks = self.networks.all();
        let others: Vec<_> = networks.iter().filter(|other| other.id != *wishes.id).collect();
        let mut taken = routed(&self.interfaces.own).await?;
        // The host has no route to the subnets of networks whose bridge does not exist yet.
        taken.extend(others.iter().flat_map(|other| other.subnets()));
        let (conflists, _) = self.chains.known().await?;
        taken.extend(conflists.iter().flat_map(|list| translate::prospects(list).subnets));
        let plan = self.chains.plan(wishes, taken).await?;
        if let Some(bridge) = wishes.options.bridge.name.as_deref()
            && (others.iter().any(|other| other.own_bridge() == Some(bridge))
                || self.interfaces.own.link(bridge).await?.is_some())
        {
            return Err(Refusal::BridgeExists { bridge: bridge.to_owned() }.into());
        }
        Ok(plan)
    }

    /// The subnets by which a network on a user's conflist can be isolated.
    ///
    /// # Errors
    /// It has none that are known, or another network has one of them.
    fn subnets_to_isolate(
        &self,
        list: &NetworkConfigList,
        wishes: Wishes<'_>,
    ) -> Result<Vec<IpNet>> {
        let subnets = isolated_subnets(list, wishes)?;
        let others = self.networks.all();
        let mut others = others.iter().filter(|other| other.id != *wishes.id && !other.removed);
        let shares =
            |other: &&Arc<Network>| other.isolated_subnets.iter().any(|net| subnets.contains(net));
        match others.find(shares) {
            Some(other) => Err(Refusal::SharedSubnets {
                conflist: list.name().to_owned(),
                network: other.id.short().to_owned(),
            }
            .into()),
            None => Ok(subnets),
        }
    }
}

/// Checks that packets of `mtu` bytes fit through the device of the host on which the chain makes its
/// interface.
///
/// # Errors
/// They do not fit, or the device cannot be read.
pub(super) async fn check_parent_mtu(
    own: &Netlink,
    list: &NetworkConfigList,
    mtu: u32,
) -> Result<()> {
    let maker = list.plugins().iter().find(|plugin| plugin.get("master").is_some());
    let Some(master) = maker.and_then(|plugin| plugin.get("master")?.as_str()) else {
        return Ok(());
    };
    match own.link(master).await? {
        Some(link) if link.mtu < mtu => Err(Error::Refused(Refusal::Master {
            conflist: list.name().to_owned(),
            mtu,
            master: master.to_owned(),
            most: link.mtu,
        })),
        _ => Ok(()),
    }
}
