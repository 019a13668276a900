//! Settle: what Docker cannot carry over is put back.
//!
//! Docker moves the interface and sets one IPv4 and one IPv6 address, a gateway and plain
//! routes. All else that a chain made in its namespace is lost on the way, or stays behind
//! in staging: further addresses, routes with their attributes, rules, neighbours,
//! sysctls. So what ADD left is read into a snapshot, and one reconciler
//! ([`super::reconcile`]) makes the interface like it again, *desired less actual*: in the
//! container once Docker has put the interface there, and in staging before DEL.

use crate::lifecycle::error::Result;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::kernels::own_rules;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::interface::reconcile::{Desired, Live};
use crate::lifecycle::record::{Attachment, Phase};
use crate::netlink::{Link, Netlink};

impl Interfaces {
    /// Makes the container's interface what ADD made it, if Docker has put it in place.
    /// Done once: what the container changes afterwards is its own business. Whether it was done now.
    pub(crate) async fn settle(&self, attachment: &mut Attachment) -> Result<bool> {
        if attachment.phase != Phase::Joined {
            return Ok(false);
        }
        match self.locate(attachment).await? {
            Place::Sandbox(netlink, link) => self.settle_there(attachment, &netlink, &link).await,
            _ => Ok(false),
        }
    }

    /// Settles the interface that was found in the container's namespace.
    pub(crate) async fn settle_there(
        &self,
        attachment: &mut Attachment,
        netlink: &Netlink,
        link: &Link,
    ) -> Result<bool> {
        let Some(sandbox) = &attachment.sandbox else { return Ok(false) };
        let (Some(told), Some(interface), Some(snapshot)) =
            (attachment.join_answer(), &attachment.interface, attachment.snapshot_in_sandbox())
        else {
            return Ok(false);
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
        self.align_default_route(attachment, false).await?;
        attachment.phase = Phase::Settled;
        Ok(true)
    }

    /// Takes the rules back that were added to the container's namespace: unlike all else,
    /// they do not go with the interface.
    pub(crate) async fn unsettle(&self, attachment: &Attachment) -> Result<()> {
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
}
