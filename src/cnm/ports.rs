//! Published ports, as Docker passes them.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::keys::{InvalidOption, PORTMAP, invalid};
use super::network::empty_as_none;

/// One published port or range: `com.docker.network.portmap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortBinding {
    /// Transport protocol.
    pub proto: Protocol,
    /// The container's port.
    pub port: u16,
    /// The host's address; none for all. `0.0.0.0` and `::` are all too: CNI's
    /// `portMappings` have no word for the addresses of one family.
    #[serde(rename = "HostIP", default, deserialize_with = "one_address")]
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0 leaves the choice to the driver.
    #[serde(default)]
    pub host_port: u16,
    /// The last host port that may be chosen; no higher than `host_port` for a fixed port.
    #[serde(default)]
    pub host_port_end: u16,
}

/// A transport protocol, by its IANA number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Protocol {
    /// 6
    Tcp,
    /// 17
    Udp,
    /// 132
    Sctp,
}

impl From<Protocol> for u8 {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

/// Reads an address of the host; empty, `null` and the unspecified ones are none.
fn one_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let address: Option<IpAddr> = empty_as_none(deserializer)?;
    // An IPv4 address may come in IPv6's clothes, which a socket or a plugin does not see through.
    Ok(address.map(|it| it.to_canonical()).filter(|it| !it.is_unspecified()))
}

impl Protocol {
    /// Its name in lower case, as CNI's `portMappings` writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl TryFrom<u8> for Protocol {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            6 => Ok(Self::Tcp),
            17 => Ok(Self::Udp),
            132 => Ok(Self::Sctp),
            other => Err(format!("protocol number {other} is not tcp (6), udp (17) or sctp (132)")),
        }
    }
}

impl PortBinding {
    /// The published ports among the `Options` of a request.
    ///
    /// # Errors
    /// They are not as Docker writes them.
    pub fn read(options: &Map<String, Value>) -> Result<Vec<Self>, InvalidOption> {
        let Some(ports) = options.get(PORTMAP) else { return Ok(Vec::new()) };
        let wrong = |reason: &str| invalid(PORTMAP, &ports.to_string(), reason);
        let read: Option<Vec<Self>> =
            Option::deserialize(ports).map_err(|error| wrong(&error.to_string()))?;
        let read = read.unwrap_or_default();
        match read.iter().any(|binding| binding.port == 0) {
            true => Err(wrong("a container has no port 0")),
            false => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(ports: Value) -> Result<Vec<PortBinding>, InvalidOption> {
        PortBinding::read(json!({ PORTMAP: ports }).as_object().unwrap())
    }

    #[test]
    fn port_bindings_are_read() {
        let binding = json!({"Proto": 17, "IP": "", "Port": 53, "HostIP": "127.0.0.1",
                             "HostPort": 5353, "HostPortEnd": 5353});
        let expected = PortBinding {
            proto: Protocol::Udp,
            port: 53,
            host_ip: Some("127.0.0.1".parse().unwrap()),
            host_port: 5353,
            host_port_end: 5353,
        };
        assert_eq!(read(json!([binding])).unwrap(), [expected]);
        assert_eq!(read(Value::Null).unwrap(), []);
        assert_eq!(PortBinding::read(&Map::new()).unwrap(), []);
        assert!(read(json!([{"Proto": 1}])).is_err());
    }
}
