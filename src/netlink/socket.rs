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
    sequence: u32,
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
        Ok(Self { socket, sequence: 0, datagram: Vec::with_capacity(DATAGRAM) })
    }

    /// Sends one request that changes something, or asks for one thing. Returns what the
    /// kernel answers before it acknowledges.
    pub(super) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(|answer| answer.messages)
    }

    /// Reads a whole list, anew if it changed meanwhile.
    pub(super) fn dump(
        &mut self,
        request: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        for _ in 0..MOST_DUMPS {
            let answer = self.exchange(request.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if !answer.disturbed {
                return Ok(answer.messages);
            }
        }
        Err(Failure::Unsteady)
    }

    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<Answer, Failure> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answer = Answer { messages: Vec::new(), disturbed: false };
        // Ends: the socket is never waited for, and each round takes a datagram off it.
        while !self.receive(&mut answer)? {}
        Ok(answer)
    }

    /// Reads one datagram; true if the answer ended in it.
    fn receive(&mut self, answer: &mut Answer) -> Result<bool, Failure> {
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
            if message.header.sequence_number != self.sequence {
                // Left over from a request that failed half-way.
                continue;
            }
            answer.disturbed |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => answer.messages.push(inner),
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

struct Answer {
    messages: Vec<RouteNetlinkMessage>,
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
