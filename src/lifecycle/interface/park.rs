//! The interface of a spare waits in the namespace where Docker takes interfaces from, so that Join does not
//! move it: the kernel needs 20 ms for that. It is down there, and has no addresses.
//!
//! Programs of the host see it. udev would give it another MAC, because the kernel chose its first one: so
//! that is set once more, and counts as chosen by somebody. What else changes it makes the spare useless,
//! which is noticed before an endpoint gets it.

use crate::lifecycle::error::Result;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::record::{Attachment, HostLink, Spare};
use crate::netlink::{Link, Netlink};
use crate::netns;

impl Interfaces {
    /// Moves the interface from staging to where Docker takes it.
    pub(crate) async fn park(&self, spare: &Spare) -> Result<()> {
        let staging = Netlink::in_netns(&spare.staging).await?;
        let Some(link) = staging.link(&spare.parameters.if_name).await? else {
            return Err(spare.gone());
        };
        if let Some(mac) = link.mac {
            // A kind of link that shares the MAC of another refuses, and udev leaves it alone.
            if let Err(error) = staging.set_mac(link.index, mac).await {
                tracing::debug!(attachment = %spare.id, %error, "the MAC address is not set again");
            }
        }
        Ok(staging.move_to(link.index, &netns::own()?).await?)
    }

    /// Whether the interface is where it was parked, as it was then, and so is the link of the host that it
    /// leads to.
    pub(crate) async fn is_parked(&self, spare: &Attachment) -> Result<bool> {
        let made = &spare.made()?.snapshot.link;
        let Some(link) = self.own.link(&spare.parameters.if_name).await? else { return Ok(false) };
        let as_made = !link.up
            && (link.mac, link.mtu, &link.kind) == (made.mac, made.mtu, &made.kind)
            && link.controller.is_none();
        let seen = spare.host_side().and_then(|side| side.links.first());
        match (as_made, link.parent, seen) {
            (true, Some(index), Some(seen)) => {
                let behind = self.own.link_by_index(index).await?;
                Ok(behind.is_some_and(|behind| is_as_seen(&behind, seen)))
            }
            (as_made, ..) => Ok(as_made),
        }
    }
}

fn is_as_seen(link: &Link, seen: &HostLink) -> bool {
    link.name == seen.name
        && link.up == seen.up
        && link.controller.is_some() == seen.controller.is_some()
}
