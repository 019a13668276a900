//! The kernel's list of connections (ctnetlink, linux/netfilter/nfnetlink_conntrack.h).
//!
//! rtnetlink knows nothing of it. One verb on it is needed, and so few of its words that they are
//! written here, over a plain socket of the library below rtnetlink. Numbers in attributes are in network byte order; those in headers are the machine's.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use nix::libc::MSG_DONTWAIT;
use rtnetlink::packet_core::{
    NLA_F_NESTED, NLA_TYPE_MASK, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

use super::{Error, Failure, HOST};

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of a message's type.
const CONNTRACK: u16 = 1 << 8;
const CT_NEW: u16 = CONNTRACK;
const CT_GET: u16 = CONNTRACK | 1;
const CT_DELETE: u16 = CONNTRACK | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;

/// The headers before the attributes: `nlmsghdr`, and `nfgenmsg` behind it.
const NLMSGHDR: usize = 16;
const HEADERS: usize = NLMSGHDR + 4;

const UDP: u8 = 17;

/// Forgets every UDP flow that is answered from one of these addresses, in this process's
/// own namespace. How many they were.
pub async fn forget_udp_to(addresses: Vec<IpAddr>) -> Result<usize, Error> {
    let object = format!("UDP flows to {addresses:?}");
    let work = tokio::task::spawn_blocking(move || {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut flows = Vec::new();
        for (family, ours) in [
            (nix::libc::AF_INET as u8, addresses.iter().any(IpAddr::is_ipv4)),
            (nix::libc::AF_INET6 as u8, addresses.iter().any(IpAddr::is_ipv6)),
        ] {
            if ours {
                flows.extend(udp_flows(&socket, family, &addresses)?);
            }
        }
        for flow in &flows {
            forget(&socket, flow)?;
        }
        Ok(flows.len())
    });
    let outcome = match work.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Failure::Stopped),
    };
    let place = HOST.to_owned();
    outcome.map_err(|source| Error::Request { operation: "forget", object, place, source })
}

/// What names a flow to the kernel: its family, and these attributes as they came.
struct Flow {
    family: u8,
    name: Vec<u8>,
}

fn udp_flows(socket: &Socket, family: u8, to: &[IpAddr]) -> Result<Vec<Flow>, Failure> {
    socket.send(&message(CT_GET, NLM_F_REQUEST | NLM_F_DUMP, family, &[]), 0)?;
    let mut flows = Vec::new();
    // Ends: the socket is never waited for, and each round takes a datagram off it.
    loop {
        let answer = datagram(socket)?;
        for (kind, message) in messages(&answer) {
            match kind {
                NLMSG_DONE => return Ok(flows),
                NLMSG_ERROR => acknowledged(message)?,
                CT_NEW => flows.extend(udp_flow(message, family, to)),
                _ => {}
            }
        }
    }
}

/// The flow in a message, if it is a UDP one that is answered from one of `to`.
fn udp_flow(message: &[u8], family: u8, to: &[IpAddr]) -> Option<Flow> {
    let attributes = message.get(HEADERS..)?;
    let (protocol, source) = tuple(find(attributes, CTA_TUPLE_REPLY)?)?;
    if protocol != UDP || !to.contains(&source) {
        return None;
    }
    let mut name = attribute(CTA_TUPLE_ORIG, find(attributes, CTA_TUPLE_ORIG)?);
    if let Some(zone) = find(attributes, CTA_ZONE) {
        name.extend(attribute(CTA_ZONE, zone));
    }
    Some(Flow { family, name })
}

/// The protocol and the source address of one direction of a flow.
fn tuple(attributes: &[u8]) -> Option<(u8, IpAddr)> {
    let protocol = *find(find(attributes, CTA_TUPLE_PROTO)?, CTA_PROTO_NUM)?.first()?;
    let ip = find(attributes, CTA_TUPLE_IP)?;
    let v4 = find(ip, CTA_IP_V4_SRC).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let v6 = find(ip, CTA_IP_V6_SRC).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    Some((protocol, v4.map(IpAddr::from).or(v6.map(IpAddr::from))?))
}

fn forget(socket: &Socket, flow: &Flow) -> Result<(), Failure> {
    let request = message(CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, flow.family, &flow.name);
    socket.send(&request, 0)?;
    let answer = datagram(socket)?;
    for (kind, message) in messages(&answer) {
        if kind == NLMSG_ERROR {
            acknowledged(message)?;
        }
    }
    Ok(())
}

/// The error number in an acknowledgement. What has gone meanwhile is forgotten as well.
fn acknowledged(message: &[u8]) -> Result<(), Failure> {
    let code = message.get(NLMSGHDR..).and_then(|rest| rest.first_chunk().copied());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) if Errno::from_raw(-code) == Errno::ENOENT => Ok(()),
        Some(code) => Err(Failure::Refused { errno: Errno::from_raw(-code), reason: None }),
        None => Err(Failure::NoAnswer),
    }
}

fn datagram(socket: &Socket) -> Result<Vec<u8>, Failure> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    match socket.recv(&mut buffer, MSG_DONTWAIT) {
        Ok(_) => Ok(buffer),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Failure::NoAnswer),
        Err(error) => Err(error.into()),
    }
}

/// The messages of a datagram, each with its type, whole.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
        let message = datagram.get(..length).filter(|message| message.len() >= NLMSGHDR)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, message))
    })
}

fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
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

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mark = if kind == CTA_TUPLE_ORIG { NLA_F_NESTED } else { 0 };
    // The values are the kernel's own, and so no longer than an attribute can be.
    let length = (value.len() + 4) as u16;
    let mut bytes = [length.to_ne_bytes(), (kind | mark).to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = (HEADERS + attributes.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence number and port: one request at a time is under way on the socket.
    bytes.extend([0; 8]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}
