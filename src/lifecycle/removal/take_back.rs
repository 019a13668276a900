//! DEL itself, where the interface is as ADD left it.

use crate::lifecycle::error::Result;
use crate::lifecycle::error::chain;
use crate::lifecycle::host::forward;
use crate::lifecycle::ports::publish;
use crate::lifecycle::record::Attachment;
use crate::lifecycle::removal::Removals;

impl Removals {
    /// Runs DEL where the interface is as ADD left it, and forgets the attachment.
    ///
    /// # Errors
    /// What failed. The record stays, so that it can be done again.
    pub(crate) async fn take_back(&self, attachment: &Attachment) -> Result<()> {
        // At once: neither needs the other, and DEL begins after both.
        let (withdrawn, restored) =
            tokio::join!(forward::withdraw(attachment), self.interfaces.restore(attachment));
        if let Err(error) = restored {
            // No reason to leave in place what DEL can remove.
            tracing::warn!(attachment = %attachment.id, error = chain(&error),
                "the plugins may miss rules that they find by live addresses");
        }
        let Attachment { list, parameters, result, .. } = attachment;
        self.chains.del(list, parameters, result.as_ref()).await?;
        withdrawn?;
        publish::forget_flows(attachment).await;
        self.let_go(attachment).await
    }
}
