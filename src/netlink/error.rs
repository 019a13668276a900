//! Why a netlink request failed.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use rtnetlink::packet_core::{DecodeError, ErrorMessage, NlasIterator, parse_string};

use crate::netns;

/// `NLMSGERR_ATTR_MSG` of linux/netlink.h: the kernel's own words on an error.
const ATTR_MSG: u16 = 1;

/// What precedes the attributes of an error message: the header of the request.
const HEADER: usize = 16;

/// Why a netlink request failed: what was tried, on what, where, and what the kernel said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// No socket could be opened, or the kernel's events ended.
    #[error("cannot {operation} in {place}: {source}")]
    Io {
        /// What was tried.
        operation: String,
        /// Path of the namespace, or what else it is called.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// The request was refused, or got no usable answer.
    #[error("cannot {operation} {object} in {place}: {source}")]
    Request {
        /// What was tried, as the words before the object.
        operation: &'static str,
        /// On what: a link, an address, a route.
        object: String,
        /// Path of the namespace, or what else it is called.
        place: String,
        /// Why it failed.
        source: Failure,
    },
    /// An address could not be announced to the neighbours.
    #[error("cannot announce {address} in {place}: {source}")]
    Announce {
        /// The address.
        address: IpAddr,
        /// Path of the namespace.
        place: String,
        /// Why not.
        source: io::Error,
    },
}

/// What became of one request.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The kernel refused.
    #[error("{errno}{}", .reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Refused {
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's own words (`NLMSGERR_ATTR_MSG`), where it has some.
        reason: Option<String>,
    },
    /// The socket failed.
    #[error("the netlink socket failed: {0}")]
    Socket(#[from] io::Error),
    /// The kernel's answer is not what the protocol says.
    #[error("the kernel's answer is not understood: {0}")]
    Unreadable(#[from] DecodeError),
    /// The kernel had nothing to say where an answer is due.
    #[error("the kernel gave no answer")]
    NoAnswer,
    /// The list changed while it was read, again and again.
    #[error("it kept changing while it was read")]
    Unsteady,
    /// The runtime is shutting down.
    #[error("the process is shutting down")]
    Stopped,
}

impl Error {
    /// Whether the request failed because its object, or the link below it, is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Namespace(error) => error.is_not_found(),
            Self::Announce { source, .. } => {
                let gone = [Errno::ENODEV, Errno::ENXIO];
                source.raw_os_error().is_some_and(|number| gone.contains(&Errno::from_raw(number)))
            }
            Self::Request { source, .. } => source.is_not_found(),
            Self::Io { .. } => false,
        }
    }

    /// Whether the request failed because its object is there already.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        matches!(self, Self::Request { source: Failure::Refused { errno: Errno::EEXIST, .. }, .. })
    }
}

impl From<ErrorMessage> for Failure {
    fn from(message: ErrorMessage) -> Self {
        refused(message.raw_code(), message.header.get(HEADER..).unwrap_or_default())
    }
}

impl From<rtnetlink::Error> for Failure {
    fn from(error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => message.into(),
            // The connection has ended, or has an answer to another question.
            _ => Self::NoAnswer,
        }
    }
}

/// The refusal in a message: a negative error number, and attributes with words.
pub(super) fn refused(code: i32, attributes: &[u8]) -> Failure {
    let reason = NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == ATTR_MSG)
        .and_then(|attribute| parse_string(attribute.value()).ok());
    Failure::Refused { errno: Errno::from_raw(-code), reason }
}

impl Failure {
    pub(super) fn is_not_found(&self) -> bool {
        // Links answer ENODEV (ENXIO in some attributes), addresses EADDRNOTAVAIL, routes
        // ESRCH, rules and neighbours ENOENT.
        matches!(
            self,
            Self::Refused {
                errno: Errno::ENODEV
                    | Errno::ENXIO
                    | Errno::EADDRNOTAVAIL
                    | Errno::ESRCH
                    | Errno::ENOENT,
                ..
            }
        )
    }
}
