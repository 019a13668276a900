//! Whether anybody will ask for an attachment's removal any more.

use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::record::{Attachment, Phase};
use crate::netns;

/// Why nobody will ask for the attachment's removal any more; none if somebody may.
pub(crate) async fn reason(
    interfaces: &Interfaces,
    attachment: &Attachment,
) -> Option<&'static str> {
    if lost_its_sandbox(attachment) {
        return Some("its container has ended, and Docker has not said so");
    }
    match (attachment.phase, interfaces.locate(attachment).await.ok()?) {
        (_, Place::Sandbox(..)) | (Phase::Settled, Place::Nowhere) => None,
        (Phase::Settled, _) => Some("Docker took it out of its container, and said no more"),
        _ => Some("no container came to use it"),
    }
}

/// Whether its container has gone, with the namespace that it was in.
pub(crate) fn lost_its_sandbox(attachment: &Attachment) -> bool {
    let sandbox = attachment.sandbox.as_ref().filter(|_| attachment.phase == Phase::Settled);
    sandbox.is_some_and(|path| matches!(netns::identity(path), Ok(None)))
}
