//! Locks that the kernel frees with the process that holds them, however that ended.
//!
//! A child is a copy of its parent, with all its files open, until it has become the program that
//! it is to be. So the locks of a driver that is killed while it starts a plugin outlive it by
//! some milliseconds, which its successor waits for.
//!
//! A lock's file is only ever this program's own ([`trust::open_own`]), or one that nobody else can write
//! ([`wait_for`]).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::trust;

/// Longer than any child takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of an attempt to take a lock.
#[derive(Debug)]
pub(crate) enum Taken {
    /// This process has it.
    Here(Flock<File>),
    /// Another one has it: the process whose id is in the file, if it is.
    Elsewhere(Option<i32>),
}

/// Takes the lock on the file of that name, which is made if need be, and writes this process's id
/// into it. Another process that has the lock lives; that its id is in the file is how it is known.
///
/// # Errors
/// The file system refused, or the file is not this program's own.
pub(crate) fn take(path: &Path) -> io::Result<Taken> {
    let mut file = trust::open_own(path)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut held) => {
                held.set_len(0)?;
                writeln!(held, "{}", std::process::id())?;
                return Ok(Taken::Here(held));
            }
            Err((same, Errno::EWOULDBLOCK)) => {
                let holder = holder(&same)?;
                if Instant::now() > deadline || !holder.is_some_and(is_dead) {
                    return Ok(Taken::Elsewhere(holder));
                }
                file = same;
                thread::sleep(Duration::from_millis(5));
            }
            Err((_, errno)) => return Err(errno.into()),
        }
    }
}

/// Waits for the lock on a file that another program has made; none if it is not free in time. One attempt is made also
/// after that time. The file stays as it is.
///
/// # Errors
/// The file system refused, or others can write the file.
pub(crate) fn wait_for(path: &Path, until: Instant) -> io::Result<Option<Flock<File>>> {
    loop {
        let file = trust::open_own_to_read(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) if is_at(&held, path)? => return Ok(Some(held)),
            Ok(_) | Err((_, Errno::EWOULDBLOCK)) if Instant::now() > until => return Ok(None),
            Ok(_) | Err((_, Errno::EWOULDBLOCK)) => thread::sleep(Duration::from_millis(5)),
            Err((_, errno)) => return Err(errno.into()),
        }
    }
}

/// Whether the file is still the one of that name, so that others lock the same.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let [held, named] = [file.metadata()?, fs::symlink_metadata(path)?];
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

/// The process that wrote its id into the file; none that has not yet.
fn holder(file: &File) -> io::Result<Option<i32>> {
    let mut text = [0; 16];
    let length = file.read_at(&mut text, 0)?;
    Ok(String::from_utf8_lossy(&text[..length]).trim().parse().ok())
}

fn is_dead(pid: i32) -> bool {
    // The state follows the name, which may have any characters in it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, state)| state);
    state.is_empty() || state.starts_with(['Z', 'X'])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Another open file of the same name has another lock.
    fn take(path: &Path) -> Option<Flock<File>> {
        match super::take(path).unwrap() {
            Taken::Here(lock) => Some(lock),
            Taken::Elsewhere(_) => None,
        }
    }

    #[test]
    fn what_a_link_leads_to_is_neither_locked_nor_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (precious, lock) = (folder.path().join("precious"), folder.path().join("lock"));
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, &lock).unwrap();
        assert!(super::take(&lock).is_err());
        fs::remove_file(&lock).unwrap();
        fs::hard_link(&precious, &lock).unwrap();
        assert!(super::take(&lock).is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn a_lock_that_has_outlived_its_holder_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let inherited = take(&path).unwrap();
        assert!(take(&path).is_none(), "its holder lives");
        // Also one whose end was not noticed.
        let mut dead = Command::new("true").spawn().unwrap();
        let stat = || fs::read_to_string(format!("/proc/{}/stat", dead.id())).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !stat().contains(") Z ") {
            assert!(Instant::now() < deadline, "{}", stat());
            thread::yield_now();
        }
        fs::write(&path, format!("{}\n", dead.id())).unwrap();
        let waiting = thread::spawn({
            let path = path.clone();
            move || take(&path).map(drop)
        });
        thread::sleep(Duration::from_millis(50));
        drop(inherited);
        assert!(waiting.join().unwrap().is_some());
        dead.wait().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }
}
