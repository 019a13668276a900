//! The protocol between the driver and a service manager: sd_listen_fds(3), sd_notify(3).
//!
//! The manager may have made the socket already, so that calls wait in it while the driver does not run.
//! Then the file belongs to the manager: the driver neither makes nor removes it. The variables stay set;
//! they are removed for plugins where those are started (`cni::plugins`).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use anyhow::{Context, bail};
use nix::sys::socket::sockopt::{AcceptConn, SockType};
use nix::sys::socket::{self, AddressFamily, SockaddrLike, SockaddrStorage, getsockopt};
use sd_notify::NotifyState;
use tracing::warn;

/// The listening socket that the service manager passes; none if it passes none.
///
/// May be called once: the descriptor is owned from then on.
///
/// # Errors
/// There are several, or it is not a socket on which dockerd can be answered.
pub(super) fn socket() -> anyhow::Result<Option<UnixListener>> {
    let mut handed = sd_notify::listen_fds().context("cannot take over LISTEN_FDS")?;
    let Some(fd) = handed.next() else { return Ok(None) };
    if handed.len() > 0 {
        bail!(
            "{} sockets are handed over (LISTEN_FDS), and the driver serves one; \
             leave one ListenStream= in the socket unit",
            handed.len() + 1
        );
    }
    #[allow(unsafe_code, reason = "only the variables know whose a descriptor is")]
    // SAFETY: the variables say that this descriptor was opened for this very process, and
    // nothing else here looks at them, so nothing else owns it. `listen_fds` has used it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if !is_unix_listener(&fd).context("cannot look at the socket that was handed over")? {
        bail!(
            "what is handed over (LISTEN_FDS) is not a listening Unix stream socket; \
             give the socket unit ListenStream= with the path of a file, and Accept=no"
        );
    }
    let listener = UnixListener::from(fd);
    listener.set_nonblocking(true).context("cannot set up the socket that was handed over")?;
    Ok(Some(listener))
}

fn is_unix_listener(fd: &OwnedFd) -> nix::Result<bool> {
    let address: SockaddrStorage = socket::getsockname(fd.as_raw_fd())?;
    Ok(address.family() == Some(AddressFamily::Unix)
        && getsockopt(fd, SockType)? == socket::SockType::Stream
        && getsockopt(fd, AcceptConn)?)
}

/// Reports that calls are answered from now on.
pub(super) fn ready() {
    notify(NotifyState::Ready);
}

/// Reports that the driver ends once the calls under way have ended.
pub(super) fn stopping() {
    notify(NotifyState::Stopping);
}

/// If the manager cannot be notified, it may stop waiting; the driver itself works.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot notify the service manager (NOTIFY_SOCKET)");
    }
}
