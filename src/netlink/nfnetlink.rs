//! What the parts of netfilter speak over netlink (linux/netfilter/nfnetlink.h).
//!
//! rtnetlink knows nothing of it. Two questions are asked here, and so few of its words are needed that
//! they are written here, over a plain socket of the library below rtnetlink. Numbers in attributes are in
//! network byte order; those in headers are the machine's.

use std::io;

use nix::errno::Errno;
use nix::libc::MSG_DONTWAIT;
use rtnetlink::packet_core::NLA_TYPE_MASK;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

use super::Failure;

/// The headers before the attributes: `nlmsghdr`, and `nfgenmsg` behind it.
const NLMSGHDR: usize = 16;
pub(super) const HEADERS: usize = NLMSGHDR + 4;

/// A socket in the namespace of the calling thread.
pub(super) fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// The address family in a message.
pub(super) fn family(message: &[u8]) -> Option<u8> {
    message.get(NLMSGHDR).copied()
}

/// The error number in an acknowledgement. What has gone meanwhile is forgotten as well.
pub(super) fn acknowledged(message: &[u8]) -> Result<(), Failure> {
    let code = message.get(NLMSGHDR..).and_then(|rest| rest.first_chunk().copied());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) if Errno::from_raw(-code) == Errno::ENOENT => Ok(()),
        Some(code) => Err(Failure::Refused { errno: Errno::from_raw(-code), reason: None }),
        None => Err(Failure::NoAnswer),
    }
}

/// The next datagram of an answer. The kernel has queued it when the request has been sent.
pub(super) fn datagram(socket: &Socket) -> Result<Vec<u8>, Failure> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    match socket.recv(&mut buffer, MSG_DONTWAIT) {
        Ok(_) => Ok(buffer),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Failure::NoAnswer),
        Err(error) => Err(error.into()),
    }
}

/// The messages of a datagram, each with its type, whole.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
        let message = datagram.get(..length).filter(|message| message.len() >= NLMSGHDR)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, message))
    })
}

/// The value of the first attribute of this kind.
pub(super) fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let found = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?) & NLA_TYPE_MASK;
        let value = attributes.get(4..length)?;
        if found == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// An attribute, as it goes into a message.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // The values are the kernel's own, and so no longer than an attribute can be.
    let length = (value.len() + 4) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message; sequence number and port are 0: one request at a time is under way on a socket.
pub(super) fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = (HEADERS + attributes.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}
