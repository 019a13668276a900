//! How a request and its answer go over a connection of rtnetlink, and where that happens.
//!
//! The kernel does the work inside `send`, holding the lock that all changes of links share: up
//! to some 30 ms when an interface is moved or deleted. On the runtime that serves calls, other
//! calls would wait for that. So connections have a runtime of their own.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use rtnetlink::Handle;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::proto::Connection;
use rtnetlink::proto::sys::AsyncSocket;
use tokio::runtime::{Builder, Runtime};

use super::error::{Failure, refused};
use super::socket::Socket;

/// How often a dump that was disturbed is repeated.
const MOST_DUMPS: usize = 16;

/// How many verbs there are at a time, each of another connection; further ones wait for a thread. The
/// kernel makes changes of links one after the other in any case.
const VERBS: usize = 6;

/// How long the kernel's answer may take. It is there as soon as it has been asked, or was lost.
const LIMIT: Duration = Duration::from_secs(10);

/// The runtime of all connections. It is started with the first, and ends with the process. News are
/// heard on its one worker; each verb has a thread of those that may block, which costs less
/// than to have workers look for it, and does not wait for one in another namespace.
///
/// Its threads stay in the namespace of the one that asks, and keep that alive: not for threads that
/// have entered another.
pub(super) fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .max_blocking_threads(VERBS)
            .thread_name("netlink")
            .enable_all()
            .build()
    });
    RUNTIME.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

/// A connection, and the handle for its requests. Its holder polls the connection, too:
/// between two requests there is nothing to read.
pub(super) struct Session {
    connection: Connection<RouteNetlinkMessage, Socket>,
    /// For the requests of [`Session::drive`].
    pub(super) handle: Handle,
}

impl Session {
    /// Opens one in the namespace of the calling thread, as
    /// [`rtnetlink::new_connection_with_strict_check`] does on its own kind of socket.
    pub(super) fn open() -> io::Result<Self> {
        let (mut connection, handle, _) = rtnetlink::new_connection_with_socket::<Socket>()?;
        // The last message shows whether it is a list.
        connection.set_forward_done(true);
        let socket = connection.socket_mut().socket_mut();
        // The kernel filters dumps, and refuses a filter that it does not know.
        socket.set_netlink_get_strict_chk(true)?;
        // Errors come with words, and without a copy of the request.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { connection, handle })
    }

    /// Waits for one of rtnetlink's own requests that change something.
    pub(super) async fn execute<R>(
        &mut self,
        request: impl FnOnce(&Handle) -> R,
    ) -> Result<(), Failure>
    where
        R: Future<Output = Result<(), rtnetlink::Error>>,
    {
        let request = request(&self.handle);
        Ok(self.drive(request).await??)
    }

    /// Reads a whole list, again if it changed meanwhile. Each message is turned into its items
    /// as it comes: a message about a link takes some ten KiB, and a host may have
    /// thousands of them.
    pub(super) async fn dump<I: IntoIterator>(
        &mut self,
        request: RouteNetlinkMessage,
        read: impl Fn(RouteNetlinkMessage) -> I,
    ) -> Result<Vec<I::Item>, Failure> {
        for _ in 0..MOST_DUMPS {
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            let answer = self.exchange(request.clone(), flags, &read).await?;
            if let (items, false) = answer {
                return Ok(items);
            }
        }
        Err(Failure::Unsteady)
    }

    /// Sends a request that rtnetlink has no words for. Returns what the kernel answers, and whether
    /// that changed while it was read.
    pub(super) async fn exchange<I: IntoIterator>(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        read: &impl Fn(RouteNetlinkMessage) -> I,
    ) -> Result<(Vec<I::Item>, bool), Failure> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        let mut messages = self.handle.request(message)?;
        let answer = async {
            let (mut items, mut disturbed) = (Vec::new(), false);
            while let Some(message) = messages.next().await {
                disturbed |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => items.extend(read(inner)),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(refused(done.code, &done.extended_ack));
                    }
                    NetlinkPayload::Error(error) => return Err(error.into()),
                    _ => {}
                }
            }
            Ok((items, disturbed))
        };
        self.drive(answer).await?
    }

    /// Polls the connection until `request`, made of [`Session::handle`], is answered.
    pub(super) async fn drive<T>(
        &mut self,
        request: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let connection = &mut self.connection;
        connection.socket_mut().forget();
        let mut request = pin!(request);
        let answered = poll_fn(|cx| {
            loop {
                if let Poll::Ready(answer) = request.as_mut().poll(cx) {
                    let failure = connection.socket_mut().failure();
                    return Poll::Ready(failure.map_or(Ok(answer), Err));
                }
                let ended = connection.poll_unpin(cx).is_ready();
                let socket = connection.socket_mut();
                if !socket.has_moved() {
                    return match socket.failure() {
                        Some(failure) => Poll::Ready(Err(failure)),
                        None if ended => Poll::Ready(Err(Failure::NoAnswer)),
                        None => Poll::Pending,
                    };
                }
            }
        });
        tokio::time::timeout(LIMIT, answered).await.unwrap_or(Err(Failure::NoAnswer))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::LinkUnspec;
    use rtnetlink::packet_core::NLM_F_ACK;
    use rtnetlink::packet_route::AddressFamily;
    use rtnetlink::packet_route::route::RouteMessage;

    use super::super::tests::with_veth;
    use super::*;
    use crate::netns::{self, tests::Pinned};

    async fn open(place: &Pinned) -> Session {
        netns::run_in(&place.path, Session::open).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn what_a_failed_request_left_does_not_disturb_the_next() {
        let (pinned, netlink, index) = with_veth().await;
        for host in 0..600 {
            let net: ipnet::IpNet =
                format!("10.1.{}.{}/32", host / 200, host % 200).parse().unwrap();
            netlink.add_address(index, &net.into()).await.unwrap();
        }
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let request = RouteNetlinkMessage::GetRoute(message);

        let mut session = open(&pinned).await;
        let whole = session.dump(request.clone(), Some).await.unwrap();
        let mut asked = NetlinkMessage::from(request.clone());
        asked.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut messages = session.handle.request(asked).unwrap();
        // The first of them; the rest is not read.
        session.drive(messages.next()).await.unwrap().unwrap();
        assert_eq!(session.dump(request, Some).await.unwrap(), whole);
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_an_error() {
        let (pinned, _netlink, index) = with_veth().await;
        let mut session = open(&pinned).await;
        let message = LinkUnspec::new_with_index(index).mtu(1400).build();
        // The kernel was not asked to acknowledge it.
        let request = RouteNetlinkMessage::SetLink(message);
        tokio::time::pause();
        let answer = session.exchange(request.clone(), NLM_F_REQUEST, &Some).await;
        assert!(matches!(answer, Err(Failure::NoAnswer)));
        tokio::time::resume();
        let flags = NLM_F_REQUEST | NLM_F_ACK;
        assert_eq!(session.exchange(request, flags, &Some).await.unwrap(), (vec![], false));
    }
}
