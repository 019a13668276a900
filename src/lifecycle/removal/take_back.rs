//! Runs DEL on an interface that is as ADD left it.

use super::{Removals, traces};
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::host::{host_side, masquerade};
use crate::lifecycle::lease;
use crate::lifecycle::ports::publish;
use crate::lifecycle::record::Attachment;

impl Removals {
    /// Makes the interface what ADD left, runs DEL, and forgets the attachment.
    ///
    /// # Errors
    /// A step failed. The record stays, so that DEL can be run again.
    pub(crate) async fn take_back(&self, attachment: &Attachment) -> Result<()> {
        if attachment.removal().is_some_and(|removal| removal.plugins_run == Some(0)) {
            return self.release_all(attachment).await;
        }
        if attachment.publishing {
            // The plugins of a driver that was killed may go on.
            self.chains.end_strays([attachment.id.to_string()].into()).await;
        }
        let again = attachment.removal().is_some_and(|removal| !removal.is_first_attempt());
        // Before the interface is taken out: if it is still in the container, nobody has called Leave.
        if let Err(error) = lease::release(&self.chains, attachment).await {
            tracing::warn!(attachment = %attachment.id, error = chain(&error),
                "its lease is not released, and runs out");
        }
        // In parallel: neither needs the other, and DEL begins after both.
        let (withdrawn, mut restored) = tokio::join!(
            self.withdrawals.withdraw(attachment.id),
            self.interfaces.restore(attachment, again)
        );
        if let Err(error) = &restored {
            // DEL runs nevertheless: it may remove other things.
            tracing::warn!(attachment = %attachment.id, error = chain(error),
                "the plugins may miss rules that they find by live addresses");
        }
        let Attachment { list, parameters, .. } = attachment;
        let mut ended = self.chains.del(list, parameters, attachment.result()).await;
        if let Err(error) = &ended
            && !again
            && masquerade::is_lost(attachment).await
        {
            tracing::info!(attachment = %attachment.id, error = chain(error),
                "DEL missed rules that the host has lost, and runs once more without them");
            restored = self.interfaces.restore(attachment, true).await;
            ended = self.chains.del(list, parameters, attachment.result()).await;
        }
        if let Err(error) = ended {
            self.leave_nothing(attachment, error, restored.is_ok()).await?;
        }
        if let Err(error) = traces::clear(attachment) {
            tracing::warn!(attachment = %attachment.id, error = chain(&error),
                "a file of plugin \"tuning\" is left");
        }
        host_side::end_veth(&self.interfaces.own_background, attachment).await?;
        withdrawn?;
        publish::forget_flows(attachment).await;
        self.release_all(attachment).await
    }

    /// Makes sure that a failed DEL has left nothing: plugins may fail because there is nothing to remove,
    /// for example after a failed ADD. `in_place` means that the interface, if it exists, is in staging.
    ///
    /// # Errors
    /// DEL's error, if something is left, or may be.
    async fn leave_nothing(
        &self,
        attachment: &Attachment,
        error: Error,
        in_place: bool,
    ) -> Result<()> {
        let id = attachment.id;
        let left = match in_place {
            true => traces::left_by(&self.interfaces, attachment).await,
            false => return Err(error),
        };
        match left {
            Ok(None) => {
                tracing::warn!(attachment = %id, error = chain(&error),
                    "DEL failed, and nothing of the attachment is on the host: it is forgotten");
                Ok(())
            }
            Ok(Some(trace)) => {
                tracing::debug!(attachment = %id, trace, "DEL failed, and something is left");
                Err(error)
            }
            Err(unknown) => {
                tracing::debug!(attachment = %id, error = chain(&unknown),
                    "DEL failed, and the host does not tell what is left");
                Err(error)
            }
        }
    }
}
