//! News that something changed in a namespace, without what it was: whoever waits looks
//! for himself, and misses nothing when the kernel drops a message.

use std::io;
use std::path::Path;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::libc::ENOBUFS;
use tokio::io::unix::AsyncFd;

use super::Error;
use crate::netns;

/// The multicast groups that are listened to (linux/rtnetlink.h): links, IPv4 addresses and
/// routes, IPv6 addresses and routes.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];

/// Changes of the links, addresses and routes of one namespace. It keeps the namespace alive.
#[derive(Debug)]
pub struct Events {
    socket: AsyncFd<netlink_sys::Socket>,
    place: String,
}

impl Events {
    /// Listens in this process's own namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Open`].
    pub fn own() -> Result<Self, Error> {
        Self::new("the host's namespace".into(), listen())
    }

    /// Listens in the namespace at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`]; [`Error::Open`].
    pub async fn in_netns(path: &Path) -> Result<Self, Error> {
        Self::new(path.display().to_string(), netns::run_in(path, listen).await?)
    }

    fn new(place: String, socket: io::Result<netlink_sys::Socket>) -> Result<Self, Error> {
        #[allow(unsafe_code, reason = "only the caller can know that a descriptor stays open")]
        // SAFETY: the socket owns its descriptor, which is open until it is dropped, and the
        // `AsyncFd` owns the socket; nothing here replaces the one or takes out the other.
        let registered = socket.and_then(|socket| Ok(unsafe { AsyncFd::register(socket) }?));
        match registered {
            Ok(socket) => Ok(Self { socket, place }),
            Err(source) => Err(Error::Open { place, source }),
        }
    }

    /// Waits until something has changed since this was last called, or since it was opened.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`].
    pub async fn next(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Listen { place: self.place.clone(), source };
        let mut ready = self.socket.readable_mut().await.map_err(failed)?;
        let mut message = Vec::with_capacity(4096);
        loop {
            message.clear();
            match ready.try_io(|socket| socket.get_ref().recv(&mut message, 0)) {
                Ok(Ok(_)) => {}
                // There was too much news to keep, which is news.
                Ok(Err(error)) if error.raw_os_error() == Some(ENOBUFS) => {}
                Ok(Err(error)) => return Err(failed(error)),
                Err(_drained) => return Ok(()),
            }
        }
    }
}

fn listen() -> io::Result<netlink_sys::Socket> {
    let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    socket.set_non_blocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{ip, with_veth};
    use super::*;

    #[tokio::test]
    async fn every_kind_of_change_is_news_and_quiet_is_none() {
        let (pinned, _, _) = with_veth().await;
        let mut events = Events::in_netns(&pinned.path).await.unwrap();
        for command in [
            "link set two alias x",
            "addr add 10.9.0.2/24 dev one",
            "route add 10.10.0.0/24 via 10.9.0.1",
            "addr add fd09::2/64 dev one nodad",
        ] {
            ip(&pinned.path, command);
            let news = tokio::time::timeout(Duration::from_secs(5), events.next()).await;
            news.unwrap_or_else(|_| panic!("no news of: {command}")).unwrap();
        }
    }
}
