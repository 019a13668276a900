//! Leases of `host-local` that name no owner.
//!
//! The plugin makes the file of a lease, and then writes into it who has the address. If it is killed in between, the
//! file stays empty: no DEL knows it for its own, and the address is lost to every runtime.
//!
//! Every ADD has such a file for a moment, and holds the lock of the folder meanwhile. So one is removed only under
//! this lock, and only if it still names nobody then.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::flock;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host_folders::unless_gone;
use crate::{translate, whole};

/// How long the lock is waited for, for all leases together. The plugin holds it while it reads the folder and writes a
/// file.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A lease that names no owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unowned {
    pub(crate) path: PathBuf,
    pub(crate) address: IpAddr,
    /// The conflist that gives the address.
    pub(crate) conflist: String,
    made: SystemTime,
}

impl Unowned {
    /// The lease at `path`, whose text names nobody; none if it is not, or not any more, the plugin's.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(crate) fn at(path: &Path, address: IpAddr, conflist: &str) -> Result<Option<Self>> {
        // The plugin makes the lock before any lease.
        let of_plugin = unless_gone(path, lock_of(path).symlink_metadata())?.is_some();
        let Some(file) = unless_gone(path, path.symlink_metadata())? else { return Ok(None) };
        if !of_plugin || !file.is_file() {
            return Ok(None);
        }
        // If its time cannot be read, it may be new.
        let made = file.modified().unwrap_or_else(|_| SystemTime::now());
        Ok(Some(Self { path: path.to_owned(), address, conflist: conflist.to_owned(), made }))
    }

    /// How old it is; zero if the clock was set back since.
    pub(crate) fn age(&self) -> Duration {
        self.made.elapsed().unwrap_or_default()
    }

    /// Removes it, once the lock of its folder is free. Otherwise, why it was kept.
    ///
    /// # Errors
    /// The lock cannot be taken, or the file cannot be read or removed.
    pub(crate) fn remove(&self, until: Instant) -> Result<Option<String>> {
        let lock = lock_of(&self.path);
        let failed = |source| Error::LeaseStays { path: self.path.clone(), source };
        let Some(_alone) = flock::wait_for(&lock, until).map_err(failed)? else {
            return Ok(Some(format!("a plugin holds {}", lock.display())));
        };
        let text = unless_gone(&self.path, whole::read_text(&self.path, whole::SMALL))?;
        if text.is_some_and(|text| translate::lease_owner(&text).is_some()) {
            return Ok(Some("it names its owner now".to_owned()));
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(None),
        }
    }
}

/// The lock of the folder that a lease is in.
fn lock_of(lease: &Path) -> PathBuf {
    lease.with_file_name("lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{Flock, FlockArg};

    /// A folder of leases as the plugin makes it: its lock, an unowned lease and a pod's.
    fn folder() -> (tempfile::TempDir, Unowned, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let [lock, empty, pods] =
            ["lock", "10.22.0.5", "10.22.0.6"].map(|name| folder.path().join(name));
        fs::write(lock, "").unwrap();
        fs::write(&empty, "").unwrap();
        fs::write(&pods, "pod\r\neth0").unwrap();
        let unowned = Unowned::at(&empty, "10.22.0.5".parse().unwrap(), "k8snet").unwrap();
        (folder, unowned.unwrap(), pods)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn a_lease_that_names_nobody_is_removed_and_no_other() {
        let (_folder, unowned, pods) = folder();
        assert_eq!(unowned.remove(soon()).unwrap(), None);
        assert!(!unowned.path.exists() && pods.exists());
        assert_eq!(unowned.remove(soon()).unwrap(), None, "another was faster");
    }

    #[test]
    fn a_lease_is_kept_as_long_as_the_plugin_holds_the_lock() {
        let (folder, unowned, _) = folder();
        let lock = fs::File::open(folder.path().join("lock")).unwrap();
        let held = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
        let why = unowned.remove(soon()).unwrap().unwrap();
        assert!(why.contains("lock"), "{why}");
        assert!(unowned.path.exists());
        drop(held);
        assert_eq!(unowned.remove(soon()).unwrap(), None);
    }

    #[test]
    fn a_lease_that_was_written_after_the_look_is_kept() {
        let (_folder, unowned, _) = folder();
        fs::write(&unowned.path, "pod\r\neth0").unwrap();
        assert_eq!(unowned.remove(soon()).unwrap().as_deref(), Some("it names its owner now"));
        assert!(unowned.path.exists());
    }

    #[test]
    fn a_file_that_is_not_the_plugins_is_no_lease() {
        let (folder, unowned, _) = folder();
        let at = |path: &Path| Unowned::at(path, unowned.address, "k8snet").unwrap();
        let link = folder.path().join("10.22.0.7");
        std::os::unix::fs::symlink(&unowned.path, &link).unwrap();
        assert_eq!(at(&link), None);
        fs::remove_file(folder.path().join("lock")).unwrap();
        assert_eq!(at(&unowned.path), None, "the plugin was never here");
    }
}
