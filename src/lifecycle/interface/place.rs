//! The place of an attachment's interface.
//!
//! Every version of Docker takes an interface only from Docker's own namespace, so Join puts it there.
//! Afterwards Docker moves it into the container, and back before it calls DeleteEndpoint. A container that
//! is killed may keep it or lose it. So its place is looked up each time.

use std::path::Path;

use crate::lifecycle::error::Result;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::record::Attachment;
use crate::netlink::{Link, Netlink};
use crate::netns;

/// The place of an interface, with a handle to change it there.
pub(crate) enum Place {
    /// In the staging namespace.
    Staging(Netlink, Link),
    /// In the namespace that dockerd and this program share.
    Own(Link),
    /// In the container's namespace, under a name that Docker gave it.
    Sandbox(Netlink, Link),
    /// Nowhere: it was deleted, or was lost with its namespace.
    Nowhere,
}

impl Interfaces {
    /// Looks for the interface in every place where it can be.
    pub(crate) async fn locate(&self, attachment: &Attachment) -> Result<Place> {
        self.locate_by(&self.own, attachment).await
    }

    /// As [`Interfaces::locate`], for background work.
    pub(crate) async fn locate_in_background(&self, attachment: &Attachment) -> Result<Place> {
        self.locate_by(&self.own_background, attachment).await
    }

    async fn locate_by(&self, own: &Netlink, attachment: &Attachment) -> Result<Place> {
        let if_name = &attachment.parameters.if_name;
        if let Some(staging) = inside(&attachment.staging).await?
            && let Some(link) = staging.link(if_name).await?
        {
            return Ok(Place::Staging(staging, link));
        }
        if let Some(link) = own.link(if_name).await? {
            return Ok(Place::Own(link));
        }
        if let (Some(sandbox), Some(made)) = (attachment.sandbox(), attachment.snapshot())
            && let Some(sandbox) = inside(sandbox).await?
            && let Some(link) = renamed(&made.link, sandbox.links().await?)
        {
            return Ok(Place::Sandbox(sandbox, link));
        }
        Ok(Place::Nowhere)
    }

    /// The link in the container that has all of the interface but its MAC, which the container may have
    /// changed; none if there is none, or more than one.
    pub(crate) async fn with_another_mac(&self, attachment: &Attachment) -> Result<Option<Link>> {
        let (Some(sandbox), Some(made)) = (attachment.sandbox(), attachment.snapshot()) else {
            return Ok(None);
        };
        let Some(sandbox) = inside(sandbox).await? else { return Ok(None) };
        let mut alike = sandbox.links().await?.into_iter().filter(|link| {
            link.parent.is_some() && link.mac != made.link.mac && is_of_same_make(&made.link, link)
        });
        Ok(alike.next().filter(|_| alike.next().is_none()))
    }
}

/// Makes the staging namespace, unless it exists.
pub(crate) async fn stage(path: &Path) -> Result<()> {
    if netns::identity(path)?.is_none() {
        netns::create(path).await?;
    }
    Ok(())
}

/// A handle on the namespace at `path`; none if there is no namespace, or not any more: a container may end
/// meanwhile.
pub(super) async fn inside(path: &Path) -> Result<Option<Netlink>> {
    if netns::identity(path)?.is_none() {
        return Ok(None);
    }
    match Netlink::in_netns(path).await {
        Err(error) if error.is_not_found() => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// Which of a container's links ADD made; none if it is gone. Docker renamed it, and has got its MAC from
/// us. A bridge or VLAN that the container makes on top of it has the same MAC, and may outlive it. But
/// only ADD's link has this kind together with this peer or lower link.
fn renamed(made: &Link, links: Vec<Link>) -> Option<Link> {
    let has_mac = |link: &Link| made.mac.is_some() && link.mac == made.mac;
    links.into_iter().find(|link| has_mac(link) && is_of_same_make(made, link))
}

/// Whether the link has the kind of ADD's, and its peer or lower link.
fn is_of_same_make(made: &Link, link: &Link) -> bool {
    let same_parent = match (link.parent, made.parent) {
        (Some(one), Some(other)) => one == other,
        // A kernel may leave the index out if it is the link's own.
        _ => true,
    };
    let is_elsewhere = |link: &Link| link.parent_namespace.is_some();
    link.kind == made.kind && same_parent && is_elsewhere(link) == is_elsewhere(made)
}
