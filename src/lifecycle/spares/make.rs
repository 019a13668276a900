//! Makes a spare: ADD in staging, what Join would look at, the FORWARD rules, and the interface where Docker
//! takes it.

use std::time::Duration;

use tokio::time::Instant;

use super::Spares;
use crate::cnm::{EndpointInterface, EndpointOptions, NetworkId};
use crate::crash;
use crate::lifecycle::attach::{ChainInput, RequestedInterface};
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::host::host_side;
use crate::lifecycle::host::masquerade::Masquerade;
use crate::lifecycle::interface::netfilter;
use crate::lifecycle::record::{Attachment, Made, Network, Prepared, Spare};

/// How long no spare is made for a network after one could not be made, or could not be used.
pub(super) const FIRST_REST: Duration = Duration::from_secs(60);

/// How long no spare is made for a network after an endpoint needed what a spare had.
pub(super) const LONG_REST: Duration = Duration::from_secs(600);

impl Spares {
    /// Makes one for the network; none if it is `unwanted` before its ADD has ended.
    ///
    /// # Errors
    /// A step failed. What was done is removed again, if need be in the background.
    pub(super) async fn make(
        &self,
        network: &Network,
        input: ChainInput,
        unwanted: impl Future<Output = ()>,
    ) -> Result<Option<Spare>> {
        let (options, interface) = (EndpointOptions::default(), EndpointInterface::default());
        let begun = Instant::now();
        let requested = RequestedInterface::of(network, &options, &interface)?;
        let mut attachment = self.maker.intend(network, input, None, Vec::new());
        let ready = match self.maker.add(&attachment, &requested, unwanted).await {
            Ok(made) => self.make_ready(&mut attachment, made).await,
            Err(failed) => Err(failed.noted_in(&mut attachment)),
        };
        match ready {
            Ok(spare) => {
                self.parts.history.spare_made(&spare, begun.elapsed());
                Ok(Some(spare))
            }
            Err(cause) => {
                attachment.begin_removal_with(|removal, _| removal.refused = true);
                let orphan = self.removals.release(&mut Some(attachment)).await;
                if let Some(orphan) = orphan {
                    self.removals.soon(orphan);
                }
                match cause {
                    Error::Unwanted => Ok(None),
                    cause => Err(cause),
                }
            }
        }
    }

    /// Does what Join does for an attachment that was no spare.
    async fn make_ready(&self, attachment: &mut Attachment, made: Made) -> Result<Spare> {
        let interfaces = &self.parts.interfaces;
        let (settings, rules, seen) = tokio::join!(
            interfaces.read_settings(attachment, &made),
            netfilter::read(&attachment.staging),
            host_side::observe(&interfaces.own_background, &made)
        );
        let warn = |error: &Error| {
            tracing::warn!(attachment = %attachment.id, error = chain(error),
                "what it has on the host is not known, and will not be checked");
        };
        let mut host_side = seen.inspect_err(warn).ok();
        if let Some(side) = &mut host_side {
            let rules = Masquerade::read().await;
            let hidden =
                made.addresses().filter(|it| rules.masquerades(attachment, *it) == Ok(true));
            side.masqueraded = Some(hidden.collect());
        }
        let prepared = Prepared { settings: settings?, netfilter: rules?, host_side };
        let spare = Spare::ready(attachment, made, prepared)?;
        // On record before the interface moves: DEL needs the addresses, which it loses then.
        let (kept, exempted) =
            tokio::join!(self.parts.records.keep(&spare), self.parts.exemptions.exempt(&spare));
        kept.and(exempted)?;
        crash::point(format_args!("spare: park"));
        interfaces.park(&spare).await?;
        crash::point(format_args!("spare: parked"));
        Ok(spare)
    }

    /// Lets no spare be made for the network for a while.
    pub(super) fn rest(&self, network: &NetworkId, time: Duration) {
        self.shelves().shelf(network).not_before = Some(Instant::now() + time);
    }
}
