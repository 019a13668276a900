//! A folder that is this driver's alone.
//!
//! Two drivers on the same records or the same pinned namespaces would undo each other's work,
//! so a folder is locked. A user who could write there could make root run anything, so
//! no other user can, nor in a folder below it or above it.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::unistd::geteuid;

use super::error::{Error, failed};
use crate::flock::{self, Taken};
use crate::trust::{Trust, Untrusted};

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
        holder: Option<i32>,
    },
    /// It belongs to another user.
    #[error("{} belongs to user {owner}; give the driver a folder of its own", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// Others could put another folder in its place.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] Error),
}

impl Private {
    /// Takes the folder. It is made if need be, and closed to everybody else (mode 0700), with all
    /// folders below it. Its lock's file stays: to remove it would let two hold locks on files of one name.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub fn take(folder: &Path) -> Result<Self, PrivateError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed("create folder", folder))?;
        // Until it is closed, others could swap what its name leads to.
        let Some(judged) = Trust::Root.judge_way(folder)? else {
            return Err(failed("find", folder)(Errno::ENOENT.into()).into());
        };
        close(&judged.descriptor(), folder)?;
        close_below(folder)?;
        lock(folder)
    }
}

/// Closes the folder at `at`, which is called `folder`.
fn close(at: &Path, folder: &Path) -> Result<(), PrivateError> {
    let found = fs::metadata(at).map_err(failed("look at", folder))?;
    if found.uid() != geteuid().as_raw() {
        return Err(PrivateError::NotOurs { path: folder.to_owned(), owner: found.uid() });
    }
    if found.mode() & 0o077 != 0 {
        tracing::warn!(folder = %folder.display(), mode = format!("{:o}", found.mode() & 0o777),
            "others could look into the folder; it is closed to them");
        let closed = fs::set_permissions(at, Permissions::from_mode(0o700));
        closed.map_err(failed("close", folder))?;
    }
    Ok(())
}

/// Closes the folders in a closed one. Links are not folders, and nobody else can make one any more.
fn close_below(folder: &Path) -> Result<(), PrivateError> {
    for entry in fs::read_dir(folder).map_err(failed("list folder", folder))? {
        let path = entry.map_err(failed("list folder", folder))?.path();
        let found = fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
        if found.is_dir() {
            close(&path, &path)?;
            close_below(&path)?;
        }
    }
    Ok(())
}

fn lock(folder: &Path) -> Result<Private, PrivateError> {
    let path = folder.join("lock");
    let io = |source: io::Error| failed("lock", &path)(source);
    match flock::take(&path).map_err(io)? {
        Taken::Here(file) => Ok(Private { _lock: file }),
        Taken::Elsewhere(holder) => Err(PrivateError::Taken { path: folder.to_owned(), holder }),
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

    #[test]
    fn the_folders_below_it_are_closed_too_and_those_above_it_must_be() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        let (above, state) = (dir.path().join("above"), dir.path().join("above/state"));
        let (below, elsewhere) = (state.join("networks/more"), dir.path().join("elsewhere"));
        for folder in [&below, &elsewhere] {
            fs::create_dir_all(folder).unwrap();
            open(folder);
        }
        open(&state.join("networks"));
        std::os::unix::fs::symlink(&elsewhere, state.join("link")).unwrap();
        open(&above);
        let error = Private::take(&state).unwrap_err();
        assert!(error.to_string().contains("above, which can be written"), "{error}");
        assert_eq!(mode(&below), 0o777, "nothing was touched");

        fs::set_permissions(&above, Permissions::from_mode(0o755)).unwrap();
        drop(Private::take(&state).unwrap());
        assert_eq!((mode(&below), mode(&state.join("networks"))), (0o700, 0o700));
        assert_eq!(mode(&elsewhere), 0o777, "no link was followed");
        if geteuid().is_root() {
            std::os::unix::fs::chown(&below, Some(65534), None).unwrap();
            let error = Private::take(&state).unwrap_err().to_string();
            assert!(error.contains("networks/more belongs to user 65534"), "{error}");
        }
    }
}
