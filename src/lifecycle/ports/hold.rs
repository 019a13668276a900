//! One port of the host, held by sockets that are bound to it and never listen.
//!
//! The ports that a chain publishes are firewall rules, and the kernel's table of used ports does not
//! contain them. A bound socket prevents that another process binds the port, and that the kernel chooses
//! it for an outgoing connection. Address translation comes before delivery to a socket, so packets that
//! match the rules never reach it. Other TCP packets are refused as if there were no socket, because it
//! does not listen. (Other UDP packets are lost.)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv6V6Only, RcvBuf, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, setsockopt, socket,
};

use crate::cnm::{HostPort, Protocol};

/// The pauses in which a child becomes a plugin.
const UNTIL_CHILDREN_RUN: [Duration; 4] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
];

/// A port that nobody else can bind until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) port: HostPort,
    /// None if the kernel has no sockets of the family or the protocol: then no other process can bind the
    /// port either.
    sockets: Vec<OwnedFd>,
}

impl Hold {
    /// # Errors
    /// `EADDRINUSE` if another process has the port, `EADDRNOTAVAIL` if the host does not
    /// have the address.
    pub(crate) fn take(port: HostPort) -> Result<Self, Errno> {
        let every = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let one = port.ip.map(|ip| [ip]);
        let addresses = one.as_ref().map_or(&every[..], |one| &one[..]);
        let mut sockets = Vec::new();
        for address in addresses {
            match bound(port.protocol, SocketAddr::new(*address, port.number)) {
                Ok(socket) => sockets.push(socket),
                Err(Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::ESOCKTNOSUPPORT) => {}
                // The host has no IPv6 addresses at all.
                Err(Errno::EADDRNOTAVAIL) if port.ip.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { port, sockets })
    }

    /// The same for a port that this process may have released just now: a child that is about to become a
    /// plugin has a copy of the socket for a moment.
    ///
    /// # Errors
    /// As [`Hold::take`].
    pub(crate) fn take_soon(port: HostPort) -> Result<Self, Errno> {
        Self::take_after(port, sleep)
    }

    fn take_after(port: HostPort, mut wait: impl FnMut(Duration)) -> Result<Self, Errno> {
        for pause in UNTIL_CHILDREN_RUN {
            match Self::take(port) {
                Err(Errno::EADDRINUSE) => wait(pause),
                taken => return taken,
            }
        }
        Self::take(port)
    }

    /// How many files it keeps open.
    pub(crate) fn files(&self) -> usize {
        self.sockets.len()
    }

    /// The port without a socket, if no more sockets can be opened.
    pub(crate) fn in_name_only(port: HostPort) -> Self {
        Self { port, sockets: Vec::new() }
    }
}

fn bound(protocol: Protocol, to: SocketAddr) -> Result<OwnedFd, Errno> {
    match try_bind(protocol, to, false) {
        // Perhaps only old connections in TIME_WAIT use it: SO_REUSEADDR shares a port with them, but not
        // with a server.
        Err(Errno::EADDRINUSE) if protocol == Protocol::Tcp => try_bind(protocol, to, true),
        outcome => outcome,
    }
}

fn try_bind(protocol: Protocol, to: SocketAddr, share: bool) -> Result<OwnedFd, Errno> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => (SockType::Stream, SockProtocol::Sctp),
    };
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, number)?;
    if to.is_ipv6() {
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    if protocol == Protocol::Udp {
        // Nobody reads what arrives. The kernel raises this size to its minimum.
        setsockopt(&socket, RcvBuf, &0)?;
    }
    setsockopt(&socket, ReuseAddr, &share)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn port(protocol: Protocol, ip: &str, number: u16) -> HostPort {
        HostPort { protocol, ip: ip.parse().ok(), number }
    }

    /// A TCP port that is free, or was just now.
    fn free() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_held_port_is_taken_for_others_and_refuses_connections() {
        let number = free();
        let hold = Hold::take(port(Protocol::Tcp, "", number)).unwrap();
        for address in ["127.0.0.1", "0.0.0.0"] {
            // The standard library sets SO_REUSEADDR, as most servers do.
            let error = TcpListener::bind((address, number)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse, "{address}");
        }
        let error = TcpStream::connect(("127.0.0.1", number)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        drop(hold);
        TcpListener::bind(("0.0.0.0", number)).unwrap();
    }

    #[test]
    fn a_port_whose_socket_a_child_has_for_a_moment_is_held_soon() {
        let copy = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = copy.local_addr().unwrap().port();
        let mut copy = Some(copy);
        let runs = |_| drop(copy.take());
        Hold::take_after(port(Protocol::Tcp, "127.0.0.1", number), runs).unwrap();
        let others = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = others.local_addr().unwrap().port();
        let refused = Hold::take_soon(port(Protocol::Tcp, "127.0.0.1", number));
        assert_eq!(refused.unwrap_err(), Errno::EADDRINUSE);
    }

    #[test]
    fn a_port_of_another_process_cannot_be_held() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = tcp.local_addr().unwrap().port();
        for ip in ["", "127.0.0.1"] {
            assert_eq!(Hold::take(port(Protocol::Tcp, ip, number)).unwrap_err(), Errno::EADDRINUSE);
        }
        Hold::take(port(Protocol::Tcp, "127.0.0.2", number)).unwrap();

        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = udp.local_addr().unwrap().port();
        assert_eq!(Hold::take(port(Protocol::Udp, "", number)).unwrap_err(), Errno::EADDRINUSE);
    }

    #[test]
    fn a_port_with_nothing_but_old_connections_can_be_held() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (accepted, _) = server.accept().unwrap();
        // The side that closes first is in TIME_WAIT.
        drop(accepted);
        drop(client);
        drop(server);
        Hold::take(port(Protocol::Tcp, "", address.port())).unwrap();
    }

    #[test]
    fn an_address_that_is_not_the_hosts_is_refused() {
        let nowhere = port(Protocol::Tcp, "192.0.2.1", free());
        assert_eq!(Hold::take(nowhere).unwrap_err(), Errno::EADDRNOTAVAIL);
    }

    #[test]
    fn ports_overlap_where_the_kernel_says_so() {
        let tcp = |ip, number| port(Protocol::Tcp, ip, number);
        assert!(tcp("", 80).overlaps(&tcp("127.0.0.1", 80)));
        assert!(tcp("::1", 80).overlaps(&tcp("::1", 80)));
        assert!(!tcp("127.0.0.1", 80).overlaps(&tcp("127.0.0.2", 80)));
        assert!(!tcp("", 80).overlaps(&tcp("", 81)));
        assert!(!tcp("", 80).overlaps(&port(Protocol::Udp, "", 80)));
        assert_eq!(tcp("::1", 80).to_string(), "[::1]:80/tcp");
    }
}
