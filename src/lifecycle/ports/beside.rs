//! Publishing beside Docker's own work.
//!
//! Plugins that publish ports run dozens of programs, and Docker needs none of what they do until it asks for
//! the ports. So they begin as soon as the endpoint holds its ports, at the latest at Join, in a task of their own:
//!
//! ```text
//!   CreateEndpoint ─▶ (Docker) ─▶ Join ─▶ (Docker moves the interface) ─▶ ProgramExternalConnectivity
//!         └────────────── the plugins publish the ports ─────────────────────▶│ waits for them
//! ```
//!
//! Join, and the settling in ProgramExternalConnectivity, go on beside the task. Every other call for the endpoint waits for it
//! ([`Endpoints::lock`](crate::lifecycle::record::Endpoints::lock)). An error is kept for the next call of the
//! container's start, which tells Docker. Docker asks the endpoint with the gateway for its ports, and a container's
//! first one gets that. If another endpoint has it already, or this one has no gateway, Join waits.
//!
//! The record says that the plugins have begun, before they do, and that they have ended. If the driver is killed
//! in between, the next one withdraws the ports and publishes them again: at its start, or at Join.

use std::path::Path;
use std::sync::Arc;

use super::publish::{Publisher, Run};
use crate::crash;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::record::{Attachment, Joined, Joining, Publication, Slot};
use crate::translate::PORT_MAPPINGS;

impl Publisher {
    /// Begins to publish the ports of an endpoint that joins a sandbox, if they were left out before because
    /// another endpoint of the same container might have had them, and none has. Then waits until they are published
    /// if Docker may not ask for them.
    ///
    /// # Errors
    /// Another container has a port; or the chain has failed by now. Nothing is published then.
    pub(crate) async fn publish_at_join<'e>(
        self: &'e Arc<Self>,
        mut slot: Slot<'e>,
        sandbox: &Path,
    ) -> Result<Slot<'e>> {
        if let Some(error) = slot.take_failure() {
            return Err(error);
        }
        let Some(attachment) = slot.as_mut() else { return Ok(slot) };
        let begun = self.begin_deferred(attachment, sandbox).await?;
        let is_asked = self.is_asked(attachment, sandbox)?;
        if let Some(run) = begun {
            self.publish_in_background(&slot, run);
        }
        if is_asked {
            return Ok(slot);
        }
        let endpoint = slot.id().clone();
        drop(slot);
        slot = self.endpoints.lock(&endpoint).await;
        match slot.take_failure() {
            Some(error) => Err(error),
            None => Ok(slot),
        }
    }

    async fn begin_deferred(
        &self,
        attachment: &mut Attachment,
        sandbox: &Path,
    ) -> Result<Option<Run>> {
        if attachment.publishing {
            // Nothing happens if they are being published.
            return Ok(Some(Run::Again));
        }
        let Attachment { endpoint, network, ports, list, .. } = &*attachment;
        let can = list.declares(PORT_MAPPINGS);
        let nothing_to_do = ports.is_empty() || attachment.publishes() || !can;
        if nothing_to_do || self.ports.are_held_in(Some(sandbox), ports) {
            return Ok(None);
        }
        if !list.adds(PORT_MAPPINGS) {
            // Only ADD could have published them, and somebody had them then.
            self.ports.hold(endpoint, network, ports)?;
            self.ports.release(endpoint);
        }
        self.begin(attachment, &[]).await
    }

    /// Whether Docker asks the endpoint for its ports: it is to be its sandbox's gateway.
    fn is_asked(&self, attachment: &Attachment, sandbox: &Path) -> Result<bool> {
        let (made, joining) = (attachment.made()?, Joining::at(sandbox.to_owned()));
        let joined = Joined { attachment, made, joining: &joining };
        let has_gateway = !joined.answer().gateways().is_empty();
        Ok(has_gateway && !self.interfaces.sandboxes.is_shared(joined))
    }

    /// Has the plugins publish the ports in the background, if the endpoint was just made to publish them.
    pub(crate) fn publish_soon(self: &Arc<Self>, slot: &Slot<'_>) {
        self.publish_in_background(slot, Run::First);
    }

    /// Publishes again what the last driver had begun for containers when it ended. No call holds an endpoint yet.
    /// For an endpoint that no container has yet, Join does that: there may be none.
    pub(crate) fn begin_again(self: &Arc<Self>) {
        for endpoint in self.endpoints.ids() {
            let slot = self.endpoints.try_lock(&endpoint);
            let joined = |slot: &Slot<'_>| slot.as_ref().is_some_and(|it| it.joined().is_some());
            if let Some(slot) = slot.filter(joined) {
                self.publish_in_background(&slot, Run::Again);
            }
        }
    }

    fn publish_in_background(self: &Arc<Self>, slot: &Slot<'_>, run: Run) {
        let Some(attachment) = slot.as_ref().filter(|it| it.publishing) else { return };
        let Some(publication) = slot.begin_publication() else { return };
        let (this, attachment) = (Arc::clone(self), attachment.clone());
        // Docker waits for this, or soon will.
        let call = self.gate.docker_call(&attachment.endpoint);
        self.background.spawn(async move {
            this.publish_beside_calls(&attachment, run, publication).await;
            drop(call);
        });
    }

    async fn publish_beside_calls(&self, begun: &Attachment, run: Run, publication: Publication) {
        crash::point(format_args!("ports: publish"));
        let ended = self.run(begun, run).await;
        crash::point(format_args!("ports: published"));
        let mut slot = self.endpoints.lock_beside_publication(&begun.endpoint).await;
        if let Some(attachment) = slot.as_mut()
            && let Err(error) = self.end(attachment, ended).await
        {
            tracing::warn!(attachment = %begun.id, endpoint = begun.endpoint.short(),
                error = chain(&error), "its ports are not published");
            publication.fail(error);
        }
        // Before the slot, so that whoever waits finds what has become of it.
        drop(publication);
    }
}
