//! Why a file or folder is not obeyed.

use std::io;
use std::path::{Path, PathBuf};

/// Another user could change what root obeys.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// The file or folder belongs to another user.
    #[error(
        "{}belongs to user {owner}, who could have root run anything by it; run 'chown root {}'",
        Subject(asked, path), path.display()
    )]
    Owner {
        /// What was asked for.
        asked: PathBuf,
        /// What belongs to him: it, what it links to, or a folder on the way.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// Others than its owner may write it.
    #[error(
        "{}can be written by others than root (mode {mode:04o}), who could have root run anything by \
         it; run 'chmod go-w {}'",
        Subject(asked, path), path.display()
    )]
    Writable {
        /// What was asked for.
        asked: PathBuf,
        /// What they can write: it, what it links to, or a folder on the way.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It cannot be looked at.
    #[error("cannot look at {}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Begins the sentence about `.1`, on which `.0` depends.
struct Subject<'a>(&'a Path, &'a Path);

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(asked, path) = self;
        if asked == path {
            write!(f, "{} ", path.display())
        } else {
            write!(f, "{} depends on {}, which ", asked.display(), path.display())
        }
    }
}
