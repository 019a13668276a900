//! The lock beside the socket's file: of two drivers that start at once, only one gets it.
//!
//! A lock file that was left behind stops nobody ([`flock`]). It contains the holder's process id, for the
//! error of a second process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use crate::flock::{self, Taken};

/// A held lock. Its file is removed with it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    made: FileId,
    // Unlocked once its name is gone: fields are dropped behind `drop`.
    _file: Flock<File>,
}

impl Lock {
    /// How often the file may vanish between opening and locking it. Each time, another
    /// driver has ended in just that moment.
    const ATTEMPTS: usize = 100;

    /// Takes the lock; or returns the process id in the file, if there is one.
    pub(super) fn take(path: &Path) -> io::Result<Result<Self, Option<i32>>> {
        let mut holder = None;
        for _ in 0..Self::ATTEMPTS {
            let file = match flock::take(path)? {
                Taken::Here(file) => file,
                Taken::Elsewhere(by) => {
                    holder = by;
                    break;
                }
            };
            let made = FileId::from(&file.metadata()?);
            // A driver that ends removes its lock file. A file that was opened before that, and locked
            // after it, has no name any more and protects nothing.
            if FileId::of(path).is_ok_and(|there| there == made) {
                return Ok(Ok(Self { path: path.to_owned(), made, _file: file }));
            }
        }
        Ok(Err(holder))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.made.remove(&self.path);
    }
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|file| Self::from(&file))
    }

    /// Removes the file if it is still this one. A failure is ignored, because the next start replaces what
    /// is left.
    pub(super) fn remove(self, path: &Path) {
        if Self::of(path).is_ok_and(|there| there == self) {
            let _ = fs::remove_file(path);
        }
    }
}

impl From<&fs::Metadata> for FileId {
    fn from(file: &fs::Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn at_no_time_do_two_hold_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let Ok(lock) = Lock::take(&path).unwrap() else { continue };
                        assert_eq!(holders.fetch_add(1, SeqCst), 0, "there are two");
                        taken.fetch_add(1, SeqCst);
                        std::thread::yield_now();
                        holders.fetch_sub(1, SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(taken.load(SeqCst) > 0);
        assert!(!path.exists());
    }
}
