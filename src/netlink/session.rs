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
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::proto::Connection;
use rtnetlink::proto::sys::AsyncSocket;
use tokio::runtime::{Builder, Runtime};

use super::error::{Failure, refusal};
use super::socket::Socket;

/// So many namespaces are worked on at the same time. Most of such work is the kernel's, under a
/// lock of its own.
const THREADS: usize = 2;

/// How often a dump that was disturbed is begun anew.
const MOST_DUMPS: usize = 16;

/// How long the kernel's answer may take from when it has been asked. It is there at once, or
/// was lost.
const LIMIT: Duration = Duration::from_secs(10);

/// The runtime of all connections. It is started with the first, and ends with the process.
///
/// Its threads stay in the namespace of the one that asks first, and keep that alive: ask before
/// a namespace is entered.
pub(super) fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("netlink").enable_all().build()
    });
    RUNTIME.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

/// A connection, and the handle for its requests. Whoever has it polls the connection, too:
/// between two requests there is nothing to read.
pub(super) struct Session {
    connection: Connection<RouteNetlinkMessage, Socket>,
    handle: Handle,
}

impl Session {
    /// Opens one in the namespace of the calling thread, as
    /// [`rtnetlink::new_connection_with_strict_check`] does on its own kind of socket.
    pub(super) fn open(runtime: &Runtime) -> io::Result<Self> {
        let _reactor = runtime.enter();
        let (mut connection, handle, _) = rtnetlink::new_connection_with_socket::<Socket>()?;
        // What ends a list tells whether it is one.
        connection.set_forward_done(true);
        let socket = connection.socket_mut().socket_mut();
        // The kernel filters dumps, and refuses a filter that it does not know.
        socket.set_netlink_get_strict_chk(true)?;
        // Errors come with words, and without a copy of the request.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { connection, handle })
    }

    /// For the requests of [`Session::drive`].
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
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

    /// Sends a request that rtnetlink has no words for.
    pub(super) async fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Failure> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags, &Some).await.map(drop)
    }

    /// Reads a whole list, anew if it changed meanwhile. Each message is turned into the items that
    /// it tells of, as it comes: a message about a link takes some ten KiB, and a host may have
    /// thousands of them.
    pub(super) async fn dump<I: IntoIterator>(
        &mut self,
        request: RouteNetlinkMessage,
        read: impl Fn(RouteNetlinkMessage) -> I,
    ) -> Result<Vec<I::Item>, Failure> {
        for _ in 0..MOST_DUMPS {
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            let answer = self.exchange(request.clone(), flags, &read).await?;
            if !answer.disturbed {
                return Ok(answer.items);
            }
        }
        Err(Failure::Unsteady)
    }

    async fn exchange<I: IntoIterator>(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        read: &impl Fn(RouteNetlinkMessage) -> I,
    ) -> Result<Answer<I::Item>, Failure> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        let mut messages = self.handle.request(message)?;
        let answer = async {
            let mut answer = Answer { items: Vec::new(), disturbed: false };
            while let Some(message) = messages.next().await {
                answer.disturbed |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answer.items.extend(read(inner)),
                    NetlinkPayload::Done(done) => refusal(done.code, &done.extended_ack)?,
                    NetlinkPayload::Error(error) => return Err(error.into()),
                    _ => {}
                }
            }
            Ok(answer)
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
                    return Poll::Ready(Some(answer));
                }
                let ended = connection.poll_unpin(cx).is_ready();
                let socket = connection.socket_mut();
                if !socket.has_moved() {
                    let failed = ended || socket.has_failed();
                    return if failed { Poll::Ready(None) } else { Poll::Pending };
                }
            }
        });
        let answer = tokio::time::timeout(LIMIT, answered).await;
        match (connection.socket_mut().failure(), answer) {
            (Some(failure), _) => Err(failure),
            (None, Ok(Some(answer))) => Ok(answer),
            (None, _) => Err(Failure::NoAnswer),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

struct Answer<T> {
    items: Vec<T>,
    disturbed: bool,
}

#[cfg(test)]
mod tests {
    use rtnetlink::LinkUnspec;
    use rtnetlink::packet_route::AddressFamily;
    use rtnetlink::packet_route::route::RouteMessage;

    use super::super::tests::with_veth;
    use super::*;
    use crate::netns::{self, tests::Pinned};

    async fn open(place: &Pinned) -> Session {
        let runtime = runtime().unwrap();
        netns::run_in(&place.path, || Session::open(runtime)).await.unwrap().unwrap()
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
        // The first of them, and nobody waits for the rest.
        session.drive(messages.next()).await.unwrap().unwrap();
        assert_eq!(session.dump(request, Some).await.unwrap(), whole);
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_an_error() {
        let (pinned, _netlink, index) = with_veth().await;
        let mut session = open(&pinned).await;
        let message = LinkUnspec::new_with_index(index).mtu(1400).build();
        // Nobody told the kernel to acknowledge it.
        let request = RouteNetlinkMessage::SetLink(message);
        tokio::time::pause();
        let answer = session.exchange(request.clone(), NLM_F_REQUEST, &Some).await;
        assert!(matches!(answer, Err(Failure::NoAnswer)));
        tokio::time::resume();
        session.request(request, 0).await.unwrap();
    }
}
