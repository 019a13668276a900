//! What is known about networks and attachments: on disk, and in memory.

mod attachment;
mod endpoints;
mod equal;
mod form;
mod form_1;
mod form_2;
mod host_side;
mod id;
mod inherited;
pub(crate) mod netfilter;
mod network;
mod networks;
mod phase;
mod records;
mod removal;
mod reread;
mod settings;
mod spare;
mod summary;
#[cfg(test)]
pub(crate) mod tests;
mod unread_rules;
mod watched;
mod write_lock;

pub(crate) use attachment::{Attachment, Joined};
pub(crate) use endpoints::{Endpoints, Publication, Slot};
pub(crate) use host_side::{HostLink, HostSide, shared_settings};
pub(crate) use id::AttachmentId;
pub(crate) use inherited::Inherited;
pub(crate) use netfilter::Netfilter;
pub(crate) use network::Network;
pub(crate) use networks::Networks;
pub use phase::PhaseName;
pub(crate) use phase::{Joining, Left, Made, Phase, Prepared};
pub(crate) use records::Records;
pub(crate) use removal::Removal;
pub use reread::reread_record;
pub(crate) use settings::{DISABLE_IPV6, Further, Port, Settings};
pub(crate) use spare::Spare;
pub(crate) use summary::Summary;
pub(crate) use unread_rules::UnreadRules;
pub(crate) use watched::Watched;
pub(crate) use write_lock::WriteLock;
