//! The records of attachments on disk. Nobody else writes them.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Attachment, AttachmentId};
use crate::lifecycle::background::Background;
use crate::lifecycle::error::{Result, chain};
use crate::state::Folder;

/// The records of attachments.
#[derive(Debug)]
pub(crate) struct Records {
    folder: Folder<Attachment>,
    background: Background,
}

impl Records {
    pub(crate) fn new(folder: Folder<Attachment>, background: Background) -> Self {
        Self { folder, background }
    }

    /// Writes the attachment's record. When this returns, it is on disk.
    pub(crate) async fn keep(&self, attachment: &Attachment) -> Result<()> {
        let _writing = attachment.writing.lock().await;
        Ok(self.folder.put(&attachment.id.to_string(), attachment).await?)
    }

    /// Writes the attachment's record while its caller goes on. A write that is begun later
    /// waits for this one.
    pub(crate) async fn keep_soon(self: &Arc<Self>, attachment: &Attachment) {
        let writing = Arc::clone(&attachment.writing).lock_owned().await;
        let (records, attachment) = (Arc::clone(self), attachment.clone());
        self.background.spawn(async move {
            let kept = records.folder.put(&attachment.id.to_string(), &attachment).await;
            drop(writing);
            if let Err(error) = kept {
                tracing::warn!(attachment = %attachment.id, error = chain(&error),
                    "the attachment's record is behind");
            }
        });
    }

    /// Removes the attachment's record.
    pub(crate) async fn remove(&self, attachment: &Attachment) -> Result<()> {
        Ok(self.folder.remove(&attachment.id.to_string()).await?)
    }

    /// Every record that can be read.
    pub(crate) fn look(&self) -> Result<Vec<Attachment>> {
        Ok(self.folder.look()?)
    }

    /// The attachments that have a record, whether or not it can be read.
    pub(crate) fn ids(&self) -> HashSet<AttachmentId> {
        AttachmentId::in_folder(self.folder.path())
    }
}
