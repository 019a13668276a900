//! The rules of spares, and of the endpoints that have claimed one, are compared with the host's: somebody
//! may have flushed them between ADD and Join, where an ordinary attachment gets them anew.

use std::collections::HashSet;

use tokio::time::Instant;

use super::Spares;
use crate::cnm::EndpointId;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::host::forward;
use crate::lifecycle::host::masquerade::Masquerade;
use crate::lifecycle::record::{Attachment, AttachmentId, Spare};

/// The host's rules, as far as spares need them.
struct Rules {
    exempt: HashSet<AttachmentId>,
    masquerade: Masquerade,
}

impl Spares {
    /// Writes the FORWARD rules again that endpoints of spares lack, and removes spares that lack rules.
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

    async fn compare_rules(&self, claimed: Vec<EndpointId>) -> Result<()> {
        let pass = self.parts.gate.enter_to_look().await;
        let rules = Rules::read().await?;
        // A call that has an endpoint may wait for somebody who needs a place.
        drop(pass);
        let suspects: Vec<AttachmentId> =
            self.shelves().all().filter(|spare| !rules.are_whole(spare)).map(|it| it.id).collect();
        let lost = self.shelves().take_all(|spare| suspects.contains(&spare.id));
        let mut unwanted = Vec::new();
        for spare in lost {
            // A host without a program for these rules has none, and lacks none.
            let exempt = forward::missing(&spare).await.is_ok_and(|missing| missing.is_empty());
            match exempt && rules.masquerades(&spare) {
                true => self.shelves().shelf(&spare.network.clone()).spares.push_back(spare),
                false => unwanted.push(spare),
            }
        }
        if !unwanted.is_empty() {
            tracing::info!(
                spares = unwanted.len(),
                "spares are replaced: the host has lost their rules"
            );
            self.remove_soon(unwanted).await;
        }
        if claimed.is_empty() {
            return Ok(());
        }
        if self.parts.networks.all().iter().any(|network| network.is_isolated()) {
            self.parts.isolation.ensure(&self.parts.networks, &self.parts.interfaces.aside).await?;
        }
        for endpoint in claimed {
            let slot = self.parts.endpoints.lock_after_calls(&endpoint).await;
            let Some(attachment) = slot.as_ref().and_then(|slot| slot.as_ref()) else { continue };
            if attachment.joined().is_some() && !rules.exempt(attachment) {
                forward::complete(attachment).await?;
            }
        }
        Ok(())
    }
}

impl Rules {
    async fn read() -> Result<Self> {
        let (exempt, masquerade) = tokio::join!(forward::marked(), Masquerade::read());
        Ok(Self { exempt: exempt?.into_iter().map(|(id, _)| id).collect(), masquerade })
    }

    fn are_whole(&self, spare: &Spare) -> bool {
        self.exempt(spare) && self.masquerades(spare)
    }

    /// Whether the attachment has rules in FORWARD, if it is to have some.
    fn exempt(&self, attachment: &Attachment) -> bool {
        !attachment.forwarded || self.exempt.contains(&attachment.id)
    }

    /// Whether the addresses that were masqueraded still are.
    fn masquerades(&self, spare: &Spare) -> bool {
        let hidden = spare.host_side().and_then(|side| side.masqueraded.as_ref());
        hidden.into_iter().flatten().all(|it| self.masquerade.hides(spare, *it) != Ok(false))
    }
}
