//! A folder that is this driver's alone.
//!
//! Two drivers on the same records or the same pinned namespaces would undo each other's work,
//! so a folder is locked; and whoever else could write there could have root run anything, so
//! nobody else can.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use nix::unistd::geteuid;

use super::{Error, failed};
use crate::flock;

/// A folder that is ours. The kernel frees it with the process, however that ends.
#[derive(Debug)]
pub struct Private {
    _lock: Flock<File>,
}

/// The folder is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// Another driver has it.
    #[error(
        "{} is in use by another driver{}; give this one a folder of its own",
        path.display(), holder.as_ref().map(|pid| format!(", process {pid}")).unwrap_or_default()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The process id that the other one wrote into the lock's file.
        holder: Option<String>,
    },
    /// It is somebody else's.
    #[error("{} belongs to user {owner}; give the driver a folder of its own", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] Error),
}

impl Private {
    /// Takes the folder. It is made if need be, and closed to everybody else (mode 0700). Its
    /// lock's file stays: to remove it would let two hold locks on files of one name.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub fn take(folder: &Path) -> Result<Self, PrivateError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed("create folder", folder))?;
        let found = fs::metadata(folder).map_err(failed("look at", folder))?;
        if found.uid() != geteuid().as_raw() {
            return Err(PrivateError::NotOurs { path: folder.to_owned(), owner: found.uid() });
        }
        if found.mode() & 0o077 != 0 {
            tracing::warn!(folder = %folder.display(), mode = format!("{:o}", found.mode() & 0o777),
                "others could look into the folder; it is closed to them");
            let closed = fs::set_permissions(folder, Permissions::from_mode(0o700));
            closed.map_err(failed("close", folder))?;
        }
        lock(folder)
    }
}

fn lock(folder: &Path) -> Result<Private, PrivateError> {
    let path = folder.join("lock");
    let io = |source: io::Error| failed("lock", &path)(source);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    match flock::take(options.open(&path).map_err(io)?).map_err(io)? {
        Some(file) => Ok(Private { _lock: file }),
        None => {
            let holder = fs::read_to_string(&path).ok().map(|pid| pid.trim().to_owned());
            let holder = holder.filter(|pid| !pid.is_empty());
            Err(PrivateError::Taken { path: folder.to_owned(), holder })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_driver_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = Private::take(&state).unwrap();
        let refusal = Private::take(&state).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        drop(first);
        Private::take(&state).unwrap();
    }

    #[test]
    fn a_folder_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let (made, found) = (dir.path().join("a/made"), dir.path().join("found"));
        fs::create_dir(&found).unwrap();
        fs::set_permissions(&found, Permissions::from_mode(0o755)).unwrap();
        for folder in [made, found] {
            let _taken = Private::take(&folder).unwrap();
            assert_eq!(mode(&folder), 0o700);
            assert_eq!(mode(&folder.join("lock")), 0o600);
        }
    }
}
