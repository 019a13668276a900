//! The socket's file: made with the right mode, replaced only if no process listens, removed only by its
//! owner.
//!
//! There are two files: the socket, and a [`Lock`] beside it (`cni.sock.lock`). The lock excludes other
//! drivers of this kind. Another process on the path is found by connecting to it: a stale socket refuses
//! the connection, and is replaced. A socket that answers, or a file that is not a socket, is left alone.
//!
//! The new socket is bound on its own path, not renamed onto it: `ss -x` shows the path of the bind. A
//! connection between the steps is refused, as by the stale socket, and dockerd repeats a refused
//! connection with the complete call.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, getsockopt, socket,
};
use nix::sys::stat::{Mode, fchmod};

use super::lock::{FileId, Lock};

/// Why the driver cannot listen on the socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another driver holds the lock, or another process answers on the socket.
    #[error("{path} is in use by {holder}; stop it, or choose another socket with --socket")]
    InUse {
        /// The socket's path.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// A file that is no socket is at the path; it may be somebody's data.
    #[error("{path} exists and is not a socket; move it away, or choose another path")]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// The path names a folder, or nothing.
    #[error(
        "{path:?} is not the path of a file; a socket needs one, as /run/docker/plugins/cni.sock"
    )]
    NoName {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The system refused a step.
    #[error("cannot {step} {path}")]
    Io {
        /// The step, as a verb.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it was refused.
        source: io::Error,
    },
}

/// A process that has the socket, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id. None if it is in another PID namespace, or is not known yet.
    pub pid: Option<i32>,
    /// Its command line. None when it has ended meanwhile.
    pub command: Option<String>,
}

/// The file of a listening socket, and the lock beside it. Both are removed when this is dropped, if they
/// are still the files that were made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    made: FileId,
    // Released once the socket's file is gone: fields are dropped after `drop`.
    _lock: Lock,
}

/// Listens on `path`, with a file that only root can open. Missing folders are made.
///
/// From here on connections are queued, and wait until they are accepted.
///
/// # Errors
/// See [`Error`]; whatever was on `path` is then as it was.
pub fn bind(path: &Path) -> Result<(UnixListener, SocketFile), Error> {
    let (Some(folder), Some(_)) = (path.parent(), path.file_name()) else {
        return Err(Error::NoName { path: path.to_owned() });
    };
    make(folder).map_err(failed("make the folder", folder))?;
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = Path::new(&lock);
    let held = match Lock::take(lock).map_err(failed("lock", lock))? {
        Ok(held) => held,
        Err(holder) => {
            // A process that answers is known for certain; the lock's process id is used for one that does
            // not.
            let holder = knock(path).unwrap_or_else(|_| Holder::of(holder));
            return Err(Error::InUse { path: path.to_owned(), holder });
        }
    };
    clear(path)?;
    let listener = listen(path).map_err(|errno| failed("listen on", path)(errno.into()))?;
    let made = FileId::of(path).map_err(failed("look at", path))?;
    Ok((listener, SocketFile { path: path.to_owned(), made, _lock: held }))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.made.remove(&self.path);
    }
}

/// Makes the folder and its parents, if they are missing, for root alone, whatever the umask is.
fn make(folder: &Path) -> io::Result<()> {
    match make_one(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The root folder and an empty path have no parent.
            make(folder.parent().ok_or(error)?)?;
            // A file system without folders of others, as /proc, still says that it is not there.
            make_one(folder)
        }
        made => made,
    }
}

fn make_one(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o700)),
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the path free, if there is only the socket of a process that is gone.
fn clear(path: &Path) -> Result<(), Error> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if !file.file_type().is_socket() {
        return Err(Error::NotASocket { path: path.to_owned() });
    }
    match knock(path) {
        Ok(holder) => Err(Error::InUse { path: path.to_owned(), holder }),
        Err(Errno::ECONNREFUSED) => {
            tracing::info!(socket = %path.display(), "replacing the socket of a driver that is gone");
            fs::remove_file(path).map_err(failed("remove", path))
        }
        Err(errno) => Err(failed("connect to", path)(errno.into())),
    }
}

/// Who answers on the socket. `ECONNREFUSED` when nobody does.
fn knock(path: &Path) -> nix::Result<Holder> {
    // Must not block: a process that hangs has a full backlog, and would block this one too.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let client = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match socket::connect(client.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => Ok(Holder::of(Some(getsockopt(&client, PeerCredentials)?.pid()))),
        Err(Errno::EAGAIN) => Ok(Holder::of(None)),
        Err(errno) => Err(errno),
    }
}

fn listen(path: &Path) -> nix::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let server = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // On Linux the file that bind makes has the current mode of the socket, without the bits of the umask.
    // So the file is never accessible to others, not even for a moment, and the umask of the process need
    // not be changed.
    fchmod(&server, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket::bind(server.as_raw_fd(), &UnixAddr::new(path)?)?;
    socket::listen(&server, Backlog::MAXCONN)?;
    Ok(server.into())
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { step, path: path.to_owned(), source }
}

impl Holder {
    fn of(pid: Option<i32>) -> Self {
        // The kernel gives 0 for a process outside of this PID namespace.
        let pid = pid.filter(|pid| *pid != 0);
        let command = pid
            .and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok())
            .map(|words| String::from_utf8_lossy(&words).replace('\0', " ").trim().to_owned())
            .filter(|command| !command.is_empty());
        Self { pid, command }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "process {pid} ({command})"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => f.write_str("a process that cannot be named from here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use tempfile::TempDir;

    fn somewhere() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins/cni.sock");
        (folder, path)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn is_in_use_by_this_process(error: &Error) -> bool {
        let this = i32::try_from(std::process::id()).unwrap();
        matches!(error, Error::InUse { holder: Holder { pid: Some(pid), command: Some(_) }, .. }
            if *pid == this)
    }

    #[test]
    fn the_socket_is_for_root_alone_and_nothing_stays_behind() {
        let (_folder, path) = somewhere();
        let (listener, file) = bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        assert_eq!(names(path.parent().unwrap()), ["cni.sock", "cni.sock.lock"]);
        drop(file);
        assert!(names(path.parent().unwrap()).is_empty());
    }

    #[test]
    fn the_error_of_a_second_driver_names_the_first() {
        let (_folder, path) = somewhere();
        let (_listener, first) = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(is_in_use_by_this_process(&error), "{error}");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        UnixStream::connect(&path).expect("the first one lost its socket");
        drop(first);
        bind(&path).unwrap();
    }

    #[test]
    fn a_driver_that_is_still_starting_is_named_by_its_lock() {
        let (_folder, path) = somewhere();
        fs::create_dir(path.parent().unwrap()).unwrap();
        let lock = path.with_extension("sock.lock");
        let _starting = Lock::take(&lock).unwrap().unwrap();
        let error = bind(&path).unwrap_err();
        assert!(is_in_use_by_this_process(&error), "{error}");
        assert_eq!(names(path.parent().unwrap()), ["cni.sock.lock"]);
    }

    #[test]
    fn a_stranger_who_answers_is_left_alone() {
        let (folder, _) = somewhere();
        let path = folder.path().join("cni.sock");
        let _stranger = UnixListener::bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(is_in_use_by_this_process(&error), "{error}");
        UnixStream::connect(&path).expect("the stranger lost its socket");
        assert_eq!(names(folder.path()), ["cni.sock"]);
    }

    #[test]
    fn a_stranger_who_hangs_does_not_hang_the_driver() {
        let (folder, _) = somewhere();
        let path = folder.path().join("cni.sock");
        let flags = SockFlag::SOCK_CLOEXEC;
        let server = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        socket::bind(server.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        socket::listen(&server, Backlog::new(0).unwrap()).unwrap();
        let _fills_the_backlog = UnixStream::connect(&path).unwrap();
        assert!(matches!(bind(&path).unwrap_err(), Error::InUse { .. }));
    }

    #[test]
    fn what_a_dead_driver_left_is_replaced() {
        let (_folder, path) = somewhere();
        fs::create_dir(path.parent().unwrap()).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        fs::write(path.with_extension("sock.lock"), "999999999 and more than is written anew\n")
            .unwrap();
        let (_listener, _file) = bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        let lock = fs::read_to_string(path.with_extension("sock.lock")).unwrap();
        assert_eq!(lock, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let (folder, _) = somewhere();
        for (name, is_link) in [("data", false), ("link", true)] {
            let path = folder.path().join(name);
            if is_link {
                std::os::unix::fs::symlink("data", &path).unwrap();
            } else {
                fs::write(&path, "precious").unwrap();
            }
            assert!(matches!(bind(&path).unwrap_err(), Error::NotASocket { .. }));
            assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        }
        assert_eq!(names(folder.path()), ["data", "link"]);
    }

    #[test]
    fn the_socket_of_a_successor_survives_the_end_of_its_predecessor() {
        let (_folder, path) = somewhere();
        let (_listener, file) = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).expect("the successor lost its socket");
    }

    #[test]
    fn of_many_that_start_at_once_one_wins() {
        let (_folder, path) = somewhere();
        fs::create_dir(path.parent().unwrap()).unwrap();
        for _ in 0..20 {
            drop(UnixListener::bind(&path).unwrap());
            let start = std::sync::Barrier::new(8);
            let mut bound: Vec<_> = std::thread::scope(|scope| {
                let race = || {
                    start.wait();
                    bind(&path)
                };
                let racers: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).collect()
            });
            bound.retain(|outcome| !matches!(outcome, Err(Error::InUse { .. })));
            assert_eq!(bound.len(), 1, "{bound:?}");
            let (listener, file) = bound.remove(0).unwrap();
            UnixStream::connect(&path).unwrap();
            listener.accept().unwrap();
            drop((listener, file));
        }
    }

    #[test]
    fn a_path_that_cannot_be_a_socket_is_named_in_the_error() {
        let (folder, _) = somewhere();
        let long = folder.path().join("x".repeat(120));
        let below_a_file = folder.path().join("file/cni.sock");
        fs::write(folder.path().join("file"), "").unwrap();
        let no_folders = Path::new("/proc/nobody/cni.sock");
        for path in [long.as_path(), &below_a_file, no_folders, Path::new("/"), Path::new("")] {
            let error = bind(path).unwrap_err();
            assert!(error.to_string().contains(path.parent().map_or("", |p| p.to_str().unwrap())));
        }
        assert_eq!(names(folder.path()), ["file"]);
    }
}
