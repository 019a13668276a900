//! Why a port cannot be published.

use nix::errno::Errno;

use crate::cnm::{EndpointId, HostPort, NetworkId};

/// Why a port cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Another endpoint publishes it.
    #[error(
        "port {port} is held by endpoint {} of network {}; stop that container, or publish \
         another port",
        endpoint.short(), network.short()
    )]
    Held {
        /// The port.
        port: HostPort,
        /// Who has it.
        endpoint: EndpointId,
        /// The endpoint's network.
        network: NetworkId,
    },
    /// The same port twice on one command line.
    #[error("port {0} is published twice by the same container")]
    Twice(HostPort),
    /// Somebody else on the host has it.
    #[error("port {0} is in use by another process; `ss -lntup` on the host tells by which")]
    InUse(HostPort),
    /// The host does not have the address.
    #[error("port {0} cannot be published: the host does not have that address")]
    NoAddress(HostPort),
    /// None of a range is free.
    #[error("every port from {first} to {last}/{protocol} is held or in use")]
    NoneFree {
        /// The lowest one.
        first: u16,
        /// The highest one.
        last: u16,
        /// The transport protocol's name.
        protocol: &'static str,
    },
    /// The sockets for ports have reached their limit of files.
    #[error(
        "port {port} cannot be held: published ports have {files} sockets already, and the driver \
         needs the other files that it may open for its work; stop containers, or raise its limit of \
         open files (LimitNOFILE= of its service, or ulimit -n) and start it again"
    )]
    TooManyFiles {
        /// The port.
        port: HostPort,
        /// How many sockets there are.
        files: usize,
    },
    /// The kernel refuses a socket.
    #[error("port {port} cannot be held: {errno}")]
    Socket {
        /// The port.
        port: HostPort,
        /// The kernel's reason.
        errno: Errno,
    },
}

impl PortError {
    /// The reason in a word.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
            Self::Twice(_) => "twice",
            Self::InUse(_) => "in_use",
            Self::NoAddress(_) => "no_address",
            Self::NoneFree { .. } => "none_free",
            Self::TooManyFiles { .. } => "too_many_files",
            Self::Socket { .. } => "refused",
        }
    }
}
