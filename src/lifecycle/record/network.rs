//! A Docker network, as it is kept on disk.

use serde::{Deserialize, Serialize};

use crate::cnm::{IpamData, NetworkId, NetworkOptions, PortBinding};
use crate::state::{Content, Record};

/// A Docker network. Docker never tells about it again, so this is all there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) id: NetworkId,
    /// Name of the conflist that its containers are attached by: read anew for each, as a
    /// kubelet does.
    pub(crate) conflist: String,
    pub(crate) options: NetworkOptions,
    /// The pools that Docker's IPAM has for the network.
    #[serde(default)]
    pub(crate) pools: Vec<IpamData>,
    /// Ports that containers on this network publish by another one, a list for each container: see
    /// [`crate::lifecycle::ports`].
    #[serde(default)]
    pub(crate) published_elsewhere: Vec<Vec<PortBinding>>,
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
