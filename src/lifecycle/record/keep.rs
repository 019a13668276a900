//! Writing and removing an attachment's record: changes of one file follow each other, and nothing
//! follows its removal.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::lifecycle::error::chain;
use crate::lifecycle::record::Attachment;
use crate::lifecycle::{Inner, Result};

/// The turn to change an attachment's file. Copies of an attachment have it in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// Whether the record has been removed, and so must not be written any more: a write that was
    /// begun before may still wait for its turn.
    removed: Arc<Mutex<bool>>,
}

impl Inner {
    /// Writes the attachment's record. When this returns, it is on disk; or it was removed for
    /// good, and stays so.
    pub(crate) async fn keep(&self, attachment: &Attachment) -> Result<()> {
        let removed = attachment.turn.removed.lock().await;
        if *removed {
            return Ok(());
        }
        Ok(self.attachment_folder.put(&attachment.id.to_string(), attachment).await?)
    }

    /// Writes the attachment's record while its caller goes on. A write that is begun later
    /// waits for this one.
    pub(crate) async fn keep_soon(self: &Arc<Self>, attachment: &Attachment) {
        let removed = Arc::clone(&attachment.turn.removed).lock_owned().await;
        if *removed {
            return;
        }
        let (inner, attachment) = (Arc::clone(self), attachment.clone());
        self.background.spawn(async move {
            let kept = inner.attachment_folder.put(&attachment.id.to_string(), &attachment).await;
            drop(removed);
            if let Err(error) = kept {
                tracing::warn!(attachment = %attachment.id, error = chain(&error),
                    "the attachment's record is behind");
            }
        });
    }

    /// Removes the attachment's record for good.
    pub(crate) async fn remove_record(&self, attachment: &Attachment) -> Result<()> {
        let mut removed = attachment.turn.removed.lock().await;
        self.attachment_folder.remove(&attachment.id.to_string()).await?;
        *removed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::lifecycle::{Config, Most, embedded};

    #[tokio::test]
    async fn a_write_that_comes_behind_the_removal_does_not_bring_the_record_back() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            conf_dir: folder.path().join("conf"),
            cni_path: Vec::new(),
            state_dir: folder.path().join("state"),
            run_dir: folder.path().join("run"),
            limits: crate::cni::Limits::default(),
            sync_delete: false,
            allow_writable: true,
            add_within: Duration::from_secs(1),
            most: Most::default(),
            collect_every: None,
        };
        let (inner, _) = Inner::open(config).unwrap();
        let inner = Arc::new(inner);
        let attachment: Attachment = serde_json::from_value(json!({
            "id": uuid::Uuid::now_v7(), "network": "n1", "endpoint": "e1", "phase": "Deleting",
            "boot_id": "this", "list": embedded().unwrap(), "staging": "/run/none",
            "parameters": {"container_id": "c", "netns": null, "if_name": "eth0", "args": [],
                           "capability_args": {}},
            "internal": false, "forwarded": false, "sandbox": null, "result": null,
            "interface": null,
        }))
        .unwrap();
        inner.keep(&attachment).await.unwrap();
        // All have to wait, and come in this order.
        let turn = attachment.turn.removed.lock().await;
        let copy = attachment.clone();
        let removal = tokio::spawn({
            let (inner, copy) = (Arc::clone(&inner), copy.clone());
            async move { inner.remove_record(&copy).await }
        });
        tokio::task::yield_now().await;
        let write = tokio::spawn({
            let (inner, copy) = (Arc::clone(&inner), copy.clone());
            async move { inner.keep(&copy).await }
        });
        tokio::task::yield_now().await;
        drop(turn);
        removal.await.unwrap().unwrap();
        write.await.unwrap().unwrap();
        inner.keep_soon(&copy).await;
        inner.background.close();
        inner.background.wait().await;
        assert_eq!(inner.attachment_folder.look().unwrap().len(), 0);
    }
}
