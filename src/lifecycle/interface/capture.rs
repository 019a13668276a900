//! What ADD left in the staging namespace, without what every namespace has.

use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host::kernels::drop_kernel_entries;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::fresh::Fresh;
use crate::lifecycle::record::{Attachment, Further, Made, Settings};
use crate::netlink::{Link, Netlink, Snapshot};
use crate::sysctl;
use crate::sysctl::{Scope, Sysctls};

impl Interfaces {
    /// Reads by netlink what ADD left in the staging namespace, without what the kernel puts into every
    /// namespace: the interface, and further links.
    ///
    /// # Errors
    /// The chain left a further link there that cannot be carried over.
    pub(crate) async fn snapshot(
        &self,
        attachment: &Attachment,
        staging: &Netlink,
        index: u32,
        fresh: &Fresh,
    ) -> Result<(Snapshot, Vec<Further>)> {
        let mut snapshot = staging.snapshot(index).await?;
        let mut further = Vec::new();
        for link in snapshot.further_links.iter().filter(|link| !fresh.has(&link.name)) {
            if let Some(reason) = stays(link) {
                let (conflist, name) = (attachment.list.name().to_owned(), link.name.clone());
                return Err(Error::FurtherLink { conflist, name, reason });
            }
            let mut snapshot = staging.snapshot(link.index).await?;
            drop_kernel_entries(&mut snapshot);
            // They are the namespace's, and kept with the interface.
            snapshot.rules.clear();
            let scope = Scope::Link(link.name.clone());
            let settings = sysctl::read(&attachment.staging, &scope).await?;
            further.push(Further { snapshot, settings: changed(settings, &fresh.settings.link) });
        }
        drop_kernel_entries(&mut snapshot);
        Ok((snapshot, further))
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

/// Why a further link cannot be carried over to a container; none if it can.
fn stays(link: &Link) -> Option<String> {
    const DOCKERS: &str = "eth";
    /// The kernel does not move these to another namespace, and what they connect would have to be connected
    /// again there.
    const BOUND: [&str; 7] = ["bridge", "vrf", "bond", "team", "openvswitch", "hsr", "batadv"];
    let kind = link.kind.as_deref().unwrap_or("device");
    let numbered = link.name.strip_prefix(DOCKERS);
    match () {
        () if BOUND.contains(&kind) => {
            Some(format!("the kernel does not move a {kind} to another network namespace"))
        }
        () if link.controller.is_some() => {
            Some(format!("the {kind} belongs to another link, which it would lose on the way"))
        }
        () if numbered.is_some_and(|it| it.parse::<u32>().is_ok()) => Some(
            "its name is one of those that Docker gives to interfaces, eth0, eth1 and so on"
                .to_owned(),
        ),
        () => None,
    }
}

/// The settings that differ from a fresh namespace.
fn changed(mut settings: Sysctls, fresh: &Sysctls) -> Sysctls {
    settings.retain(|setting, value| fresh.get(setting) != Some(value));
    settings
}
