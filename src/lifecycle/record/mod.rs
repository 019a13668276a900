//! What is kept on disk about networks and attachments.

mod attachment;
mod id;
mod keep;
mod lists;
mod network;
mod removal;
mod settings;

pub(crate) use attachment::{Attachment, Interface, Phase};
pub(crate) use id::AttachmentId;
pub(crate) use keep::Turn;
pub(crate) use lists::Lists;
pub(crate) use network::Network;
pub(crate) use removal::Removal;
pub(crate) use settings::Settings;
