//! News that something changed in a namespace, without what it was: whoever waits looks
//! for himself, and misses nothing when the kernel drops a message.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::task::Poll;

use futures_util::FutureExt;
use nix::libc::ENOBUFS;
use rtnetlink::{MulticastGroup, new_multicast_connection_with_socket};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::session::runtime;
use super::socket::Socket;
use super::{Error, Failure, HOST, unopened};
use crate::netns;

/// The multicast groups that are listened to.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
];

/// Changes of the links, addresses and routes of one namespace. It keeps the namespace alive.
#[derive(Debug)]
pub struct Events {
    news: mpsc::Receiver<io::Result<()>>,
    place: String,
}

impl Events {
    /// Listens in this process's own namespace; else fails with [`Error::Io`].
    pub fn own() -> Result<Self, Error> {
        let news = runtime().and_then(listen).map_err(unopened(HOST))?;
        Ok(Self { news, place: HOST.into() })
    }

    /// Listens in the namespace at `path`. Fails as [`Netlink::in_netns`](super::Netlink::in_netns).
    pub async fn in_netns(path: &Path) -> Result<Self, Error> {
        let (runtime, place) = (runtime(), path.display().to_string());
        let news = netns::run_in(path, || listen(runtime?)).await?.map_err(unopened(&place))?;
        Ok(Self { news, place })
    }

    /// Waits until something has changed since this was last called, or since it was opened; else
    /// fails with [`Error::Io`].
    pub async fn next(&mut self) -> Result<(), Error> {
        let gone = || Err(io::ErrorKind::BrokenPipe.into());
        let news = self.news.recv().await.unwrap_or_else(gone);
        let (operation, place) = ("listen for changes".to_owned(), self.place.clone());
        news.map_err(|source| Error::Io { operation, place, source })
    }
}

/// Begins to listen in the namespace of the calling thread. There is room for one piece of news:
/// more would say the same.
fn listen(runtime: &Runtime) -> io::Result<mpsc::Receiver<io::Result<()>>> {
    let _reactor = runtime.enter();
    let (mut connection, _, mut messages) =
        new_multicast_connection_with_socket::<Socket>(&GROUPS)?;
    let (news, heard) = mpsc::channel(1);
    runtime.spawn(async move {
        let listening = poll_fn(|cx| {
            let ended = connection.poll_unpin(cx).is_ready();
            while messages.try_recv().is_ok() {}
            let socket = connection.socket_mut();
            match (socket.has_moved(), socket.failure()) {
                // There was too much news to keep, which is news.
                (_, Some(Failure::Socket(error))) if error.raw_os_error() != Some(ENOBUFS) => {
                    return Poll::Ready(error);
                }
                (false, None) if ended => return Poll::Ready(io::ErrorKind::BrokenPipe.into()),
                (false, None) => return Poll::Pending,
                _ => {}
            }
            // If there is no room, nobody has asked for the last.
            let _ = news.try_send(Ok(()));
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        tokio::select! {
            error = listening => drop(news.send(Err(error)).await),
            () = news.closed() => {}
        }
    });
    Ok(heard)
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
