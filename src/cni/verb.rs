//! The operations of the CNI specification.

use std::fmt;

/// An operation, `CNI_COMMAND` (SPEC.md section 2, "CNI operations").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Attach a container to the network.
    Add,
    /// Detach it.
    Del,
    /// See whether an attachment is as ADD left it.
    Check,
    /// Free what belongs to no attachment.
    Gc,
    /// See whether the plugin could serve an ADD.
    Status,
    /// Report the versions of the specification that the plugin supports.
    Version,
}

impl Verb {
    /// The word in `CNI_COMMAND`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The word in an error, as libcni has it.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Del => "delete",
            Self::Check => "check",
            Self::Gc => "gc",
            Self::Status => "status",
            Self::Version => "version",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
