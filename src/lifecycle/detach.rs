//! DeleteEndpoint: the interface back in staging as ADD left it, then DEL.
//!
//! The reference plugins find what to remove by the *live* addresses of the interface: a
//! DEL that does not see them leaks a masquerade chain for every container. So the
//! addresses are put back first, and an interface that was lost with its namespace gets a
//! stand-in that bears them.

use super::error::chain;
use super::place::Place;
use super::record::{Attachment, Phase};
use super::{Driver, Error, Inner, Result, forward, publish};
use crate::cnm::EndpointRequest;
use crate::netlink::{Link, Netlink};
use crate::netns;

impl Driver {
    /// `NetworkDriver.DeleteEndpoint`. An unknown endpoint is gone already.
    ///
    /// Docker forgets the endpoint whatever is answered, so a DEL that fails is no error to
    /// it: the attachment stays on record, and DEL runs again when the driver starts.
    pub async fn delete_endpoint(&self, request: EndpointRequest) {
        let mut slot = self.inner.endpoints.lock(&request.endpoint_id).await;
        if let Err(error) = self.inner.detach(&mut slot).await {
            tracing::error!(
                error = chain(&error),
                "the endpoint's attachment could not be removed; it stays on record"
            );
        }
    }
}

impl Inner {
    /// Takes back whatever there is of the attachment in `slot`, and empties the slot.
    ///
    /// # Errors
    /// What failed. Slot and record stay, so that it can be done again.
    pub(super) async fn detach(&self, slot: &mut Option<Attachment>) -> Result<()> {
        let Some(attachment) = slot.as_mut() else { return Ok(()) };
        attachment.phase = Phase::Deleting;
        // At once: none of them needs the others, and DEL begins after all of them.
        let (kept, withdrawn, restored) = tokio::join!(
            self.keep(attachment),
            forward::withdraw(attachment),
            self.restore(attachment)
        );
        // No reason to leave in place what DEL can remove.
        for (outcome, consequence) in [
            (kept, "should the driver crash now, the attachment leaks"),
            (restored, "the plugins may miss rules that they find by live addresses"),
        ] {
            if let Err(error) = outcome {
                tracing::warn!(attachment = %attachment.id, error = chain(&error), consequence);
            }
        }
        let result = attachment.result.as_ref();
        self.runtime.del(&attachment.list, &attachment.parameters, result).await?;
        withdrawn?;
        publish::forget_flows(attachment).await;
        // Before the record goes: what is not shown as held any more can be had.
        self.ports.release(&attachment.endpoint);
        self.sandboxes.leave(&attachment.endpoint);
        netns::remove(&attachment.staging).await?;
        self.attachment_folder.remove(&attachment.id.to_string()).await?;
        *slot = None;
        Ok(())
    }

    /// Makes the staging namespace what it was after ADD: the interface with its addresses.
    async fn restore(&self, attachment: &Attachment) -> Result<()> {
        let path = &attachment.staging;
        let if_name = &attachment.parameters.if_name;
        let place = self.locate(attachment).await?;
        if netns::identity(path)?.is_none() {
            netns::create(path).await?;
        }
        let staging = match place {
            Place::Staging(staging, _) => staging,
            Place::Own(link) => {
                self.own.move_to(link.index, &netns::open(path)?).await?;
                Netlink::in_netns(path).await?
            }
            Place::Sandbox(sandbox, link) => {
                sandbox.set_down(link.index).await?;
                sandbox.rename(link.index, if_name).await?;
                sandbox.move_to(link.index, &netns::open(path)?).await?;
                Netlink::in_netns(path).await?
            }
            Place::Nowhere => Netlink::in_netns(path).await?,
        };
        // Before ADD has succeeded there is nothing to put back.
        if attachment.interface.is_none() {
            return Ok(());
        }
        let link = match staging.link(if_name).await? {
            Some(link) => link,
            None => stand_in(&staging, if_name).await?,
        };
        self.restore_in_staging(attachment, &staging, &link).await
    }
}

/// An interface in the place of one that was lost, for DEL to find and to delete.
async fn stand_in(staging: &Netlink, if_name: &str) -> Result<Link> {
    const PEER: &str = "peer";
    staging.add_veth(if_name, PEER).await?;
    let gone = || Error::StandInGone { if_name: if_name.to_owned() };
    staging.link(if_name).await?.ok_or_else(gone)
}
