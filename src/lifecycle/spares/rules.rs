//! The host's rules for spares, and for the endpoints that have claimed one, are compared with what they were:
//! somebody may have flushed them between ADD and Join, where an ordinary attachment gets them anew.

use std::net::IpAddr;

use tokio::time::Instant;

use super::Spares;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::host::masquerade::Masquerade;
use crate::lifecycle::record::{AttachmentId, Spare};
use crate::metrics::Unused;

impl Spares {
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
        let rules = Masquerade::read().await;
        let lost: Vec<AttachmentId> =
            self.shelves().all().filter(|it| are_lost(it, &rules)).map(|it| it.id).collect();
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

/// Whether an address of the spare was masqueraded, and is not any more.
pub(super) fn are_lost(spare: &Spare, rules: &Masquerade) -> bool {
    masqueraded(spare).any(|it| rules.masquerades(spare, it) == Ok(false))
}

/// The addresses of the spare that were masqueraded when it was made.
pub(super) fn masqueraded(spare: &Spare) -> impl Iterator<Item = IpAddr> {
    let seen = spare.host_side().and_then(|side| side.masqueraded.as_ref());
    seen.into_iter().flatten().copied()
}
