//! Further links that a chain made in its namespace, beside the interface.
//!
//! Docker knows nothing of them. They wait in staging until the interface is in the container, and are moved
//! there directly, under their own names. At Leave they come back, before DEL looks for them.
//!
//! The kernel does not move a bridge. So it stays in staging, and another one like it is made in the container;
//! ports lose their bridge on the way, and get it again.

use std::path::Path;

use super::change::Live;
use super::desired::{Desired, has_ipv6};
use super::place::{inside, stage};
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::{Attachment, Further, Joined, Port, Settings};
use crate::netlink::{BridgeSettings, Link, Netlink};
use crate::netns;

impl Further {
    fn name(&self) -> &str {
        &self.snapshot.link.name
    }

    /// The link in a namespace where it may have been renamed; none if it is not there.
    async fn find(&self, netlink: &Netlink) -> Result<Option<Link>> {
        let links = netlink.links().await?;
        let made = &self.snapshot.link;
        // A bridge of this name may be another chain's, or the container's: ours was never moved here.
        let ours = |link: &&Link| self.bridge.is_none() || link.mac == made.mac;
        let named = |link: &&Link| link.name == made.name && link.kind == made.kind && ours(link);
        // Not by what is below or opposite: that may have been moved as well, and have another index.
        let same =
            |link: &&Link| made.mac.is_some() && link.mac == made.mac && link.kind == made.kind;
        Ok(links.iter().find(named).or_else(|| links.iter().find(same)).cloned())
    }

    /// Has the link in the container: moved there from staging, or made there, unless it is there.
    async fn arrive(
        &self,
        staging: Option<&Netlink>,
        joined: Joined<'_>,
        sandbox: &Netlink,
    ) -> Result<Link> {
        if let Some(settings) = &self.bridge {
            return match self.find(sandbox).await? {
                Some(link) => Ok(link),
                None => self.make(sandbox, settings).await,
            };
        }
        let waiting = match staging {
            Some(staging) => staging.link(self.name()).await?.map(|link| (staging, link)),
            None => None,
        };
        let link = match waiting {
            Some((staging, link)) => {
                staging.move_to(link.index, &netns::open(joined.sandbox())?).await?;
                sandbox.link(self.name()).await?
            }
            None => self.find(sandbox).await?,
        };
        link.ok_or_else(|| self.gone())
    }

    /// Makes a bridge.
    async fn make(&self, netlink: &Netlink, settings: &BridgeSettings) -> Result<Link> {
        netlink.add_bridge(&self.snapshot.link, settings).await?;
        netlink.link(self.name()).await?.ok_or_else(|| self.gone())
    }

    fn gone(&self) -> Error {
        Error::FurtherGone { name: self.name().to_owned() }
    }

    fn settings(&self) -> Settings {
        let mut link = self.settings.clone();
        if has_ipv6(&self.snapshot) {
            // In a container where Docker knows no IPv6 address it is off for links that arrive.
            link.entry("ipv6/conf/disable_ipv6".to_owned()).or_insert_with(|| "0".to_owned());
        }
        Settings { link, ..Settings::default() }
    }

    /// The bridge that this link should be a port of, and is not.
    fn misses_bridge<'l>(
        &'l self,
        link: &Link,
        links: &'l [(&Further, Link)],
    ) -> Option<(&'l Port, &'l Link)> {
        let port = self.port.as_ref()?;
        let (_, bridge) = links.iter().find(|(it, _)| it.name() == port.bridge)?;
        (link.controller != Some(bridge.index)).then_some((port, bridge))
    }

    fn desired<'d>(&'d self, settings: &'d Settings, default_routes: bool) -> Desired<'d> {
        Desired {
            snapshot: &self.snapshot,
            addresses: &self.snapshot.addresses,
            settings: Some(settings),
            told: &[],
            gateways: &[],
            dockers: &[],
            others_have_host_routes: false,
            default_routes,
        }
    }
}

/// Moves the further links into the container, unless they are there, and makes them what ADD left.
///
/// # Errors
/// One is lost, the container has another link of that name, or the kernel refuses a change.
pub(crate) async fn bring(joined: Joined<'_>, sandbox: &Netlink) -> Result<()> {
    if joined.made.further.is_empty() {
        return Ok(());
    }
    let staging = inside(&joined.staging).await?;
    let mut here = Vec::new();
    for further in &joined.made.further {
        here.push((further, further.arrive(staging.as_ref(), joined, sandbox).await?));
    }
    make_alike(joined.sandbox(), sandbox, &here, false).await
}

/// Makes links what ADD left: ports of their bridges, with addresses, routes and settings.
async fn make_alike(
    path: &Path,
    netlink: &Netlink,
    links: &[(&Further, Link)],
    default_routes: bool,
) -> Result<()> {
    for (further, link) in links {
        if let Some((port, bridge)) = further.misses_bridge(link, links) {
            netlink.set_port(link.index, bridge.index, &port.settings).await?;
        }
    }
    for (further, link) in links {
        let settings = further.settings();
        // Ports change the MTU of their bridge.
        let link = match &further.bridge {
            Some(_) => netlink.link_by_index(link.index).await?.ok_or_else(|| further.gone())?,
            None => link.clone(),
        };
        let live = Live { path, netlink, link: &link };
        further.desired(&settings, default_routes).reconcile(&live).await?;
    }
    Ok(())
}

/// What the container lacks of the further links, in words.
///
/// # Errors
/// The kernel does not tell.
pub(crate) async fn differences(joined: Joined<'_>, sandbox: &Netlink) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let mut here = Vec::new();
    for further in &joined.made.further {
        match further.find(sandbox).await? {
            Some(link) => here.push((further, link)),
            None => {
                differences.push(format!("further interface {} is missing", further.name()));
            }
        }
    }
    for (further, link) in &here {
        let name = further.name();
        if let Some((port, _)) = further.misses_bridge(link, &here) {
            let bridge = &port.bridge;
            differences.push(format!("further interface {name}: it is not a port of {bridge}"));
        }
        let settings = further.settings();
        let live = Live { path: joined.sandbox(), netlink: sandbox, link };
        let changes = further.desired(&settings, false).differences(&live).await?;
        let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let lines = words.iter().flat_map(|words| words.lines());
        differences.extend(lines.map(|line| format!("further interface {name}: {line}")));
    }
    Ok(differences)
}

/// Moves the further links that the container has back into staging, each under its name, and removes the
/// bridges that were made there.
///
/// # Errors
/// The kernel refuses.
pub(crate) async fn take_back(attachment: &Attachment) -> Result<()> {
    let (further, Some(sandbox)) = (attachment.further(), attachment.sandbox()) else {
        return Ok(());
    };
    if further.is_empty() {
        return Ok(());
    }
    let Some(sandbox) = inside(sandbox).await? else { return Ok(()) };
    stage(&attachment.staging).await?;
    for further in further {
        let Some(link) = further.find(&sandbox).await? else { continue };
        if further.bridge.is_some() {
            sandbox.delete_link(link.index).await?;
            continue;
        }
        if link.name != further.name() {
            sandbox.set_down(link.index).await?;
            sandbox.rename(link.index, further.name()).await?;
        }
        sandbox.move_to(link.index, &netns::open(&attachment.staging)?).await?;
    }
    Ok(())
}

/// Makes the further links in staging what ADD left, as far as they are there.
///
/// # Errors
/// The kernel refuses.
pub(crate) async fn restore(attachment: &Attachment, staging: &Netlink) -> Result<()> {
    let mut here = Vec::new();
    for further in attachment.further() {
        match (staging.link(further.name()).await?, &further.bridge) {
            (Some(link), _) => here.push((further, link)),
            // The namespace had to be made anew.
            (None, Some(settings)) => here.push((further, further.make(staging, settings).await?)),
            (None, None) => {}
        }
    }
    make_alike(&attachment.staging, staging, &here, true).await
}
