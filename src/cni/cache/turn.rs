//! A lock on a folder, which keeps GC apart from ADD and DEL (SPEC.md section 3, "Lifecycle &
//! Ordering") in other processes of this program. The kernel takes it back from a process that
//! dies. Programs on libcni do not take it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// How often it is seen whether the turn has come.
const POLL: Duration = Duration::from_millis(20);

/// A process's turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    /// None where there is no folder, and so nothing to keep apart.
    _lock: Option<Flock<File>>,
}

impl Turn {
    /// Shared: for ADD and DEL.
    pub(super) async fn shared(folder: &Path) -> io::Result<Self> {
        Self::wait(folder, FlockArg::LockSharedNonblock).await
    }

    /// Exclusive: for GC.
    pub(super) async fn exclusive(folder: &Path) -> io::Result<Self> {
        Self::wait(folder, FlockArg::LockExclusiveNonblock).await
    }

    /// Waits without blocking the thread, so that the user can interrupt it.
    async fn wait(folder: &Path, how: FlockArg) -> io::Result<Self> {
        let mut file = match File::open(folder) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { _lock: None });
            }
            Err(error) => return Err(error),
        };
        let mut logged = false;
        loop {
            match Flock::lock(file, how) {
                Ok(lock) => return Ok(Self { _lock: Some(lock) }),
                Err((unlocked, Errno::EWOULDBLOCK | Errno::EINTR)) => file = unlocked,
                Err((_, error)) => return Err(error.into()),
            }
            if !logged {
                tracing::info!(folder = %folder.display(), "waiting for another process");
                logged = true;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
