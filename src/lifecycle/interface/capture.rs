//! What ADD left in the staging namespace, told apart from what every namespace has.

use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host::kernels::forget_the_kernels;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::fresh::Fresh;
use crate::lifecycle::record::{Attachment, Settings};
use crate::netlink::{Netlink, Snapshot};
use crate::sysctl;
use crate::sysctl::{Scope, Sysctls};

impl Interfaces {
    /// Reads what netlink tells of what ADD left in the staging namespace, but for what the
    /// kernel has put into every namespace.
    ///
    /// # Errors
    /// The chain left a further link there, which Docker cannot take.
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
        let unread = attachment.interface.as_ref().filter(|made| made.settings.is_none());
        if unread.is_none() {
            return Ok(());
        }
        let path = &attachment.staging;
        let of_link = Scope::Link(attachment.parameters.if_name.clone());
        let read =
            tokio::try_join!(sysctl::read(path, &of_link), sysctl::read(path, &Scope::Namespace),);
        let (link, namespace) = read.map_err(|error| match error.is_not_found() {
            true => attachment.gone(),
            false => error.into(),
        })?;
        let Fresh { settings: fresh, .. } = self.fresh().await?;
        if let Some(interface) = &mut attachment.interface {
            if let Some(setting) = interface.users.link.keys().find(|it| !link.contains_key(*it)) {
                let setting = sysctl::name(&Scope::Link("IFNAME".to_owned()), setting);
                return Err(Error::NoSetting { setting });
            }
            interface.settings = Some(Settings {
                link: changed(link, &fresh.link),
                namespace: changed(namespace, &fresh.namespace),
            });
        }
        Ok(())
    }
}

/// What is set otherwise than in a fresh namespace.
fn changed(mut settings: Sysctls, fresh: &Sysctls) -> Sysctls {
    settings.retain(|setting, value| fresh.get(setting) != Some(value));
    settings
}
