//! What a namespace has before any plugin has run in it.

use std::path::Path;

use tokio::sync::Mutex;

use crate::lifecycle::error::Result;
use crate::lifecycle::record::Settings;
use crate::netlink::Netlink;
use crate::netns;
use crate::sysctl::{self, Scope};

/// What a namespace has before any plugin has run in it.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) settings: Settings,
    /// Links that the kernel puts into every namespace.
    pub(crate) links: Vec<String>,
    /// Held while a fresh namespace is made and read.
    pub(super) looking: Mutex<()>,
}

impl Fresh {
    /// Name of the namespace that is made for this.
    const NAME: &str = "fresh";

    /// Removes a namespace that a crash left.
    pub(crate) async fn clear(netns_dir: &Path) -> Result<()> {
        Ok(netns::remove(&netns_dir.join(Self::NAME)).await?)
    }

    /// Whether the kernel puts a link of this name into every namespace.
    pub(crate) fn has(&self, link: &str) -> bool {
        self.links.iter().any(|name| name == link)
    }

    /// Makes a namespace with an interface, reads it, and removes it.
    pub(crate) async fn look(netns_dir: &Path) -> Result<Self> {
        const LINK: &str = "fresh";
        Self::clear(netns_dir).await?;
        let path = netns_dir.join(Self::NAME);
        netns::create(&path).await?;
        let read = async {
            let netlink = Netlink::in_netns(&path).await?;
            let links = netlink.links().await?.into_iter().map(|link| link.name).collect();
            let namespace = sysctl::read(&path, &Scope::Namespace).await?;
            netlink.add_veth(LINK, "peer").await?;
            let link = sysctl::read(&path, &Scope::Link(LINK.into())).await?;
            Ok(Self { settings: Settings { link, namespace }, links, looking: Mutex::default() })
        };
        let fresh = read.await;
        netns::remove(&path).await?;
        fresh
    }
}
