//! A Docker network, as it is kept on disk.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cni::NetworkConfigList;
use crate::cnm::{IpamData, NetworkId, NetworkOptions, Pool, PortBinding};
use crate::state::{Content, Record};
use crate::translate;

/// A Docker network. Docker describes it only once, so this record is all that the driver has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) id: NetworkId,
    /// Name of the conflist that attaches its containers. The conflist is read anew for each, as a kubelet
    /// does.
    pub(crate) conflist: String,
    pub(crate) options: NetworkOptions,
    /// The pools that Docker's IPAM has for the network.
    #[serde(default)]
    pub(crate) pools: Vec<IpamData>,
    /// Ports that containers on this network publish through another network, a list for each container:
    /// see [`crate::lifecycle::ports`].
    #[serde(default)]
    pub(crate) published_elsewhere: Vec<Vec<PortBinding>>,
    /// Its own chain, if it has one: the built-in chain, made for this network alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) own_chain: Option<NetworkConfigList>,
    /// The subnets by which a network on a user's conflist is isolated; none if it is not.
    #[serde(rename = "apart", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) isolated_subnets: Vec<IpNet>,
    /// Docker has removed it. What its own chain has left on the host is removed with its last attachment.
    #[serde(default)]
    pub(crate) removed: bool,
}

impl Network {
    /// Whether its containers are isolated from those of other networks.
    pub(crate) fn is_isolated(&self) -> bool {
        match self.own_chain {
            Some(_) => self.options.isolate.unwrap_or(true),
            None => !self.isolated_subnets.is_empty(),
        }
    }

    /// The bridge that only this network has, and that is removed with it.
    pub(crate) fn own_bridge(&self) -> Option<&str> {
        self.own_chain.as_ref()?.plugins().first()?.get("bridge")?.as_str()
    }

    /// Its known subnets: those of its own chain, and Docker's pools.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = IpNet> {
        let own = self.own_chain.iter().flat_map(|chain| translate::prospects(chain).subnets);
        own.chain(self.pools.iter().filter_map(|data| match data.pool {
            Pool::Subnet(subnet) => Some(subnet),
            Pool::Unmanaged => None,
        }))
    }
}

impl Record for Network {
    const FOLDER: &'static str = "networks";
    const VERSION: u32 = 1;
    type Form = Self;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn form(&self) -> Self {
        self.clone()
    }

    fn read(_: u32, content: Content<'_>) -> Result<Self, String> {
        content.parse()
    }
}
