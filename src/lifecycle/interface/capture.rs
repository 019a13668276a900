//! What ADD left in the staging namespace, told apart from what every namespace has.

use std::path::Path;

use crate::lifecycle::interface::kernels::forget_the_kernels;
use crate::lifecycle::record::{Attachment, Settings};
use crate::lifecycle::{Error, Inner, Result};
use crate::netlink::sysctl::{Scope, Sysctls};
use crate::netlink::{Netlink, Snapshot, sysctl};
use crate::netns;

/// What a namespace has before any plugin has run in it.
#[derive(Debug)]
pub(crate) struct Fresh {
    settings: Settings,
    /// Links that the kernel puts into every namespace.
    links: Vec<String>,
}

impl Inner {
    /// Reads what netlink tells of what ADD left in the staging namespace, but for what the
    /// kernel has put into every namespace.
    ///
    /// # Errors
    /// The chain left a further link there, which nobody can hand over.
    pub(crate) async fn snapshot(
        &self,
        attachment: &Attachment,
        staging: &Netlink,
        index: u32,
        fresh: &Fresh,
    ) -> Result<Snapshot> {
        let mut snapshot = staging.snapshot(index).await?;
        let further = snapshot.further_links.iter().map(|link| &link.name);
        if let Some(name) = further.into_iter().find(|name| !fresh.links.contains(name)) {
            return Err(Error::FurtherLink {
                conflist: attachment.list.name().to_owned(),
                name: name.clone(),
            });
        }
        forget_the_kernels(&mut snapshot);
        Ok(snapshot)
    }

    /// Reads the settings that the chain has changed, unless it was done: at Join, while the
    /// interface is in staging yet. They are some hundred files, which CreateEndpoint has no
    /// need of: dockerd calls that for one endpoint of a network after another.
    ///
    /// # Errors
    /// The interface is gone, or the settings cannot be read.
    pub(crate) async fn read_settings(&self, attachment: &mut Attachment) -> Result<()> {
        let Some(interface) = &mut attachment.interface else { return Ok(()) };
        if interface.settings.is_none() {
            let path = &attachment.staging;
            let of_link = Scope::Link(attachment.parameters.if_name.clone());
            let read = tokio::try_join!(
                sysctl::read(path, &of_link),
                sysctl::read(path, &Scope::Namespace),
            );
            let (link, namespace) = read.map_err(|error| match error.is_not_found() {
                true => Error::InterfaceGone {
                    endpoint: attachment.endpoint.clone(),
                    if_name: attachment.parameters.if_name.clone(),
                },
                false => error.into(),
            })?;
            let Fresh { settings: fresh, .. } = self.fresh().await?;
            interface.settings = Some(Settings {
                link: changed(link, &fresh.link),
                namespace: changed(namespace, &fresh.namespace),
            });
        }
        Ok(())
    }

    /// What a fresh namespace is like; looked up once.
    pub(crate) async fn fresh(&self) -> Result<&Fresh> {
        self.fresh.get_or_try_init(|| Fresh::look(&self.netns_dir)).await
    }
}

impl Fresh {
    /// Name of the namespace that is made to be looked at.
    const NAME: &str = "fresh";

    /// Removes what a crash left of it.
    pub(crate) async fn clear(netns_dir: &Path) -> Result<()> {
        Ok(netns::remove(&netns_dir.join(Self::NAME)).await?)
    }

    /// Whether the kernel puts a link of this name into every namespace.
    pub(crate) fn has(&self, link: &str) -> bool {
        self.links.iter().any(|name| name == link)
    }

    /// Makes a namespace with an interface, reads it, and removes it.
    async fn look(netns_dir: &Path) -> Result<Self> {
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
            Ok(Self { settings: Settings { link, namespace }, links })
        };
        let fresh = read.await;
        netns::remove(&path).await?;
        fresh
    }
}

/// What is set otherwise than in a fresh namespace.
fn changed(mut settings: Sysctls, fresh: &Sysctls) -> Sysctls {
    settings.retain(|setting, value| fresh.get(setting) != Some(value));
    settings
}
