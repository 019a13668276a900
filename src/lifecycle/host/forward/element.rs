//! The elements of an exemption: addresses, and which of their packets are accepted.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::lifecycle::host::tables::Family;
use crate::lifecycle::record::{Attachment, AttachmentId};

/// An address of an attachment, and which of its packets are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Element {
    /// All that it sends; what it receives, if that belongs to a connection that was accepted or translated.
    Closed(IpAddr),
    /// All that it sends and receives.
    Open(IpAddr),
    /// What it sends to this subnet.
    Within(IpAddr, IpNet),
}

impl Element {
    /// One for each address that ADD gave; none if the attachment is not exempt.
    pub(crate) fn of(attachment: &Attachment) -> Vec<Self> {
        let ips = attachment.result().into_iter().flat_map(|result| &result.ips);
        let nets = ips.map(|ip| ip.address).filter(|_| attachment.forwarded);
        let element = |net: IpNet| match (attachment.internal, attachment.open) {
            (true, _) => Self::Within(net.addr(), net.trunc()),
            (false, true) => Self::Open(net.addr()),
            (false, false) => Self::Closed(net.addr()),
        };
        nets.map(element).collect()
    }

    pub(crate) fn address(self) -> IpAddr {
        match self {
            Self::Closed(address) | Self::Open(address) | Self::Within(address, _) => address,
        }
    }

    pub(crate) fn family(self) -> Family {
        Family::of(self.address())
    }
}

/// An element that may differ in the table.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) element: Element,
    /// Who has it now; nobody if it is to be removed.
    pub(super) owners: Vec<AttachmentId>,
    /// The table has it already.
    pub(super) written: bool,
}
