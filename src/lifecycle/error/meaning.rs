//! What an error means for the attachment: whether another endpoint may be the cause, and what is left.

use super::{Error, PortError, Result};

impl Error {
    /// How many plugins of its chain an ADD with this error has run; none if that is not known.
    pub(crate) fn plugins_run(&self) -> Option<usize> {
        match self {
            Self::Cni(error) if !error.needs_del() => Some(0),
            Self::Cni(error) => error.plugin().map(|failed| failed.position + 1),
            Self::NoLease { cause, .. } => cause.plugins_run(),
            _ => None,
        }
    }

    /// Whether the chain's ADD itself has failed: a spare may have what it needs.
    pub(crate) fn is_of_the_chain(&self) -> bool {
        match self {
            Self::Undo { call, .. } => call.is_of_the_chain(),
            Self::NotAvailable { .. } => true,
            Self::Cni(_) => self.plugins_run() != Some(0),
            _ => false,
        }
    }

    /// Whether this error may come from a conflict with another endpoint. A wait would not help against a
    /// mistake in Docker's request, the conflist or this host.
    pub(crate) fn may_be_a_conflict(&self) -> bool {
        match self {
            Self::Undo { call, .. } => call.may_be_a_conflict(),
            Self::UnknownNetwork(_)
            | Self::Option(_)
            | Self::Refused(_)
            | Self::Mac(_)
            | Self::Config(_)
            | Self::Plugin { .. }
            | Self::State(_)
            | Self::Untrusted(_)
            | Self::TooSlow { .. }
            | Self::NoLease { .. }
            | Self::Unfit(_)
            | Self::NoNetfilterProgram { .. }
            | Self::FurtherLink { .. } => false,
            other => other.plugins_run() != Some(0),
        }
    }

    /// Why a port cannot be published, if this is what failed.
    pub(crate) fn port_error(&self) -> Option<&PortError> {
        match self {
            Self::Port(error) => Some(error),
            Self::Undo { call: cause, .. } | Self::BesideOrphan { cause, .. } => cause.port_error(),
            _ => None,
        }
    }

    /// This error, with the orphan that still exists, if there is one.
    pub(crate) fn beside(self, orphan: Option<Remaining>) -> Self {
        match orphan {
            Some(Remaining { attachment, reason }) => {
                Self::BesideOrphan { cause: Box::new(self), attachment, reason }
            }
            None => self,
        }
    }

    /// This error, after an attempt to undo the steps before it.
    pub(crate) fn undone(self, undo: Result<()>) -> Self {
        match undo {
            Ok(()) => self,
            Err(undo) => Self::Undo { call: Box::new(self), undo: Box::new(undo) },
        }
    }
}

/// An orphan that is still there after the wait for it.
#[derive(Debug, Clone)]
pub(crate) struct Remaining {
    /// Which attachment.
    pub(crate) attachment: String,
    /// Why it still exists.
    pub(crate) reason: String,
}
