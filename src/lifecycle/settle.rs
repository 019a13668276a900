//! Settle: what Docker cannot carry over is put back.
//!
//! Docker moves the interface and sets one IPv4 and one IPv6 address, a gateway and plain
//! routes. All else that a chain made in its namespace is lost on the way, or stays behind
//! in staging: further addresses, routes with their attributes, rules, neighbours,
//! sysctls. So what ADD left is read into a [`Snapshot`], and one reconciler
//! ([`super::reconcile`]) makes the interface like it again, *desired less actual*: in the
//! container once Docker has put the interface there, and in staging before DEL.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::place::Place;
use super::reconcile::{Desired, Live, forget_the_kernels, own_rules};
use super::record::{Attachment, Phase};
use super::{Error, Inner, Result};
use crate::netlink::sysctl::{self, Scope, Sysctls};
use crate::netlink::{Address, Link, Netlink, Snapshot};
use crate::netns;

/// Settings that a chain has changed, below `/proc/sys/net`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) link: Sysctls,
    pub(super) namespace: Sysctls,
}

/// What a namespace has before any plugin has run in it.
#[derive(Debug)]
pub(super) struct Fresh {
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
    pub(super) async fn snapshot(
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
    pub(super) async fn read_settings(&self, attachment: &mut Attachment) -> Result<()> {
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

    /// Makes the container's interface what ADD made it, if Docker has put it in place.
    /// Done once: what the container changes afterwards is its own business.
    pub(super) async fn settle(self: &Arc<Self>, attachment: &mut Attachment) -> Result<()> {
        if attachment.phase != Phase::Joined {
            return Ok(());
        }
        match self.locate(attachment).await? {
            Place::Sandbox(netlink, link) => self.settle_there(attachment, &netlink, &link).await,
            _ => Ok(()),
        }
    }

    /// Settles the interface that was found in the container's namespace.
    pub(super) async fn settle_there(
        self: &Arc<Self>,
        attachment: &mut Attachment,
        netlink: &Netlink,
        link: &Link,
    ) -> Result<()> {
        let Some(sandbox) = &attachment.sandbox else { return Ok(()) };
        let (Some(told), Some(interface), Some(snapshot)) =
            (attachment.join_answer(), &attachment.interface, attachment.snapshot_in_sandbox())
        else {
            return Ok(());
        };
        let desired = Desired {
            snapshot: &snapshot,
            addresses: &snapshot.addresses,
            settings: interface.settings.as_ref(),
            told: &told.static_routes,
            gateways: &told.gateways(),
            dockers: &[],
            others_have_host_routes: attachment.widened > 0,
            default_routes: false,
        };
        desired.reconcile(&Live { path: sandbox, netlink, link }).await?;
        self.straighten(attachment, false).await?;
        attachment.phase = Phase::Settled;
        // A container waits for this; settling once more after a crash does no harm.
        self.keep_soon(attachment).await;
        Ok(())
    }

    /// Makes the interface in staging what ADD made it, for DEL to find, with these addresses.
    pub(super) async fn restore_in_staging(
        &self,
        attachment: &Attachment,
        addresses: &[Address],
        staging: &Netlink,
        link: &Link,
    ) -> Result<()> {
        let Some(interface) = &attachment.interface else { return Ok(()) };
        let desired = Desired {
            snapshot: &interface.snapshot,
            addresses,
            settings: interface.settings.as_ref(),
            told: &[],
            gateways: &[],
            dockers: &[],
            others_have_host_routes: false,
            default_routes: true,
        };
        desired.reconcile(&Live { path: &attachment.staging, netlink: staging, link }).await
    }

    /// Takes the rules back that were added to the container's namespace: unlike all else,
    /// they do not go with the interface.
    pub(super) async fn unsettle(&self, attachment: &Attachment) -> Result<()> {
        let (Phase::Settled, Some(snapshot)) = (attachment.phase, attachment.snapshot_in_sandbox())
        else {
            return Ok(());
        };
        if own_rules(&snapshot, "").next().is_none() {
            return Ok(());
        }
        let Place::Sandbox(netlink, link) = self.locate(attachment).await? else { return Ok(()) };
        for rule in own_rules(&snapshot, &link.name) {
            netlink.remove_rule(&rule).await?;
        }
        Ok(())
    }

    /// What a fresh namespace is like; looked up once.
    pub(super) async fn fresh(&self) -> Result<&Fresh> {
        self.fresh.get_or_try_init(|| Fresh::look(&self.netns_dir)).await
    }
}

impl Fresh {
    /// Name of the namespace that is made to be looked at.
    const NAME: &str = "fresh";

    /// Removes what a crash left of it.
    pub(super) async fn clear(netns_dir: &Path) -> Result<()> {
        Ok(netns::remove(&netns_dir.join(Self::NAME)).await?)
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
