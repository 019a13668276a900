//! The host's rules for spares, and for the endpoints that have claimed one, are compared with what they were:
//! somebody may have flushed them between ADD and Join, where an ordinary attachment gets them anew.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Comparison, Spares};
use crate::cnm::EndpointId;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::host::restore_masquerade;
use crate::lifecycle::record::{Attachment, AttachmentId, Spare};
use crate::metrics::Unused;

impl Spares {
    /// Begins to compare the masquerade rules of an endpoint that gets a spare. Programs have to be run for
    /// that, and Docker has other work until [`Spares::put_back`].
    pub(crate) fn compare_soon(&self, claimed: &Attachment) {
        if claimed.masqueraded().next().is_none() {
            return;
        }
        let (host_rules, attachment) = (Arc::clone(&self.host_rules), claimed.clone());
        let lost = self.parts.background.spawn(async move {
            let rules = host_rules.read().await;
            rules.lost(&attachment).collect()
        });
        self.comparing().insert(claimed.id, (claimed.endpoint.clone(), lost));
    }

    /// Puts back the masquerade rules that the host has lost since the spare was made which this
    /// attachment was. Called before the container's process starts.
    ///
    /// # Errors
    /// The plugin that writes them fails.
    pub(crate) async fn put_back(&self, attachment: &Attachment) -> Result<()> {
        let comparing = self.comparing().remove(&attachment.id);
        let Some((endpoint, comparing)) = comparing else { return Ok(()) };
        // If it has panicked, that was logged.
        let lost = comparing.await.unwrap_or_default();
        if lost.is_empty() {
            return Ok(());
        }
        tracing::info!(attachment = %attachment.id, addresses = ?lost,
            "the host has lost the rules that masquerade it; they are written again");
        self.shelves().compare_again();
        let (chains, interfaces) = (&self.parts.chains, &self.parts.interfaces);
        let folder = interfaces.netns_dir();
        let written = restore_masquerade::write(
            chains,
            &interfaces.own_background,
            folder,
            attachment,
            &lost,
        )
        .await;
        if written.is_err() {
            let again = self.parts.background.spawn(async { lost });
            self.comparing().insert(attachment.id, (endpoint, again));
        }
        written
    }

    /// Forgets what endpoints that are gone have not asked for.
    fn forget_gone(&self) {
        let known: HashSet<EndpointId> = self.parts.endpoints.ids().into_iter().collect();
        self.comparing().retain(|_, (endpoint, _)| known.contains(endpoint));
    }

    fn comparing(&self) -> MutexGuard<'_, HashMap<AttachmentId, Comparison>> {
        // Whole even if a holder panicked: every change is one step.
        self.comparing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts back what the host has lost of exemptions and isolation, and removes spares that are not masqueraded
    /// any more.
    pub(super) async fn look_at_rules(&self) {
        let claimed = {
            let (mut shelves, now) = (self.shelves(), Instant::now());
            if !shelves.is_comparison_due(now) {
                return;
            }
            shelves.take_claimed()
        };
        if let Err(error) = self.compare_rules(claimed).await {
            tracing::warn!(error = chain(&error), "the rules of spares cannot be compared");
        }
    }

    async fn compare_rules(&self, claimed: bool) -> Result<()> {
        let _pass = self.parts.gate.enter_to_look().await;
        self.parts.exemptions.ensure().await?;
        if claimed && self.parts.networks.all().iter().any(|network| network.is_isolated()) {
            self.parts
                .isolation
                .ensure(&self.parts.networks, &self.parts.interfaces.own_background)
                .await?;
        }
        self.forget_gone();
        let rules = self.host_rules.read().await;
        let is_lost = |spare: &&Spare| rules.lost(spare).next().is_some();
        let lost: Vec<AttachmentId> =
            self.shelves().all().filter(is_lost).map(|it| it.id).collect();
        let unwanted = self.shelves().take_all(|spare| lost.contains(&spare.id));
        if !unwanted.is_empty() {
            tracing::info!(
                spares = unwanted.len(),
                "spares are replaced: the host has lost their rules"
            );
            self.remove_soon(unwanted, Unused::Outdated).await;
        }
        Ok(())
    }
}
