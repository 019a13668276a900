//! The socket below rtnetlink's connections.
//!
//! It differs from rtnetlink's own kind in what a connection sees of it:
//!
//! * The kernel has queued its answer when `send` returns. So the socket is read at once, and the
//!   runtime watches it only for [`Socket::watch`], since news come at any time.
//! * A connection reads until there is nothing left, and would have all of a list in memory,
//!   some ten KiB for a link, before its reader gets the first piece. Here it gets one datagram,
//!   and the next one when [`Socket::has_moved`] has been asked.
//! * A connection logs a message that it cannot parse, and goes on: a list would have a hole.
//!   And it ends for good when the socket fails once. Here both are kept as the [`Failure`] of
//!   the request that is under way.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use rtnetlink::packet_core::{NetlinkBuffer, NetlinkMessage};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::proto::sys::AsyncSocket;
use rtnetlink::sys::SocketAddr;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::Failure;

/// The largest datagram that the kernel builds for a dump.
const DATAGRAM: usize = 32 * 1024;

/// An rtnetlink socket. It belongs to the namespace of the thread that opened it.
pub(super) struct Socket {
    socket: rtnetlink::sys::Socket,
    /// The same, where the runtime watches it.
    watched: Option<AsyncFd<OwnedFd>>,
    datagram: RefCell<Vec<u8>>,
    moved: Cell<bool>,
    failure: RefCell<Option<Failure>>,
}

impl Socket {
    /// Whether something went out or came in since this was last asked.
    pub(super) fn has_moved(&mut self) -> bool {
        self.moved.take()
    }

    /// What went wrong first since this was last asked.
    pub(super) fn failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Takes off what a request left that failed half-way. The kernel begins no list before it
    /// has got rid of the last one.
    pub(super) fn forget(&mut self) {
        let datagram = self.datagram.get_mut();
        while self.socket.recv_from(datagram, 0).is_ok() {
            datagram.clear();
        }
    }

    /// Makes the calling runtime report when something can be read.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        let same = self.socket.as_fd().try_clone_to_owned()?;
        // SAFETY: the `AsyncFd` owns the descriptor, which is open until it is dropped.
        #[allow(unsafe_code, reason = "tokio has no safe way that is sound for every descriptor")]
        let watched = unsafe { AsyncFd::register_with_interest(same, Interest::READABLE) }?;
        self.watched = Some(watched);
        Ok(())
    }

    fn poll_datagram(&self, cx: &mut Context<'_>) -> Poll<io::Result<SocketAddr>> {
        let mut datagram = self.datagram.borrow_mut();
        loop {
            datagram.clear();
            match self.socket.recv_from(&mut *datagram, 0) {
                Ok((_, from)) => return Poll::Ready(Ok(from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match &self.watched {
                    Some(watched) => ready!(watched.poll_read_ready(cx))?.clear_ready(),
                    None => return Poll::Pending,
                },
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn fail(&self, failure: impl Into<Failure>) {
        self.failure.borrow_mut().get_or_insert(failure.into());
    }

    /// Hands on the messages of a datagram that can be parsed.
    fn hand_on(&self, mut rest: &[u8], to: &mut impl BufMut) {
        while !rest.is_empty() {
            let length = match NetlinkBuffer::new_checked(rest) {
                Ok(message) => message.length() as usize,
                Err(error) => return self.fail(error),
            };
            let message = &rest[..length];
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
                Ok(_) => to.put_slice(message),
                Err(error) => self.fail(error),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

impl AsyncSocket for Socket {
    fn socket_ref(&self) -> &rtnetlink::sys::Socket {
        &self.socket
    }

    fn socket_mut(&mut self) -> &mut rtnetlink::sys::Socket {
        &mut self.socket
    }

    fn new(protocol: isize) -> io::Result<Self> {
        let socket = rtnetlink::sys::Socket::new(protocol)?;
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            watched: None,
            datagram: RefCell::new(Vec::with_capacity(DATAGRAM)),
            moved: Cell::default(),
            failure: RefCell::default(),
        })
    }

    fn poll_send(&self, cx: &mut Context<'_>, message: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send_to(cx, message, &SocketAddr::new(0, 0))
    }

    fn poll_send_to(
        &self,
        _: &mut Context<'_>,
        message: &[u8],
        to: &SocketAddr,
    ) -> Poll<io::Result<usize>> {
        match self.socket.send_to(message, to, 0) {
            Ok(_) => self.moved.set(true),
            Err(error) => self.fail(error),
        }
        Poll::Ready(Ok(message.len()))
    }

    fn poll_recv<B: BufMut>(&self, cx: &mut Context<'_>, to: &mut B) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, to).map_ok(drop)
    }

    fn poll_recv_from<B: BufMut>(
        &self,
        cx: &mut Context<'_>,
        to: &mut B,
    ) -> Poll<io::Result<SocketAddr>> {
        if self.moved.get() {
            return Poll::Pending;
        }
        match ready!(self.poll_datagram(cx)) {
            Ok(from) => {
                self.moved.set(true);
                self.hand_on(&self.datagram.borrow(), to);
                Poll::Ready(Ok(from))
            }
            Err(error) => {
                self.fail(error);
                Poll::Pending
            }
        }
    }

    fn poll_recv_from_full(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Vec<u8>, SocketAddr)>> {
        let mut whole = Vec::new();
        self.poll_recv_from(cx, &mut whole).map_ok(|from| (whole, from))
    }
}
