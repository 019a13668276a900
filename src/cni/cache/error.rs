//! Why an attachment cannot be kept or found.

use std::io;
use std::path::{Path, PathBuf};

use crate::cni::name::InvalidName;
use crate::cni::result::InvalidResult;
use crate::durable;

pub(super) type Result<T> = std::result::Result<T, CacheError>;

/// Why an attachment cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The network, the container or the interface cannot be called so.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is no attachment, or its result is none.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidResult,
    },
    /// The place is taken: names with a '-' in them can lead to the same file.
    #[error(
        "{} belongs to another attachment (network {network:?}, container {container_id:?}, \
         interface {if_name:?}); choose another --container-id",
        path.display()
    )]
    Taken {
        /// Which file.
        path: PathBuf,
        /// The other attachment's network.
        network: String,
        /// Its container.
        container_id: String,
        /// Its interface.
        if_name: String,
    },
    /// The file seems to be of a network that is to be collected, and does not say whose it is.
    #[error(
        "{} does not say which attachment is valid ({source}), and GC would remove that one; \
         try again, or delete the file if its container has gone",
        path.display()
    )]
    Unclear {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

pub(super) fn malformed(file: &Path, source: InvalidResult) -> CacheError {
    CacheError::Malformed { path: file.to_owned(), source }
}

impl From<durable::Failed> for CacheError {
    fn from(failed: durable::Failed) -> Self {
        Self::Io { action: failed.action, path: failed.path, source: failed.source }
    }
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { action, path, source }
}
