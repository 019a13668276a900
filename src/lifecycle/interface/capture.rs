//! What ADD left in the staging namespace, without what every namespace has.

use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host::kernels::forget_the_kernels;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::fresh::Fresh;
use crate::lifecycle::record::{Attachment, Made, Settings};
use crate::netlink::{Netlink, Snapshot};
use crate::sysctl;
use crate::sysctl::{Scope, Sysctls};

impl Interfaces {
    /// Reads by netlink what ADD left in the staging namespace, without what the kernel puts into every
    /// namespace.
    ///
    /// # Errors
    /// The chain left another link there, which Docker cannot take.
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

    /// Reads the settings that the chain has changed: at the first Join, while the interface is still in
    /// staging. They are some hundred files. CreateEndpoint does not need them, and must be quick: dockerd
    /// calls it for one endpoint of a network after another.
    ///
    /// # Errors
    /// The interface is gone; the settings cannot be read; or the interface does not have a setting that
    /// the user has decided.
    pub(crate) async fn read_settings(
        &self,
        attachment: &Attachment,
        made: &Made,
    ) -> Result<Settings> {
        let path = &attachment.staging;
        let of_link = Scope::Link(attachment.parameters.if_name.clone());
        let read =
            tokio::try_join!(sysctl::read(path, &of_link), sysctl::read(path, &Scope::Namespace),);
        let (link, namespace) = read.map_err(|error| match error.is_not_found() {
            true => attachment.gone(),
            false => error.into(),
        })?;
        let Fresh { settings: fresh, .. } = self.fresh().await?;
        if let Some(setting) = made.users.link.keys().find(|it| !link.contains_key(*it)) {
            let setting = sysctl::name(&Scope::Link("IFNAME".to_owned()), setting);
            return Err(Error::NoSetting { setting });
        }
        Ok(Settings {
            link: changed(link, &fresh.link),
            namespace: changed(namespace, &fresh.namespace),
        })
    }
}

/// The settings that differ from a fresh namespace.
fn changed(mut settings: Sysctls, fresh: &Sysctls) -> Sysctls {
    settings.retain(|setting, value| fresh.get(setting) != Some(value));
    settings
}
