//! A file or folder that was judged: a descriptor, and what it is.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag};

/// Looks at a file, and does nothing with it.
pub(super) const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// A file or folder that was found and judged. It stays this one, whatever becomes of its name.
#[derive(Debug)]
pub(crate) struct Judged {
    file: OwnedFd,
    pub(super) path: PathBuf,
    kind: SFlag,
    pub(super) mode: u32,
}

impl Judged {
    pub(super) fn new(file: OwnedFd, path: PathBuf, stat: &FileStat) -> Self {
        Self { file, path, kind: kind(stat), mode: stat.st_mode & 0o7777 }
    }

    /// The descriptor, as a path: what is opened or run by it is what was judged.
    pub(crate) fn descriptor(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind == SFlag::S_IFDIR
    }

    /// Whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind == SFlag::S_IFREG
    }

    /// Whether somebody may execute it.
    pub(crate) fn is_program(&self) -> bool {
        self.is_file() && self.mode & 0o111 != 0
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// It may not be read, or is no regular file: a pipe or a device could have no end.
    pub(crate) fn read(&self) -> io::Result<File> {
        if !self.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        File::open(self.descriptor())
    }
}

pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}
