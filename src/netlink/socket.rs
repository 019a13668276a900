//! One rtnetlink socket, and how a request and its answer go over it.
//!
//! The kernel does the work inside `send`, holding the lock that all changes of links share,
//! and the answer is queued when `send` returns. So a socket is used by blocking calls, and
//! never waited for: not to read anything is an error.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NlasIterator, parse_string,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::libc::MSG_DONTWAIT;

use super::error::Failure;

/// The largest datagram that the kernel builds for a dump.
const DATAGRAM: usize = 32 * 1024;

/// How often a dump that was disturbed is begun anew.
const MOST_DUMPS: usize = 16;

/// `NLMSGERR_ATTR_MSG` of linux/netlink.h: the kernel's own words on an error.
const ATTR_MSG: u16 = 1;

/// What precedes the attributes of an error message: the header of the request.
const HEADER: usize = 16;

/// An rtnetlink socket. It belongs to the namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Socket {
    socket: netlink_sys::Socket,
    datagram: Vec<u8>,
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Errors come with words, and without a copy of the request.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // The kernel filters dumps, and refuses a filter that it does not know.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM) })
    }

    /// Sends one request that changes something, or asks for one thing. Returns what the
    /// kernel answers before it acknowledges.
    pub(super) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        self.exchange(&message, NLM_F_REQUEST | NLM_F_ACK | flags, &Some).map(|answer| answer.items)
    }

    /// Reads a whole list, anew if it changed meanwhile. Each message is turned into the items that
    /// it tells of, as it comes: a message about a link takes some ten KiB, and a host may have
    /// thousands of them.
    pub(super) fn dump<I: IntoIterator>(
        &mut self,
        request: &RouteNetlinkMessage,
        read: impl Fn(RouteNetlinkMessage) -> I,
    ) -> Result<Vec<I::Item>, Failure> {
        for _ in 0..MOST_DUMPS {
            let answer = self.exchange(request, NLM_F_REQUEST | NLM_F_DUMP, &read)?;
            if !answer.disturbed {
                return Ok(answer.items);
            }
        }
        Err(Failure::Unsteady)
    }

    fn exchange<I: IntoIterator>(
        &mut self,
        message: &RouteNetlinkMessage,
        flags: u16,
        read: &impl Fn(RouteNetlinkMessage) -> I,
    ) -> Result<Answer<I::Item>, Failure> {
        self.forget();
        self.send(message, flags)?;
        let mut answer = Answer { items: Vec::new(), disturbed: false };
        // Ends: the socket is never waited for, and each round takes a datagram off it.
        while !self.receive(&mut answer, read)? {}
        Ok(answer)
    }

    fn send(&mut self, message: &RouteNetlinkMessage, flags: u16) -> Result<(), Failure> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message.clone()));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(())
    }

    /// Takes off the socket what a request left that failed half-way. Otherwise it would be
    /// taken for the next answer, and no other list could be read.
    fn forget(&mut self) {
        loop {
            self.datagram.clear();
            if self.socket.recv(&mut self.datagram, MSG_DONTWAIT).is_err() {
                return;
            }
        }
    }

    /// Reads one datagram; true if the answer ended in it.
    fn receive<I: IntoIterator>(
        &mut self,
        answer: &mut Answer<I::Item>,
        read: &impl Fn(RouteNetlinkMessage) -> I,
    ) -> Result<bool, Failure> {
        self.datagram.clear();
        match self.socket.recv(&mut self.datagram, MSG_DONTWAIT) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Failure::NoAnswer);
            }
            Err(error) => return Err(error.into()),
        }
        let mut rest = self.datagram.as_slice();
        let mut ended = false;
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            answer.disturbed |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => answer.items.extend(read(inner)),
                NetlinkPayload::Done(done) => {
                    refusal(done.code, &done.extended_ack)?;
                    ended = true;
                }
                NetlinkPayload::Error(error) => {
                    refusal(error.raw_code(), error.header.get(HEADER..).unwrap_or_default())?;
                    ended = true;
                }
                NetlinkPayload::Overrun(_) => return Err(Failure::NoAnswer),
                _ => {}
            }
        }
        Ok(ended)
    }
}

struct Answer<T> {
    items: Vec<T>,
    disturbed: bool,
}

/// The error in an acknowledgement: a negative error number, and attributes with words.
fn refusal(code: i32, attributes: &[u8]) -> Result<(), Failure> {
    if code >= 0 {
        return Ok(());
    }
    let reason = NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == ATTR_MSG)
        .and_then(|attribute| parse_string(attribute.value()).ok());
    Err(Failure::Refused { errno: Errno::from_raw(-code), reason })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::route::RouteMessage;

    use super::super::tests::with_veth;
    use super::*;
    use crate::netns;

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

        let mut socket = netns::run_in(&pinned.path, Socket::open).await.unwrap().unwrap();
        let whole = socket.dump(&request, Some).unwrap();
        let mut answer = Answer { items: Vec::new(), disturbed: false };
        socket.send(&request, NLM_F_REQUEST | NLM_F_DUMP).unwrap();
        assert!(!socket.receive(&mut answer, &Some).unwrap(), "the list fits into one datagram");
        assert_eq!(socket.dump(&request, Some).unwrap(), whole);
        assert!(answer.items.len() < whole.len());
    }
}
