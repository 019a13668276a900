//! Join: the interface is handed to Docker.

use std::path::PathBuf;

use crate::cnm::{JoinRequest, JoinResponse};
use crate::lifecycle::calls::host_side;
use crate::lifecycle::calls::watch;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::host::{forward, side};
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::record::{Attachment, Phase};
use crate::netns;

impl Driver {
    /// `NetworkDriver.Join`: hands the interface to Docker, with the gateways and routes.
    ///
    /// # Errors
    /// The endpoint is unknown, or its interface cannot be moved; it stays in staging then.
    pub async fn join(&self, request: JoinRequest) -> Result<JoinResponse> {
        let _ahead = self.gate.ahead(&request.endpoint_id);
        self.inherited.seen_by_dockerd(&request.endpoint_id);
        let mut slot = self.endpoints.lock(&request.endpoint_id).await;
        let Some(attachment) = slot.as_mut() else {
            return Err(Error::UnknownEndpoint(request.endpoint_id));
        };
        if !attachment.phase.is_live() {
            return Err(Error::UnknownEndpoint(request.endpoint_id));
        }
        let sandbox: Option<PathBuf> =
            (!request.sandbox_key.is_empty()).then(|| request.sandbox_key.into());
        self.wait_for_ports(attachment, &[]).await?;
        self.publisher.publish_what_waited(attachment, sandbox.as_deref()).await?;
        let joined = self.as_joined(attachment, sandbox).await?;
        let Some(answer) = joined.join_answer() else {
            return Err(Error::UnknownEndpoint(request.endpoint_id));
        };
        self.carry_out(attachment, joined).await?;
        host_side::look_soon(self, attachment);
        // Otherwise Docker calls again, once the interface is in place.
        if let Some(sandbox) = &attachment.sandbox
            && !matches!(netns::identity(sandbox), Ok(Some(_)))
        {
            watch::start(self, attachment);
        }
        self.publisher.note_published_elsewhere(attachment).await;
        Ok(answer)
    }
}

impl Driver {
    /// The attachment as it is to be in that sandbox, beside the container's other networks.
    async fn as_joined(
        &self,
        attachment: &Attachment,
        sandbox: Option<PathBuf>,
    ) -> Result<Attachment> {
        // Not as wide as at an earlier Join.
        let mut joined =
            Attachment { phase: Phase::Joined, sandbox, widened: 0, ..attachment.clone() };
        self.interfaces.sandboxes.check_overlap(&joined)?;
        let live = self.interfaces.live_routes(&joined).await?;
        joined.widened = self.interfaces.sandboxes.widening(&joined, &live);
        let again = attachment.phase == Phase::Settled && attachment.sandbox == joined.sandbox;
        if !again {
            joined.tables = self.interfaces.sandboxes.renumbering(&joined, &live);
        }
        Ok(joined)
    }

    /// Makes the attachment what it is to be, and Docker find its interface. After an error it is
    /// what it was: no Leave follows a Join that failed.
    async fn carry_out(&self, attachment: &mut Attachment, mut joined: Attachment) -> Result<()> {
        let first = attachment.phase == Phase::Staged;
        let unseen = |error: &Error| {
            tracing::warn!(attachment = %attachment.id, error = chain(error),
                "what it has on the host is not known, and will not be checked");
        };
        let exempt = async {
            match first {
                true => forward::exempt(attachment).await,
                // The earlier one has written the rules, or was about to when the driver ended.
                false => forward::complete(attachment).await,
            }
        };
        let keep = async {
            let side = async {
                match &attachment.host_side {
                    Some(side) => Some(side.clone()),
                    None => {
                        side::see(&self.interfaces.own, attachment).await.inspect_err(unseen).ok()
                    }
                }
            };
            let (side, read) = tokio::join!(side, self.interfaces.read_settings(&mut joined));
            joined.host_side = side;
            read?;
            self.records.keep(&joined).await
        };
        // Before the interface moves: its settings are on record then, wherever a crash leaves it.
        // Both to their end, so that an undo does not meet a step that is under way.
        let (kept, exempted) = tokio::join!(keep, exempt);
        let handed_over = match kept.and(exempted) {
            Ok(()) => self.hand_over(&joined).await,
            failed => failed,
        };
        if let Err(cause) = handed_over {
            let withdraw =
                async { if first { forward::withdraw(attachment).await } else { Ok(()) } };
            let (kept, withdrawn) = tokio::join!(self.records.keep(attachment), withdraw);
            return Err(cause.undone(kept.and(withdrawn)));
        }
        // Nobody is told of a Join that may still fail: the last thing that changes is what this
        // program knows.
        self.interfaces.sandboxes.enter(&joined);
        self.ports.enter(&joined.endpoint, joined.sandbox.as_deref());
        *attachment = joined;
        Ok(())
    }

    /// Moves the interface to where Docker looks for it, unless it is there or further on.
    async fn hand_over(&self, attachment: &Attachment) -> Result<()> {
        match self.interfaces.locate(attachment).await? {
            Place::Staging(staging, link) => {
                Ok(staging.move_to(link.index, &netns::own()?).await?)
            }
            Place::Own(_) | Place::Sandbox(..) => Ok(()),
            Place::Nowhere => Err(attachment.gone()),
        }
    }
}
