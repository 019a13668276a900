//! Reads folders of the host, where "unknown" is never "absent".

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::error::{Error, Result};

/// The paths in a folder; empty if the folder does not exist.
///
/// # Errors
/// It exists, and cannot be read.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let Some(entries) = unless_gone(folder, fs::read_dir(folder))? else { return Ok(Vec::new()) };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(unreadable(folder))
}

/// None if there is nothing at `path`, or not any more: processes end, and leases are released.
///
/// # Errors
/// Any other error.
pub(crate) fn unless_gone<T>(path: &Path, looked: io::Result<T>) -> Result<Option<T>> {
    match looked {
        // The error that /proc gives for a process that has just ended.
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        looked => looked.map(Some).map_err(unreadable(path)),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Unreadable { path, source }
}
