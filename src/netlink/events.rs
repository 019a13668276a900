//! Events: something changed in a namespace. They do not say what: the caller looks
//! for himself, and misses nothing when the kernel drops a message.

use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::task::Poll;

use futures_util::FutureExt;
use nix::libc::ENOBUFS;
use rtnetlink::{MulticastGroup, new_multicast_connection_with_socket};
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
    news: News,
    place: String,
}

impl Events {
    /// Listens in this process's own namespace; else fails with [`Error::Io`].
    pub fn own() -> Result<Self, Error> {
        Self::new(HOST, open())
    }

    /// Listens in the namespace at `path`. Fails as [`Netlink::in_netns`](super::Netlink::in_netns).
    pub async fn in_netns(path: &Path) -> Result<Self, Error> {
        Self::new(&path.display().to_string(), netns::run_in(path, open).await?)
    }

    fn new(
        place: &str,
        opened: io::Result<(impl Future<Output = ()> + Send + 'static, News)>,
    ) -> Result<Self, Error> {
        let spawned = opened.and_then(|(listening, news)| {
            runtime()?.spawn(listening);
            Ok(news)
        });
        Ok(Self { news: spawned.map_err(unopened(place))?, place: place.into() })
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

/// There is room for one piece of news: more would say the same.
type News = mpsc::Receiver<io::Result<()>>;

/// Opens a connection in the namespace of the calling thread; and what listens on it.
fn open() -> io::Result<(impl Future<Output = ()> + Send + 'static, News)> {
    let (mut connection, _, mut messages) =
        new_multicast_connection_with_socket::<Socket>(&GROUPS)?;
    let (news, heard) = mpsc::channel(1);
    let listening = async move {
        if let Err(error) = connection.socket_mut().watch() {
            return drop(news.send(Err(error)).await);
        }
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
            // If there is no room, the last event has not been read.
            let _ = news.try_send(Ok(()));
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        tokio::select! {
            error = listening => drop(news.send(Err(error)).await),
            () = news.closed() => {}
        }
    };
    Ok((listening, heard))
}
