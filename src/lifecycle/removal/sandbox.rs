//! The container's namespace, held until its interface has been taken out.
//!
//! Docker takes the interface out before it calls DeleteEndpoint, and removes the namespace after the answer. An
//! interface that Docker could not take out would be lost with the namespace. To move it before the answer would
//! take too long: the kernel changes one link at a time, and Docker may remove hundreds of containers at once.
//! So the driver pins the namespace, which is quick and survives a crash, and moves the interface in the
//! background.

use std::path::{Path, PathBuf};

use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::Result;
use crate::lifecycle::record::Attachment;
use crate::netns;
use crate::sysctl;

impl Attachment {
    /// Where the container's namespace is pinned during the removal.
    fn held_sandbox(&self) -> PathBuf {
        self.staging.with_extension("sandbox")
    }

    /// Pins the container's namespace, if it exists and Docker has not given the interface back. Returns
    /// where it is pinned.
    ///
    /// # Errors
    /// It cannot be pinned.
    pub(crate) async fn hold_sandbox(&self) -> Result<Option<PathBuf>> {
        let Some(sandbox) = self.sandbox().map(Path::to_owned) else { return Ok(None) };
        let (held, if_name) = (self.held_sandbox(), self.parameters.if_name.clone());
        let pin = held.clone();
        let work = move || {
            if is_given_back(&if_name) {
                return Ok(false);
            }
            match netns::open(&sandbox) {
                // It is gone, or never existed.
                Err(netns::Error::NotFound { .. } | netns::Error::NotANamespace { .. }) => {
                    Ok(false)
                }
                namespace => {
                    netns::pin(namespace?, &pin)?;
                    Ok(true)
                }
            }
        };
        let is_held = on_blocking_thread(work).await?;
        Ok(is_held.then_some(held))
    }

    /// Removes the pin of the container's namespace, if there is one.
    pub(crate) async fn release_sandbox(&self) -> Result<()> {
        let held = self.held_sandbox();
        match held.symlink_metadata().is_ok() {
            true => Ok(netns::remove(&held).await?),
            false => Ok(()),
        }
    }
}

/// Whether the interface is in the namespace that dockerd and this program share. The kernel has a folder
/// of settings for each interface there. Reading it does not need the lock on links, which is busy while
/// other interfaces are moved.
fn is_given_back(if_name: &str) -> bool {
    sysctl::of_host("net/ipv4/conf").join(if_name).exists()
}
