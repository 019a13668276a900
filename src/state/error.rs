//! Why a record cannot be kept, found or read.

use std::io;
use std::path::{Path, PathBuf};

use crate::blocking::Stopping;
use crate::durable;

/// A record that could not be kept, found or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The record has no JSON form.
    #[error("cannot write {} as JSON", path.display())]
    Encode {
        /// Where it was to be kept.
        path: PathBuf,
        /// Why it failed.
        source: serde_json::Error,
    },
    /// The program is ending.
    #[error("cannot finish writing a record: the driver is stopping")]
    Stopping,
}

impl From<Stopping> for Error {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

impl From<durable::Failed> for Error {
    fn from(failed: durable::Failed) -> Self {
        Self::Io { action: failed.action, path: failed.path, source: failed.source }
    }
}

pub(super) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: path.to_owned(), source }
}
