//! Networks: made on a conflist that can do what Docker wants, or refused.

use std::sync::Arc;

use super::record::Network;
use super::{Driver, Error, Inner, Result};
use crate::cni::{ConfigError, NetworkConfigList};
use crate::cnm::{CreateNetworkRequest, DeleteNetworkRequest, NetworkId, NetworkOptions};
use crate::translate;

/// The conflist of a machine that has none: bridge, host-local and portmap.
const EMBEDDED: &[u8] = include_bytes!("../../conflists/cnm-cni-default.conflist");
/// The name inside it.
const EMBEDDED_NAME: &str = "cnm-cni-default";

impl Driver {
    /// `NetworkDriver.CreateNetwork`: finds the conflist, and makes sure that its plugins
    /// are there and that it can serve Docker's pools.
    ///
    /// # Errors
    /// With the reason and the remedy, whatever makes the network unusable.
    pub async fn create_network(&self, request: CreateNetworkRequest) -> Result<()> {
        let inner = &self.inner;
        let options = NetworkOptions::read(&request.options)?;
        // Docker makes few of them. The record and the map change together, whatever else comes.
        let _alone = inner.changing_networks.lock().await;
        let most = inner.most.networks;
        let known = inner.networks().contains_key(&request.network_id);
        if !known && inner.networks().len() >= most {
            return Err(Error::TooMany { what: "networks", most, flag: "--max-networks" });
        }
        let list = inner.conflist(options.conflist.as_deref())?;
        inner.find_plugins(&list)?;
        translate::carries_over(&list)?;
        translate::serves(&list, &request.ipv4)?;
        translate::serves(&list, &request.ipv6)?;
        let network = Network {
            id: request.network_id,
            conflist: list.name().to_owned(),
            options,
            pools: [request.ipv4, request.ipv6].concat(),
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

/// The built-in configuration, which serves a machine that has none.
///
/// # Errors
/// None but by a mistake in this program; a test reads it.
pub fn embedded() -> std::result::Result<NetworkConfigList, ConfigError> {
    NetworkConfigList::parse(EMBEDDED)
}

impl Inner {
    pub(super) fn network(&self, id: &NetworkId) -> Result<Arc<Network>> {
        self.networks().get(id).cloned().ok_or_else(|| Error::UnknownNetwork(id.clone()))
    }

    /// The conflist of that name; without a name the first one in file-name order, as a
    /// kubelet chooses. The embedded one stands behind both.
    pub(super) fn conflist(&self, name: Option<&str>) -> Result<NetworkConfigList> {
        let found = match name {
            Some(EMBEDDED_NAME) => match self.conf_dir.load(EMBEDDED_NAME) {
                Err(ConfigError::NotFound { .. }) => None,
                found => Some(found?),
            },
            Some(name) => Some(self.conf_dir.load(name)?),
            None => self.conf_dir.first()?,
        };
        let list = match found {
            Some(list) => list,
            None => embedded()?,
        };
        // The loopback interface of a container is Docker's; that of staging is up already.
        Ok(list.without("loopback"))
    }

    /// Looks for every plugin of the chain, and for the IPAM plugins that they run; others than root
    /// may not be able to change them.
    pub(super) fn find_plugins(&self, list: &NetworkConfigList) -> Result<()> {
        self.runtime.find_all(list).map_err(|source| Error::Plugin {
            conflist: list.name().to_owned(),
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_conflist_is_sound_and_publishes_ports() {
        let list = embedded().unwrap();
        assert_eq!(list.name(), EMBEDDED_NAME);
        assert!(list.declares("portMappings"));
    }
}
