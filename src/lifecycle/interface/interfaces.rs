//! The interfaces of all attachments: what they have in common.

use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use super::new_namespace::Fresh;
use super::sandboxes::Sandboxes;
use crate::lifecycle::error::Result;
use crate::lifecycle::record::{Attachment, AttachmentId, Settings};
use crate::netlink::Netlink;

/// Finds, reads and moves the interfaces of attachments.
#[derive(Debug)]
pub(crate) struct Interfaces {
    /// The namespace that dockerd and this program share, for Docker's calls.
    pub(crate) own: Netlink,
    /// The same namespace for background work. It has a connection of its own, because requests on one connection
    /// wait for each other.
    pub(crate) own_background: Netlink,
    /// Folder of the staging namespaces' pins.
    netns_dir: PathBuf,
    pub(crate) sandboxes: Sandboxes,
    /// What a namespace has before any plugin has run in it.
    fresh: OnceCell<Fresh>,
}

impl Interfaces {
    /// `live` are the attachments that some container has.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub(crate) fn new<'a>(
        netns_dir: PathBuf,
        live: impl Iterator<Item = &'a Attachment>,
    ) -> Result<Self> {
        Ok(Self {
            own: Netlink::own()?,
            own_background: Netlink::own()?,
            netns_dir,
            sandboxes: Sandboxes::of(live),
            fresh: OnceCell::new(),
        })
    }

    /// Folder of the staging namespaces' pins.
    pub(crate) fn netns_dir(&self) -> &Path {
        &self.netns_dir
    }

    /// Where the staging namespace of an attachment is pinned.
    pub(crate) fn staging(&self, id: AttachmentId) -> PathBuf {
        self.netns_dir.join(id.to_string())
    }

    /// The state of a fresh namespace; read once.
    pub(crate) async fn fresh(&self) -> Result<&Fresh> {
        self.fresh.get_or_try_init(|| Fresh::look(&self.netns_dir)).await
    }

    /// The settings of a fresh namespace, as the host makes them now: the kernel copies some from the
    /// host's namespace.
    pub(crate) async fn fresh_settings_now(&self) -> Result<Settings> {
        let _alone = self.fresh().await?.looking.lock().await;
        Ok(Fresh::look(&self.netns_dir).await?.settings)
    }

    /// Removes a namespace that a crash left while that was read.
    pub(crate) async fn clear_fresh(&self) -> Result<()> {
        Fresh::clear(&self.netns_dir).await
    }
}
