//! A port of the host, as published ports name it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{PortBinding, Protocol};

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPort {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The host's address; none is every address.
    pub ip: Option<IpAddr>,
    /// The port's number.
    pub number: u16,
}

impl HostPort {
    /// The port that the binding names; of a range, the first.
    #[must_use]
    pub fn of(binding: &PortBinding) -> Self {
        Self { protocol: binding.proto, ip: binding.host_ip, number: binding.host_port }
    }

    /// Whether one of the two keeps the other from being used.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same_ip = match (self.ip, other.ip) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.number == other.number && self.protocol == other.protocol && same_ip
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => write!(f, "{}", SocketAddr::new(ip, self.number))?,
            None => write!(f, "{}", self.number)?,
        }
        write!(f, "/{}", self.protocol.name())
    }
}
