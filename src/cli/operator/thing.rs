//! What a user may mean by a word: an address, a port, a MAC address, or something's name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What a word means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Thing {
    Address(IpAddr),
    Port(WantedPort),
    Mac(String),
    /// The name of a container, an interface or a network; or the beginning of an id.
    Name(String),
}

/// How a port is to be written.
pub(super) const PORT_FORM: &str = "a port is written as :8080, :53/udp or 192.0.2.1:8080";

/// A port of the host: `:8080`, `:53/udp`, `192.0.2.1:8080`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedPort {
    host_ip: Option<IpAddr>,
    number: u16,
    protocol: Option<String>,
}

impl Thing {
    pub(super) fn read(text: &str) -> Self {
        // As `ip address` shows it, with its subnet.
        let address = text.split_once('/').map_or(text, |(address, _)| address);
        if let Ok(address) = address.trim_matches(['[', ']']).parse() {
            return Self::Address(address);
        }
        let bytes: Vec<&str> = text.split([':', '-']).collect();
        let is_byte = |byte: &&str| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok();
        if bytes.len() == 6 && bytes.iter().all(is_byte) {
            return Self::Mac(bytes.join(":"));
        }
        match WantedPort::read(text) {
            Some(port) => Self::Port(port),
            None => Self::Name(text.to_owned()),
        }
    }

    /// Whether it is a valid name for a link.
    pub(super) fn may_be_interface(&self) -> bool {
        matches!(self, Self::Name(name) if name.len() <= 15)
    }
}

impl WantedPort {
    pub(super) fn read(text: &str) -> Option<Self> {
        let (place, protocol) = match text.split_once('/') {
            Some((place, protocol)) => (place, Some(protocol.to_ascii_lowercase())),
            None => (text, None),
        };
        let (host, number) = place.rsplit_once(':')?;
        let host_ip = match host.trim_matches(['[', ']']) {
            "" | "*" => None,
            ip => Some(ip.parse().ok()?),
        };
        // Port 0 is none.
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some(Self { host_ip, number, protocol })
    }

    /// That it is no container's, and who may tell whose it is.
    pub(super) fn nobody_has(&self) -> String {
        format!(
            "no container on a network of this driver publishes {self}; 'ss --listening --processes sport = \
             :{}' tells what else of the host has it",
            self.number
        )
    }

    /// Whether that is the published port, or conflicts with it.
    pub(super) fn is(&self, host_ip: Option<IpAddr>, number: u16, protocol: &str) -> bool {
        self.number == number
            && self.protocol.as_ref().is_none_or(|it| it == protocol)
            && (self.host_ip.is_none() || host_ip.is_none() || self.host_ip == host_ip)
    }
}

impl fmt::Display for WantedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(ip) => write!(f, "{}", SocketAddr::new(ip, self.number))?,
            None => write!(f, ":{}", self.number)?,
        }
        self.protocol.iter().try_for_each(|protocol| write!(f, "/{protocol}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_by_its_form() {
        let port = |host: Option<&str>, number, protocol: Option<&str>| {
            Thing::Port(WantedPort {
                host_ip: host.map(|ip| ip.parse().unwrap()),
                number,
                protocol: protocol.map(str::to_owned),
            })
        };
        let name = |text: &str| Thing::Name(text.to_owned());
        let address = |text: &str| Thing::Address(text.parse().unwrap());
        for (text, thing) in [
            ("10.22.0.17", address("10.22.0.17")),
            ("10.22.0.17/16", address("10.22.0.17")),
            ("fd00::5", address("fd00::5")),
            ("[fd00::5]", address("fd00::5")),
            (":8080", port(None, 8080, None)),
            ("*:53/UDP", port(None, 53, Some("udp"))),
            ("192.0.2.1:80", port(Some("192.0.2.1"), 80, None)),
            ("[::1]:80/tcp", port(Some("::1"), 80, Some("tcp"))),
            ("02:42:0a:16:00:11", Thing::Mac("02:42:0a:16:00:11".into())),
            ("02-42-0A-16-00-11", Thing::Mac("02:42:0A:16:00:11".into())),
            ("web-1", name("web-1")),
            (":http", name(":http")),
            (":99999", name(":99999")),
            (":0", name(":0")),
            ("0198c0de-93a5", name("0198c0de-93a5")),
        ] {
            assert_eq!(Thing::read(text), thing, "{text}");
        }
    }

    #[test]
    fn a_port_is_written_as_it_is_read() {
        for text in [":80", ":53/udp", "192.0.2.1:80", "[::1]:80/tcp"] {
            assert_eq!(WantedPort::read(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_port_of_one_address_is_in_the_way_of_all() {
        let is = |wanted, host_ip: Option<&str>| {
            let host_ip = host_ip.map(|ip| ip.parse().unwrap());
            WantedPort::read(wanted).unwrap().is(host_ip, 80, "tcp")
        };
        assert!(is(":80", Some("192.0.2.1")) && is("192.0.2.1:80", None));
        assert!(!is("192.0.2.2:80", Some("192.0.2.1")));
        assert!(!is(":80/udp", None) && !is(":8080", None));
    }
}
