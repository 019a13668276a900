//! Network namespaces: making, pinning and entering them.
//!
//! A namespace lives as long as something holds it. Here that is a **pin**: a bind mount of
//! the namespace at a path, as `ip netns` makes it. Any process with the path can enter, and the
//! namespace outlives this process.
//!
//! This is the only module that changes a thread's namespace. It does so on a thread made for
//! that one piece of work, which never goes back and ends with it: never on a pooled thread,
//! and never across an `.await`. It knows nothing of what is done inside.
//!
//! # What a crash leaves
//!
//! [`create`] makes a plain file, then the namespace, then mounts the one on the other. Killed
//! before the mount, it leaves a plain file and no namespace, since the thread that held it is
//! gone. [`identity`] distinguishes such a file from a namespace, and the next [`create`] takes it over.
//!
//! # Where pins are seen
//!
//! A pin is a mount. On a shared mount (`/run` under systemd) it appears in every mount
//! namespace that follows, and goes from all of them with [`remove`]. On a private one only
//! this process and its children see it. A mount namespace that was copied in between keeps a
//! copy of its own; the kernel drops that copy when [`remove`] unlinks the file, so it cannot
//! keep the namespace alive.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};

use crate::{crash, mounts};

mod host_name;

pub use host_name::host_name;

#[cfg(test)]
pub(crate) mod tests;

/// The namespace that the calling thread is in.
const THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// The namespace that this process was started in.
const THIS_PROCESS: &str = "/proc/self/ns/net";

/// How many threads there are at a time for work in namespaces; further work waits for its turn.
static TURNS: Semaphore = Semaphore::const_new(6);

/// How many pins [`remove`] takes off one path before it gives up.
const MOST_PINS: usize = 64;

/// Which namespace: two paths lead to the same one if, and only if, their identities agree.
///
/// The kernel gives a dead namespace's number away again: compare only while one of the two
/// is still held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Device number of the kernel's namespace file system.
    pub dev: u64,
    /// Number of the namespace in it.
    pub ino: u64,
}

/// Why a namespace could not be made, pinned or entered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path leads nowhere.
    #[error("there is no network namespace at {path}")]
    NotFound {
        /// Where one was expected.
        path: PathBuf,
    },
    /// Something else is at the path, such as the plain file that a crash leaves.
    #[error("{path} is not a network namespace")]
    NotANamespace {
        /// Where a namespace was expected.
        path: PathBuf,
    },
    /// A namespace is pinned at the path already.
    #[error("a network namespace is pinned at {path} already")]
    Exists {
        /// Where the new one was to be pinned.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot {operation} {path}: {source}")]
    Failed {
        /// What was tried, as the words before the path.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The work inside the namespace panicked.
    #[error("the work in network namespace {path} ended without a result")]
    Panicked {
        /// Where it ran.
        path: PathBuf,
    },
}

impl Error {
    /// Whether there is no namespace at the path, or none any more: of one that ends, the file stays
    /// for a moment.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NotANamespace { .. })
    }
}

type Result<T> = std::result::Result<T, Error>;

/// Makes a network namespace and pins it at `path`. Its loopback interface is up, as it is in
/// every pod and container when the first plugin runs.
///
/// Missing folders on the way are made, readable by the owner alone. A plain file at the path
/// is taken over. The work is finished even if the caller stops waiting for it.
///
/// # Errors
///
/// [`Error::Exists`] if a namespace is pinned there; [`Error::Failed`] if the kernel refuses,
/// which it does without `CAP_SYS_ADMIN`. Nothing is left behind then.
pub async fn create(path: &Path) -> Result<()> {
    let target = path.to_owned();
    on_own_thread(path, move || {
        if identity(&target)?.is_some() {
            return Err(Error::Exists { path: target });
        }
        place_for_pin(&target)?;
        crash::point(format_args!("namespace: make"));
        let made = unshare(CloneFlags::CLONE_NEWNET)
            .map_err(failed("make a network namespace for", &target))
            .and_then(|()| {
                bring_up_loopback().map_err(failed("bring up the loopback interface of", &target))
            })
            .and_then(|()| bind(Path::new(THIS_THREAD), &target));
        if made.is_err() {
            // The first error is returned; the next `create` takes the file over.
            let _ = fs::remove_file(&target);
        }
        crash::point(format_args!("namespace: made"));
        made
    })
    .await?
}

/// Pins `namespace` at `path`, over whatever is pinned there: until [`unpin`], the path leads
/// to this namespace, and the one below stays alive.
///
/// # Errors
///
/// [`Error::Failed`] if the kernel refuses.
pub fn pin(namespace: impl AsFd, path: &Path) -> Result<()> {
    if identity(path)?.is_none() {
        place_for_pin(path)?;
    }
    bind(&PathBuf::from(format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd())), path)
}

/// Takes the topmost pin off `path`, which then leads to the namespace below, if any.
/// Succeeds if nothing is pinned there. The plain file stays.
///
/// # Errors
///
/// [`Error::Failed`] if the kernel refuses.
pub fn unpin(path: &Path) -> Result<()> {
    take_off(path).map(drop)
}

/// Removes every pin at `path`, and the file below. Succeeds if nothing is there.
///
/// The namespace itself dies with its last user; the kernel then deletes the virtual
/// interfaces in it and gives physical ones back, some milliseconds later.
///
/// # Errors
///
/// [`Error::Failed`] if the kernel refuses, or if a folder is at the path.
pub async fn remove(path: &Path) -> Result<()> {
    let target = path.to_owned();
    // Unmounting waits for other processors: some milliseconds, too long for the runtime.
    on_own_thread(path, move || {
        for _ in 0..MOST_PINS {
            if !take_off(&target)? {
                break;
            }
        }
        crash::point(format_args!("namespace: unpinned"));
        match fs::remove_file(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &target)(error))
            }
            _ => Ok(()),
        }
    })
    .await?
}

/// The paths in `folder` at which more than one namespace is pinned, one over the other: what
/// [`pin`] did and [`unpin`] has not undone.
///
/// # Errors
///
/// [`Error::Failed`] without `/proc`.
pub fn stacked(folder: &Path) -> Result<Vec<PathBuf>> {
    // The kernel lists mounts by their real paths; without a folder there are none.
    let Ok(real) = fs::canonicalize(folder) else { return Ok(Vec::new()) };
    let mut seen = HashSet::new();
    let stacked: HashSet<PathBuf> = pins()?
        .into_iter()
        .filter(|point| point.parent() == Some(&real))
        .filter(|point| !seen.insert(point.clone()))
        .filter_map(|point| Some(folder.join(point.file_name()?)))
        .collect();
    Ok(stacked.into_iter().collect())
}

/// Every path at which a network namespace is pinned, as far as this process sees mounts: once for
/// each pin there.
///
/// # Errors
///
/// [`Error::Failed`] without `/proc`.
pub fn pins() -> Result<Vec<PathBuf>> {
    let mounts = mounts::seen().map_err(failed("read", Path::new(mounts::FILE)))?;
    Ok(mounts.into_iter().filter(|it| it.root.starts_with("net:[")).map(|it| it.point).collect())
}

/// The identity of the namespace at `path`; `None` if nothing is there, or something that is
/// not a namespace.
///
/// # Errors
///
/// [`Error::Failed`] if the path cannot be looked at.
pub fn identity(path: &Path) -> Result<Option<Identity>> {
    // O_PATH looks without opening: it cannot block, whatever is there.
    match OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path) {
        Ok(file) => identity_of(&file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

/// Opens the namespace at `path`. It stays alive while the descriptor is open.
///
/// # Errors
///
/// [`Error::NotFound`], [`Error::NotANamespace`], or [`Error::Failed`].
pub fn open(path: &Path) -> Result<OwnedFd> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path: path.to_owned() },
        _ => failed("open network namespace", path)(error),
    })?;
    match identity_of(&file, path)? {
        Some(_) => Ok(file.into()),
        None => Err(Error::NotANamespace { path: path.to_owned() }),
    }
}

/// Opens the namespace that this process was started in.
///
/// # Errors
///
/// [`Error::NotFound`] without `/proc`.
pub fn own() -> Result<OwnedFd> {
    open(Path::new(THIS_PROCESS))
}

/// Runs `work` inside the namespace at `path`, on a thread of its own, and hands its result
/// back. Sockets that `work` opens belong to that namespace wherever they are used.
///
/// `work` runs to its end even if the caller stops waiting for it.
///
/// # Errors
///
/// As [`open`]; [`Error::Failed`] if the namespace cannot be entered; [`Error::Panicked`].
pub async fn run_in<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let target = path.to_owned();
    on_own_thread(path, move || {
        let namespace = open(&target)?;
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .map_err(failed("enter network namespace", &target))?;
        Ok(work())
    })
    .await?
}

/// Runs `work` on a new thread that ends with it, so that no one inherits its namespace.
async fn on_own_thread<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    // The semaphore is never closed, so a turn always comes.
    let turn = TURNS.acquire().await.ok();
    let (answer, answered) = oneshot::channel();
    thread::Builder::new()
        .name("netns".into())
        // The caller may have stopped waiting: the result is dropped then.
        .spawn(move || {
            let done = work();
            drop(turn);
            drop(answer.send(done));
        })
        .map_err(failed("start a thread for network namespace", path))?;
    answered.await.map_err(|_| Error::Panicked { path: path.to_owned() })
}

/// Makes the plain file that a namespace is mounted on, and the folders above it.
fn place_for_pin(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("make the folder", folder))?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(failed("make the file", path))
        .map(drop)
}

fn bind(namespace: &Path, path: &Path) -> Result<()> {
    mount(Some(namespace), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(failed("pin a network namespace at", path))
}

/// Takes the topmost mount off `path`; false if there was none.
fn take_off(path: &Path) -> Result<bool> {
    // Lazily: an open descriptor of the namespace would make the mount busy.
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(false),
        Err(error) => Err(failed("unmount", path)(error)),
    }
}

fn identity_of(file: &File, path: &Path) -> Result<Option<Identity>> {
    let system = fstatfs(file).map_err(failed("look at", path))?;
    if system.filesystem_type() != NSFS_MAGIC {
        return Ok(None);
    }
    let metadata = file.metadata().map_err(failed("look at", path))?;
    Ok(Some(Identity { dev: metadata.dev(), ino: metadata.ino() }))
}

#[allow(unsafe_code, reason = "no library has a safe ioctl for the flags of a link")]
fn bring_up_loopback() -> nix::Result<()> {
    let any_socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: libc::IFF_UP as libc::c_short },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    // SAFETY: SIOCSIFFLAGS reads one `ifreq` with a name and flags, which `request` is, and
    // keeps no reference to it. The socket is open.
    let result = unsafe { libc::ioctl(any_socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) };
    Errno::result(result).map(drop)
}

/// An [`Error::Failed`], for `map_err`.
fn failed<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |error| Error::Failed { operation, path, source: error.into() }
}
