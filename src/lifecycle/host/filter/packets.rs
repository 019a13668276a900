//! The packets for which the host's rules are judged.

use ipnet::IpNet;

/// All packets of one direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packets<'p> {
    /// The container's address.
    pub(crate) address: IpNet,
    pub(crate) kind: Kind,
    /// The host's link by which they come or go: the bridge, or the interface's peer. None if it is not
    /// known.
    pub(crate) link: Option<&'p str>,
}

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The container sends them, and begins connections.
    Sent,
    /// It receives them, and connections begin so: to a published port.
    Received,
    /// It receives them as answers.
    Answers,
}
