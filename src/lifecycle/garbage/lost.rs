//! Whether anybody will still ask for an attachment's removal.

use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::record::Attachment;
use crate::netns;

/// Why nobody will ask for the attachment's removal any more; none if somebody may, or if that is unknown.
pub(crate) async fn reason(
    interfaces: &Interfaces,
    attachment: &Attachment,
) -> Option<&'static str> {
    if lost_its_sandbox(attachment) {
        return Some("its container has ended, and Docker has not said so");
    }
    if attachment.settled().is_some() {
        // Running containers, which are nearly all, are not looked into: an interface that Docker takes out
        // of one, it puts here.
        let taken_out =
            interfaces.own_background.link(&attachment.parameters.if_name).await.ok()?;
        return taken_out.map(|_| "Docker took it out of its container, and said no more");
    }
    match interfaces.locate(attachment).await.ok()? {
        Place::Sandbox(..) => None,
        _ => Some("no container came to use it"),
    }
}

/// Whether its container has gone, with the namespace that it was in.
pub(crate) fn lost_its_sandbox(attachment: &Attachment) -> bool {
    let settled = attachment.settled();
    settled.is_some_and(|joined| matches!(netns::identity(joined.sandbox()), Ok(None)))
}
