//! Telling the neighbours of a link which hardware address its addresses are at.
//!
//! A neighbour that has exchanged packets with an address keeps its hardware address for a while, and reaches nobody
//! when that has become another one. So the new one is announced without a request: by an ARP
//! request for one's own IPv4 address (RFC 5227, "ARP Announcement"), and by an unsolicited
//! neighbour advertisement for an IPv6 address (RFC 4861, section 7.2.6). Switches learn from the
//! same frames by which port they reach the address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket,
};

use super::{Error, Mac};
use crate::netns;

/// A frame without its Ethernet header, which the kernel writes.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    to: [u8; 6],
    /// `ETH_P_*`: what the content is.
    protocol: u16,
    content: Vec<u8>,
}

/// Announces to all neighbours of the link, in the namespace at `path`, that its `addresses` are at `mac`.
/// A link that `is_router` forwards IPv6.
///
/// # Errors
///
/// [`Error::Namespace`]; [`Error::Announce`], also if the link is down.
pub async fn announce(
    path: &Path,
    link: u32,
    mac: Mac,
    is_router: bool,
    addresses: &[IpAddr],
) -> Result<(), Error> {
    let frames: Vec<(IpAddr, Frame)> = (addresses.iter())
        .map(|address| match address {
            IpAddr::V4(address) => ((*address).into(), arp(mac, *address)),
            IpAddr::V6(address) => ((*address).into(), advertisement(mac, *address, is_router)),
        })
        .collect();
    let sent = netns::run_in(path, move || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Without a protocol nothing is received.
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None);
        for (address, frame) in frames {
            let sent = socket.as_ref().map_err(|errno| *errno).and_then(|socket| {
                let to = destination(link, &frame).ok_or(nix::errno::Errno::EINVAL)?;
                sendto(socket.as_raw_fd(), &frame.content, &to, MsgFlags::empty())
            });
            sent.map_err(|errno| (address, io::Error::from(errno)))?;
        }
        Ok(())
    });
    let place = path.display().to_string();
    sent.await?.map_err(|(address, source)| Error::Announce { address, place, source })
}

#[allow(unsafe_code, reason = "no library makes a link-layer address in a safe way")]
fn destination(link: u32, frame: &Frame) -> Option<LinkAddr> {
    let mut hardware = [0; 8];
    hardware[..frame.to.len()].copy_from_slice(&frame.to);
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: frame.protocol.to_be(),
        sll_ifindex: i32::try_from(link).ok()?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: frame.to.len() as u8,
        sll_addr: hardware,
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a whole `sockaddr_ll`, whose family says so and whose length is
    // told; it is copied before this returns.
    unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) }
}

/// An ARP request for one's own address.
fn arp(mac: Mac, address: Ipv4Addr) -> Frame {
    const ETHERNET: u16 = 1;
    const REQUEST: u16 = 1;
    let mut content = Vec::with_capacity(28);
    content.extend(ETHERNET.to_be_bytes());
    content.extend((libc::ETH_P_IP as u16).to_be_bytes());
    // The lengths of both kinds of addresses.
    content.extend([6, 4]);
    content.extend(REQUEST.to_be_bytes());
    content.extend(mac.0);
    content.extend(address.octets());
    content.extend([0; 6]);
    content.extend(address.octets());
    Frame { to: [0xff; 6], protocol: libc::ETH_P_ARP as u16, content }
}

/// A neighbour advertisement to all nodes on the link.
fn advertisement(mac: Mac, address: Ipv6Addr, is_router: bool) -> Frame {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ICMPV6: u8 = 58;
    /// Anything less has passed a router, and is ignored.
    const HOP_LIMIT: u8 = 255;
    const ADVERTISEMENT: u8 = 136;
    const ROUTER: u8 = 0x80;
    /// What the neighbours have is to be replaced.
    const OVERRIDE: u8 = 0x20;
    /// The option that has the hardware address, and its length in units of eight bytes.
    const TARGET_LINK_LAYER: [u8; 2] = [2, 1];

    let mut message = vec![ADVERTISEMENT, 0, 0, 0];
    message.extend([OVERRIDE | if is_router { ROUTER } else { 0 }, 0, 0, 0]);
    message.extend(address.octets());
    message.extend(TARGET_LINK_LAYER);
    message.extend(mac.0);
    let length = message.len() as u16;
    // RFC 8200, section 8.1: both addresses, the length and the protocol are summed too.
    let pseudo_header =
        [&address.octets()[..], &ALL_NODES.octets(), &u32::from(length).to_be_bytes()];
    let pseudo_header = [pseudo_header.concat(), vec![0, 0, 0, ICMPV6]].concat();
    let sum = checksum([pseudo_header, message.clone()].concat().as_slice());
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    // Version 6, no traffic class, no flow label.
    let mut content = vec![0x60, 0, 0, 0];
    content.extend(length.to_be_bytes());
    content.extend([ICMPV6, HOP_LIMIT]);
    content.extend(address.octets());
    content.extend(ALL_NODES.octets());
    content.extend(message);
    Frame { to: [0x33, 0x33, 0, 0, 0, 1], protocol: libc::ETH_P_IPV6 as u16, content }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::super::Netlink;
    use super::super::tests::{ip, with_veth};
    use super::*;
    use crate::netns::tests::{Pinned, eventually};

    #[tokio::test]
    async fn neighbours_learn_a_new_hardware_address_of_both_families() {
        let (here, netlink, index) = with_veth().await;
        // The other end is a neighbour that knows of an old hardware address.
        let there = Pinned::new().await;
        let two = netlink.link("two").await.unwrap().unwrap().index;
        netlink.move_to(two, netns::open(&there.path).unwrap()).await.unwrap();
        let neighbour = Netlink::in_netns(&there.path).await.unwrap();
        ip(&there.path, "link set two up");
        let addresses: [IpAddr; 2] = ["10.9.0.2".parse().unwrap(), "fd09::2".parse().unwrap()];
        for (at, side, host) in [(&here, "one", 2), (&there, "two", 3)] {
            ip(&at.path, &format!("addr add 10.9.0.{host}/24 dev {side}"));
            ip(&at.path, &format!("addr add fd09::{host}/64 dev {side} nodad"));
        }
        for address in addresses {
            let entry = format!("{address} lladdr 02:00:00:00:00:77 dev two nud reachable");
            ip(&there.path, &format!("neigh replace {entry}"));
        }
        eventually("the cable carries", async || {
            !ip(&there.path, "link show two").contains("NO-CARRIER")
        })
        .await;
        let mac = netlink.link_by_index(index).await.unwrap().unwrap().mac.unwrap();
        announce(&here.path, index, mac, true, &addresses).await.unwrap();
        eventually("both are known again", async || {
            let known = ip(&there.path, "neigh show dev two");
            let of =
                |address: &IpAddr| known.lines().find(|it| it.starts_with(&address.to_string()));
            addresses
                .iter()
                .all(|address| of(address).is_some_and(|it| it.contains(&mac.to_string())))
        })
        .await;
        // As the kernel says it of a host that forwards.
        assert!(ip(&there.path, "-6 neigh show dev two").contains("router"));
        drop(neighbour);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_an_error_that_names_the_address() {
        let (here, netlink, index) = with_veth().await;
        netlink.set_down(index).await.unwrap();
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let refused = announce(&here.path, index, mac, false, &["10.9.0.2".parse().unwrap()]).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("cannot announce 10.9.0.2") && text.contains("down"), "{text}");
    }

    #[test]
    fn an_advertisement_is_what_the_rfc_says() {
        let frame = advertisement(Mac([2, 0, 0, 0, 0, 1]), "fd09::2".parse().unwrap(), false);
        assert_eq!((frame.to, frame.protocol), ([0x33, 0x33, 0, 0, 0, 1], 0x86dd));
        assert_eq!(frame.content.len(), 40 + 32);
        assert_eq!(frame.content[..8], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(frame.content[40..42], [136, 0]);
        assert_eq!(frame.content[44], 0x20);
        // Summed with its checksum, a message gives nothing.
        let pseudo_header = [&frame.content[8..40], &[0, 0, 0, 32, 0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo_header, &frame.content[40..]].concat()), 0);
    }
}
