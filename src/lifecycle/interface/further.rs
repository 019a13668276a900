//! Further links that a chain made in its namespace, beside the interface.
//!
//! Docker knows nothing of them. They wait in staging until the interface is in the container, and are moved
//! there directly, under their own names. At Leave they come back, before DEL looks for them.

use super::change::Live;
use super::desired::{Desired, has_ipv6};
use super::place::{inside, stage};
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::{Attachment, Further, Joined, Settings};
use crate::netlink::{Link, Netlink};
use crate::netns;

impl Further {
    fn name(&self) -> &str {
        &self.snapshot.link.name
    }

    /// The link in a namespace where it may have been renamed; none if it is not there.
    async fn find(&self, netlink: &Netlink) -> Result<Option<Link>> {
        let links = netlink.links().await?;
        let made = &self.snapshot.link;
        let named = |link: &&Link| link.name == made.name && link.kind == made.kind;
        // Not by what is below or opposite: that may have been moved as well, and have another index.
        let same =
            |link: &&Link| made.mac.is_some() && link.mac == made.mac && link.kind == made.kind;
        Ok(links.iter().find(named).or_else(|| links.iter().find(same)).cloned())
    }

    fn settings(&self) -> Settings {
        let mut link = self.settings.clone();
        if has_ipv6(&self.snapshot) {
            // In a container where Docker knows no IPv6 address it is off for links that arrive.
            link.entry("ipv6/conf/disable_ipv6".to_owned()).or_insert_with(|| "0".to_owned());
        }
        Settings { link, ..Settings::default() }
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
    for further in &joined.made.further {
        let name = further.name();
        let gone = || Error::FurtherGone { name: name.to_owned() };
        let waiting = match &staging {
            Some(staging) => staging.link(name).await?.map(|link| (staging, link)),
            None => None,
        };
        let link = match waiting {
            Some((staging, link)) => {
                staging.move_to(link.index, &netns::open(joined.sandbox())?).await?;
                sandbox.link(name).await?
            }
            None => further.find(sandbox).await?,
        };
        let link = link.ok_or_else(gone)?;
        let settings = further.settings();
        let live = Live { path: joined.sandbox(), netlink: sandbox, link: &link };
        further.desired(&settings, false).reconcile(&live).await?;
    }
    Ok(())
}

/// What the container lacks of the further links, in words.
///
/// # Errors
/// The kernel does not tell.
pub(crate) async fn differences(joined: Joined<'_>, sandbox: &Netlink) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for further in &joined.made.further {
        let name = further.name();
        let Some(link) = further.find(sandbox).await? else {
            differences.push(format!("further interface {name} is missing"));
            continue;
        };
        let settings = further.settings();
        let live = Live { path: joined.sandbox(), netlink: sandbox, link: &link };
        let changes = further.desired(&settings, false).differences(&live).await?;
        let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let lines = words.iter().flat_map(|words| words.lines());
        differences.extend(lines.map(|line| format!("further interface {name}: {line}")));
    }
    Ok(differences)
}

/// Moves the further links that the container has back into staging, each under its name.
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
    for further in attachment.further() {
        let Some(link) = staging.link(further.name()).await? else { continue };
        let settings = further.settings();
        let live = Live { path: &attachment.staging, netlink: staging, link: &link };
        further.desired(&settings, true).reconcile(&live).await?;
    }
    Ok(())
}
