//! The lock on a state folder: two drivers on the same records would undo each other's work.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{Error, failed};

/// A state folder that is ours. The kernel frees it with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// The state folder is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another driver has it.
    #[error(
        "the state folder {} is in use by another driver{}; give this one another with --state-dir",
        path.display(), holder.as_ref().map(|pid| format!(", process {pid}")).unwrap_or_default()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The process id that the other one wrote into the lock's file.
        holder: Option<String>,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] Error),
}

impl Lock {
    /// Takes the folder, which is made if need be (mode 0700). Its lock's file stays when the
    /// lock goes: to remove it would let two hold locks on files of one name.
    ///
    /// # Errors
    /// Another process has the folder, or the file system refused.
    pub fn take(state_dir: &Path) -> Result<Self, LockError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(failed("create folder", state_dir))?;
        let path = state_dir.join("lock");
        let io = |source: io::Error| failed("lock", &path)(source);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0).map_err(io)?;
                writeln!(file, "{}", std::process::id()).map_err(io)?;
                Ok(Self { _file: file })
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let holder = fs::read_to_string(&path).ok().map(|pid| pid.trim().to_owned());
                let holder = holder.filter(|pid| !pid.is_empty());
                Err(LockError::Taken { path: state_dir.to_owned(), holder })
            }
            Err((_, errno)) => Err(io(errno.into()).into()),
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
        let first = Lock::take(&state).unwrap();
        let refusal = Lock::take(&state).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        drop(first);
        Lock::take(&state).unwrap();
    }
}
