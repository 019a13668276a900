//! DeleteEndpoint: the intent on disk; then the interface back in staging as ADD left it, and DEL.
//!
//! The reference plugins find what to remove by the *live* addresses of the interface: a
//! DEL that does not see them leaks a masquerade chain for every container. So the
//! addresses are put back first, and an interface that was lost with its namespace gets a
//! stand-in that bears them. An address whose rule is gone already is left out: some versions
//! of the plugins fail for it, each time again.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::error::chain;
use super::orphans::{Cell, Removal};
use super::place::Place;
use super::record::Attachment;
use super::{Driver, Error, Inner, Result, forward, publish, remains};
use crate::cnm::EndpointRequest;
use crate::netlink::{Link, Netlink};
use crate::{netns, translate};

impl Driver {
    /// `NetworkDriver.DeleteEndpoint`. An unknown endpoint is gone already.
    ///
    /// Answered once the intent is on disk, and before DEL has run, unless the configuration
    /// asks for that. Docker forgets the endpoint whatever is answered, so a DEL that fails
    /// is no error to it: see [`mod@super::orphans`].
    pub async fn delete_endpoint(&self, request: EndpointRequest) {
        let inner = &self.inner;
        let mut slot = inner.endpoints.lock(&request.endpoint_id).await;
        let Some(orphan) = inner.release(&mut slot).await else { return };
        if inner.sync_delete {
            // Logged where it failed; it is tried again.
            let _ = inner.remove_now(orphan).await;
        } else {
            inner.remove_soon(orphan);
        }
    }
}

impl Inner {
    /// Takes back whatever there is of the attachment in `slot`, and empties the slot.
    ///
    /// # Errors
    /// What failed. It is tried again in the background.
    pub(super) async fn detach(self: &Arc<Self>, slot: &mut Option<Attachment>) -> Result<()> {
        match self.release(slot).await {
            Some(orphan) => self.remove_now(orphan).await,
            None => Ok(()),
        }
    }

    /// Empties the slot: what was in it is to be deleted, and on record as such.
    pub(super) async fn release(&self, slot: &mut Option<Attachment>) -> Option<Arc<Cell>> {
        let mut attachment = slot.take()?;
        attachment.begin_removal();
        // Docker removes the sandbox once it is answered: what stands in there yet, because
        // Docker could not take it out, would go with it.
        let (kept, rescued) = tokio::join!(self.keep(&attachment), self.rescue(&attachment));
        for (outcome, consequence) in [
            (kept, "should the driver crash now, the attachment leaks"),
            (rescued, "the interface may be lost with its container"),
        ] {
            if let Err(error) = outcome {
                tracing::warn!(attachment = %attachment.id, error = chain(&error), consequence);
            }
        }
        self.sandboxes.leave(&attachment.endpoint);
        Some(self.abandon(attachment))
    }

    /// Moves the interface back into staging, if it stands in the container yet.
    async fn rescue(&self, attachment: &Attachment) -> Result<()> {
        let Place::Sandbox(sandbox, link) = self.locate(attachment).await? else { return Ok(()) };
        take_out(&sandbox, &link, attachment).await
    }

    /// Runs DEL where the interface is as ADD left it, and forgets the attachment.
    ///
    /// # Errors
    /// What failed. The record stays, so that it can be done again.
    pub(super) async fn take_back(&self, attachment: &Attachment) -> Result<()> {
        // At once: neither needs the other, and DEL begins after both.
        let (withdrawn, restored) =
            tokio::join!(forward::withdraw(attachment), self.restore(attachment));
        if let Err(error) = restored {
            // No reason to leave in place what DEL can remove.
            tracing::warn!(attachment = %attachment.id, error = chain(&error),
                "the plugins may miss rules that they find by live addresses");
        }
        let Attachment { list, parameters, result, .. } = attachment;
        let turn = self.turns.beside_others(list.name()).await;
        match result {
            Some(result) => self.runtime.del(list, parameters, Some(result)).await?,
            None => self.runtime.undo(list, parameters).await?,
        }
        drop(turn);
        withdrawn?;
        publish::forget_flows(attachment).await;
        self.let_go(attachment).await
    }

    /// Makes the staging namespace what it was after ADD: the interface with its addresses.
    async fn restore(&self, attachment: &Attachment) -> Result<()> {
        let path = &attachment.staging;
        let if_name = &attachment.parameters.if_name;
        let place = self.locate(attachment).await?;
        let given_back = matches!(place, Place::Own(_) | Place::Sandbox(..));
        stage(path).await?;
        let staging = match place {
            Place::Staging(staging, _) => staging,
            Place::Own(link) => {
                self.own.move_to(link.index, &netns::open(path)?).await?;
                Netlink::in_netns(path).await?
            }
            // After a crash; it was taken out before otherwise.
            Place::Sandbox(sandbox, link) => {
                take_out(&sandbox, &link, attachment).await?;
                Netlink::in_netns(path).await?
            }
            Place::Nowhere => Netlink::in_netns(path).await?,
        };
        // Before ADD has succeeded there is nothing to put back.
        let Some(interface) = &attachment.interface else { return Ok(()) };
        let mut wanted = Cow::Borrowed(&interface.snapshot.addresses);
        let first = attachment.removal.as_ref().is_none_or(Removal::is_first_attempt);
        if translate::masquerades(&attachment.list) && !(given_back && first) {
            // After a reboot, or a DEL that was cut short, rules are gone that the plugins insist
            // on finding for each live address.
            let left = remains::masqueraded(attachment.id).await?;
            wanted.to_mut().retain(|address| left.contains(&address.net.addr()));
        }
        let link = match staging.link(if_name).await? {
            Some(link) => link,
            None if wanted.is_empty() => return Ok(()),
            None => stand_in(&staging, if_name).await?,
        };
        self.restore_in_staging(attachment, &wanted, &staging, &link).await
    }
}

/// Makes the staging namespace, unless it is there.
pub(super) async fn stage(path: &Path) -> Result<()> {
    if netns::identity(path)?.is_none() {
        netns::create(path).await?;
    }
    Ok(())
}

/// Moves the interface from the container's namespace into staging, under its CNI name.
async fn take_out(sandbox: &Netlink, link: &Link, attachment: &Attachment) -> Result<()> {
    stage(&attachment.staging).await?;
    sandbox.set_down(link.index).await?;
    sandbox.rename(link.index, &attachment.parameters.if_name).await?;
    Ok(sandbox.move_to(link.index, &netns::open(&attachment.staging)?).await?)
}

/// An interface in the place of one that was lost, for DEL to find and to delete.
pub(super) async fn stand_in(staging: &Netlink, if_name: &str) -> Result<Link> {
    const PEER: &str = "peer";
    staging.add_veth(if_name, PEER).await?;
    let gone = || Error::StandInGone { if_name: if_name.to_owned() };
    staging.link(if_name).await?.ok_or_else(gone)
}
