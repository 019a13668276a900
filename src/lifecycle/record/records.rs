//! The records of attachments on disk. Nobody else writes them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::summary::{Summaries, Summary};
use super::{Attachment, AttachmentId};
use crate::lifecycle::background::Background;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::{Result, chain};
use crate::state::Folder;

/// The records of attachments.
#[derive(Debug)]
pub(crate) struct Records {
    folder: Folder<Attachment>,
    /// A summary of each, for those who only report it.
    summaries: Summaries,
    background: Background,
}

impl Records {
    /// The folder has the records of these attachments.
    pub(crate) fn new<'a>(
        folder: Folder<Attachment>,
        attachments: impl Iterator<Item = &'a Attachment>,
        background: Background,
    ) -> Self {
        Self { folder, summaries: Summaries::of(attachments), background }
    }

    /// What is known of every attachment on record, without waiting for the calls that hold them.
    pub(crate) fn all(&self) -> Vec<(AttachmentId, Summary)> {
        self.summaries.all()
    }

    /// How many records cannot be read.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn unreadable(&self) -> Result<usize> {
        Ok(self.folder.unreadable()?)
    }

    /// Writes the attachment's record. When this returns, it is on disk; or it was removed for good, and is
    /// not written again.
    pub(crate) async fn keep(&self, attachment: &Attachment) -> Result<()> {
        let removed = attachment.write_lock.removed.lock().await;
        if *removed {
            return Ok(());
        }
        self.summaries.put(attachment);
        Ok(self.folder.put(&attachment.id.to_string(), attachment).await?)
    }

    /// Writes the attachment's record, where nothing depends on it: an error is logged.
    pub(crate) async fn keep_or_warn(&self, attachment: &Attachment) {
        if let Err(error) = self.keep(attachment).await {
            tracing::warn!(attachment = %attachment.id, error = chain(&error),
                "the attachment's record is behind");
        }
    }

    /// Writes the attachment's record while the caller continues. A later write waits for this one.
    pub(crate) async fn keep_soon(self: &Arc<Self>, attachment: &Attachment) {
        let removed = Arc::clone(&attachment.write_lock.removed).lock_owned().await;
        if *removed {
            return;
        }
        self.summaries.put(attachment);
        let (records, attachment) = (Arc::clone(self), attachment.clone());
        self.background.spawn(async move {
            let kept = records.folder.put(&attachment.id.to_string(), &attachment).await;
            drop(removed);
            if let Err(error) = kept {
                tracing::warn!(attachment = %attachment.id, error = chain(&error),
                    "the attachment's record is behind");
            }
        });
    }

    /// Removes the attachment's record for good.
    pub(crate) async fn remove(&self, attachment: &Attachment) -> Result<()> {
        let mut removed = attachment.write_lock.removed.lock().await;
        self.folder.remove(&attachment.id.to_string()).await?;
        self.summaries.remove(attachment.id);
        *removed = true;
        Ok(())
    }

    /// The attachments of a conflist that have a record. A record that cannot be read may be of any
    /// conflist, and its container may run.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::record::PhaseName;
    use crate::lifecycle::record::tests::attachment;

    #[tokio::test]
    async fn a_write_that_comes_behind_the_removal_does_not_bring_the_record_back() {
        let state = tempfile::tempdir().unwrap();
        let (folder, _) = Folder::<Attachment>::open(state.path()).unwrap();
        let background = Background::default();
        let records = Arc::new(Records::new(folder, std::iter::empty(), background.clone()));
        let attachment = attachment(PhaseName::Deleting);
        records.keep(&attachment).await.unwrap();
        assert_eq!(records.all().len(), 1);
        // Both have to wait, and end in this order.
        let lock = attachment.write_lock.removed.lock().await;
        let (copy, other) = (attachment.clone(), attachment.clone());
        let removal = tokio::spawn({
            let records = Arc::clone(&records);
            async move { records.remove(&copy).await }
        });
        tokio::task::yield_now().await;
        let write = tokio::spawn({
            let records = Arc::clone(&records);
            async move { records.keep(&other).await }
        });
        tokio::task::yield_now().await;
        drop(lock);
        removal.await.unwrap().unwrap();
        write.await.unwrap().unwrap();
        records.keep_soon(&attachment).await;
        background.drain().await;
        assert_eq!((records.ids().await.unwrap().len(), records.all().len()), (0, 0));
    }
}
