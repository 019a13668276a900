//! Locks that the kernel frees with the process that holds them, however that ended.
//!
//! A child is a copy of its parent, with all its files open, until it has become the program that
//! it is to be. So the locks of a driver that is killed while it starts a plugin outlive it by
//! some milliseconds, which its successor waits for.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Longer than any child takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes the lock on `file`, and writes this process's id into it. None if another process has
/// the lock, which lives; that its id is in the file is how it is known.
///
/// # Errors
/// The file system refused.
pub(crate) fn take(mut file: File) -> io::Result<Option<Flock<File>>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut held) => {
                held.set_len(0)?;
                writeln!(held, "{}", std::process::id())?;
                return Ok(Some(held));
            }
            Err((same, Errno::EWOULDBLOCK)) => {
                if Instant::now() > deadline || !is_of_the_dead(&same)? {
                    return Ok(None);
                }
                file = same;
                thread::sleep(Duration::from_millis(5));
            }
            Err((_, errno)) => return Err(errno.into()),
        }
    }
}

/// Whether the process that wrote its id into the file has ended. One that has not written it yet
/// lives.
fn is_of_the_dead(file: &File) -> io::Result<bool> {
    let mut text = [0; 16];
    let length = file.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..length]);
    let Ok(pid) = text.trim().parse::<u32>() else { return Ok(false) };
    // The state follows the name, which may have any characters in it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, state)| state);
    Ok(state.is_empty() || state.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn open(path: &Path) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    #[test]
    fn a_lock_that_has_outlived_its_holder_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let inherited = take(open(&path)).unwrap().unwrap();
        assert!(take(open(&path)).unwrap().is_none(), "its holder lives");
        // Also one of whose end nobody has heard.
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
            move || take(open(&path)).unwrap().map(drop)
        });
        thread::sleep(Duration::from_millis(50));
        drop(inherited);
        assert!(waiting.join().unwrap().is_some());
        dead.wait().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }
}
