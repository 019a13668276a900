//! The kernel's list of connections (ctnetlink, linux/netfilter/nfnetlink_conntrack.h): one verb on it.

use std::net::IpAddr;

use rtnetlink::packet_core::{
    NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
};
use rtnetlink::sys::Socket;

use super::nfnetlink::{HEADERS, acknowledged, attribute, datagram, find, message, messages, open};
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

const UDP: u8 = 17;

/// Forgets every UDP flow that is answered from one of these addresses, in this process's
/// own namespace. How many they were.
pub async fn forget_udp_to(addresses: Vec<IpAddr>) -> Result<usize, Error> {
    let object = format!("UDP flows to {addresses:?}");
    let work = tokio::task::spawn_blocking(move || {
        let socket = open()?;
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
    let mut name = attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, find(attributes, CTA_TUPLE_ORIG)?);
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
