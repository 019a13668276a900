//! Asking for an answer from inside of a container, whether or not its image, or the host, has a `ping`.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::netns;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Types of ICMP's and ICMPv6's messages.
const ECHO: [u8; 2] = [8, 128];
const ECHO_REPLY: [u8; 2] = [0, 129];

/// What the answer has to bear, so that nobody else's is taken for it.
const IDENTIFIER: [u8; 2] = *b"cn";

/// Sends an echo request from the namespace at `sandbox`, and waits two seconds for the answer. `interface`
/// is the container's: a link-local address is one of a link.
pub(super) async fn ping(
    sandbox: &Path,
    to: IpAddr,
    interface: Option<String>,
) -> Result<(), String> {
    match netns::run_in(sandbox, move || echo(to, interface.as_deref())).await {
        Ok(Ok(())) => Ok(()),
        // What is left of the time has passed in the kernel.
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(format!("no answer within {} s", PATIENCE.as_secs()))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn echo(to: IpAddr, interface: Option<&str>) -> io::Result<()> {
    let (family, protocol, address) = match (to, interface) {
        (IpAddr::V4(_), _) => (AddressFamily::Inet, SockProtocol::Icmp, SocketAddr::new(to, 0)),
        (IpAddr::V6(ip), Some(interface)) if ip.is_unicast_link_local() => {
            let address = SocketAddrV6::new(ip, 0, 0, if_nametoindex(interface)?);
            (AddressFamily::Inet6, SockProtocol::IcmpV6, address.into())
        }
        (IpAddr::V6(_), _) => (AddressFamily::Inet6, SockProtocol::IcmpV6, SocketAddr::new(to, 0)),
    };
    let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    // To connect, to send and to wait are the same for every socket that keeps packets apart.
    let socket = UdpSocket::from(raw);
    socket.connect(address)?;
    socket.send(&request(to))?;
    let deadline = Instant::now() + PATIENCE;
    let mut packet = [0; 256];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut packet) {
            Ok(length) if is_answer(to, &packet[..length]) => return Ok(()),
            // Other messages of ICMP go to every such socket.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// An echo request; the kernel itself sums up those of IPv6.
fn request(to: IpAddr) -> [u8; 8] {
    let kind = ECHO[usize::from(to.is_ipv6())];
    let [high, low] = IDENTIFIER;
    let mut request = [kind, 0, 0, 0, high, low, 0, 1];
    if to.is_ipv4() {
        let words =
            request.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let sum: u32 = words.sum();
        // The sum of four words has one digit more at most.
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        request[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    request
}

/// Whether a packet has the reply to [`request`]. Those of IPv4 come with their header.
fn is_answer(to: IpAddr, packet: &[u8]) -> bool {
    let header = match (to, packet.first()) {
        (IpAddr::V4(_), Some(first)) => usize::from(first & 0xf) * 4,
        _ => 0,
    };
    let Some(message) = packet.get(header..).filter(|message| message.len() >= 8) else {
        return false;
    };
    message[0] == ECHO_REPLY[usize::from(to.is_ipv6())] && message[4..6] == IDENTIFIER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::tests::Pinned;

    #[tokio::test]
    async fn who_is_there_answers_and_who_is_not_is_told() {
        let pinned = Pinned::new().await;
        let ask = async |to: &str| ping(&pinned.path, to.parse().unwrap(), None).await;
        assert_eq!(ask("127.0.0.1").await, Ok(()));
        assert_eq!(ask("::1").await, Ok(()));
        let nowhere = ask("192.0.2.1").await.unwrap_err();
        assert!(nowhere.contains("unreachable"), "{nowhere}");
        pinned.remove().await;
        let gone = ask("127.0.0.1").await.unwrap_err();
        assert!(gone.contains(&*pinned.path.display().to_string()), "{gone}");
    }

    #[test]
    fn a_request_is_summed_up_and_only_its_answer_is_taken() {
        let to = IpAddr::from([127, 0, 0, 1]);
        let [kind, code, high, low, rest @ ..] = request(to);
        let words = [[kind, code], [high, low], [rest[0], rest[1]], [rest[2], rest[3]]];
        let sum: u32 = words.map(u16::from_be_bytes).map(u32::from).iter().sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        let header = [0x45; 20];
        let answer = |kind, identifier: &[u8]| {
            let message = [&[kind, 0, 0, 0], identifier, &[0, 1]].concat();
            is_answer(to, &[&header[..], &message].concat())
        };
        assert!(answer(0, b"cn"));
        assert!(!answer(8, b"cn") && !answer(0, b"xx") && !is_answer(to, &header[..1]));
    }
}
