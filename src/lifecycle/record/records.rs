//! The records of attachments on disk. Nobody else writes them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::{Attachment, AttachmentId};
use crate::lifecycle::background::Background;
use crate::lifecycle::blocking::on_blocking_thread;
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

    /// Writes the attachment's record, of which nothing depends: an error is logged.
    pub(crate) async fn keep_or_warn(&self, attachment: &Attachment) {
        if let Err(error) = self.keep(attachment).await {
            tracing::warn!(attachment = %attachment.id, error = chain(&error),
                "the attachment's record is behind");
        }
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

    /// The attachments of a conflist that have a record. What cannot be read may be of any conflist, and
    /// its container may run.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) async fn of_conflist(&self, conflist: &str) -> Result<BTreeSet<AttachmentId>> {
        let (folder, conflist) = (self.folder.path().to_owned(), conflist.to_owned());
        on_blocking_thread(move || {
            let records = Folder::<Attachment>::glance(folder.parent().unwrap_or(&folder))?;
            let mut ids: BTreeSet<_> = AttachmentId::in_folder(&folder)?.into_iter().collect();
            for record in records.iter().filter(|record| record.list.name() != conflist) {
                ids.remove(&record.id);
            }
            Ok(ids)
        })
        .await
    }

    /// The attachments that have a record, whether or not it can be read.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) async fn ids(&self) -> Result<HashSet<AttachmentId>> {
        let folder = self.folder.path().to_owned();
        on_blocking_thread(move || AttachmentId::in_folder(&folder)).await
    }
}
