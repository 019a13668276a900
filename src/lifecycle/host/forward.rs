//! The exemption of an attachment's addresses from the policy of the host's FORWARD chain.
//!
//! Docker sets that policy to DROP. It also drops packets between two containers on one bridge, and packets
//! to a published port. The reference `firewall` plugin would accept the former, but not the latter, and it
//! puts its rules before all others. This exemption comes *last* in FORWARD: the rules of an administrator, of
//! Docker or of a network policy come first, and only the policy of the chain is overruled. Without a DROP
//! policy it changes nothing.
//!
//! What is accepted, for each address that ADD gave:
//!
//! | network | sent by the address | sent to it |
//! |---|---|---|
//! | any | everything | what belongs to a connection that was accepted, or translated to a published port |
//! | `-o forward=open` | everything | everything, as for a pod that is routed from host to host |
//! | `--internal` | to its own subnet | nothing more |
//!
//! A table of nftables looks an address up, which takes as long for one as for a thousand ([`table`]). But no
//! table can overrule the policy of another one. So it only sets a bit in the mark of the packet, and one rule at
//! the end of FORWARD accepts what has the bit. That rule stays as it is when containers come and go. It is
//! written again, at the end, when a container joins after somebody has appended a rule of his own.
//!
//! On a host without `nft` each address has rules of its own in FORWARD, as with earlier versions of the driver
//! ([`rules`]). Those that are found are replaced by the table where there is one. A host without `iptables` has
//! no policy that was set by it: nothing is exempt there.
//!
//! Why not otherwise: rules that name a set of ipset cost as little, but a host whose saved rules name one does
//! not restore any of them at boot, because the sets are not there yet; and many kernels have no ipset. Chains of
//! `iptables` by the digits of an address cost more, and each program that reads the table would read
//! hundreds of them.
//!
//! Join writes the exemption, in parallel to its other work: Docker creates the endpoints of one network one
//! after another, but lets them join in parallel. Those that join while another one is at work have theirs
//! written together.

mod desired;
mod element;
mod rules;
mod table;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use desired::{Batch, Desired};
pub(crate) use element::Element;
use rules::{Aim, Has};
pub(crate) use rules::{Mark, of_address};
pub(crate) use table::Listing;
use table::Table;

use super::names::Names;
use super::tables::{self, Family};
use crate::cni::NetworkConfigList;
use crate::cnm::Forward;
use crate::lifecycle::config::Config;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::record::{Attachment, AttachmentId};
use crate::process::host;

const EXEMPT: &str = "exempt the container from the host's FORWARD policy";
const WITHDRAW: &str = "withdraw the container's exemption from the host's FORWARD policy";

/// Whether a chain's attachments are to be exempt.
pub(crate) fn applies(forward: Forward, list: &NetworkConfigList) -> bool {
    match forward {
        Forward::Always | Forward::Open => true,
        Forward::Never => false,
        Forward::Auto => list
            .plugins()
            .first()
            .is_some_and(|plugin| matches!(plugin.plugin_type(), "bridge" | "ptp")),
    }
}

/// Whether a chain's attachments are exempt when the user does not say otherwise.
#[must_use]
pub fn exempts_by_default(list: &NetworkConfigList) -> bool {
    applies(Forward::Auto, list)
}

/// Whether the host may have something of an attachment's exemption.
pub(crate) fn may_have(attachment: &Attachment) -> bool {
    // An attachment that was found without its record may be exempt at any address.
    attachment.forwarded && attachment.result().is_none_or(|result| !result.ips.is_empty())
}

/// Who is exempt, on this host and by this driver.
#[derive(Debug)]
pub(crate) struct Exemptions {
    table: Table,
    mark: Mark,
    desired: Mutex<Desired>,
    /// Held while the host is changed.
    turn: tokio::sync::Mutex<Seen>,
}

/// What the host has, as it was seen or made by this driver.
#[derive(Debug, Default)]
struct Seen {
    /// The number of the latest change that the host has.
    change: u64,
    table: Known,
    /// For each family, what FORWARD has; none if that is not known.
    chains: [Option<Has>; 2],
    /// The log has the warning that there can be no table.
    warned: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing is known of it: it was made by an earlier driver, perhaps of another version.
    #[default]
    Nothing,
    There,
    Gone,
}

/// How thoroughly the host is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Only at what a change needs.
    Little,
    /// At everything.
    Whole,
}

impl Exemptions {
    /// Those of a driver that has these attachments.
    pub(crate) fn of<'a>(
        config: &Config,
        attachments: impl Iterator<Item = &'a Attachment>,
    ) -> Self {
        let mut desired = Desired::default();
        // Spares are exempt before they are in a container.
        let is_exempt = |it: &&Attachment| it.joined().is_some() || it.prepared().is_some();
        for attachment in attachments.filter(is_exempt) {
            desired.add(attachment.id, &Element::of(attachment));
        }
        let (name, bit) = (Names::of(&config.state_dir).forward, config.forward_mark);
        Self {
            mark: Mark { table: name.clone(), bit },
            table: Table { name, bit },
            desired: Mutex::new(desired),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Makes an attachment's addresses exempt, if they are to be.
    pub(crate) async fn exempt(&self, attachment: &Attachment) -> Result<()> {
        self.add(attachment, Look::Little).await
    }

    /// The same, and puts back everything of the exemptions that the host has lost.
    pub(crate) async fn complete(&self, attachment: &Attachment) -> Result<()> {
        self.add(attachment, Look::Whole).await
    }

    async fn add(&self, attachment: &Attachment, look: Look) -> Result<()> {
        let elements = Element::of(attachment);
        if elements.is_empty() {
            return Ok(());
        }
        let change = self.desired().add(attachment.id, &elements);
        self.apply(change, look, EXEMPT).await
    }

    /// Puts back everything that the host has lost, and removes what an earlier driver left.
    pub(crate) async fn ensure(&self) -> Result<()> {
        self.apply(0, Look::Whole, EXEMPT).await
    }

    /// Ends the exemption of an attachment, if it has one.
    pub(crate) async fn withdraw(&self, attachment: &Attachment) -> Result<()> {
        match may_have(attachment) {
            true => self.withdraw_of(&[attachment.id]).await,
            false => Ok(()),
        }
    }

    /// Ends the exemption of whatever has one of these ids.
    pub(crate) async fn withdraw_of(&self, ids: &[AttachmentId]) -> Result<()> {
        let change = self.desired().remove(ids);
        self.apply(change, Look::Little, WITHDRAW).await
    }

    /// The attachments that are exempt on this host, with their addresses.
    pub(crate) async fn marked(&self) -> Result<Vec<(AttachmentId, IpAddr)>> {
        let listing = self.table.list().await.unwrap_or_else(|error| {
            // As on a kernel without nftables, which has no table either.
            tracing::debug!(error = chain(&error), "the table of exemptions is not read");
            None
        });
        let elements = listing.unwrap_or_default().elements;
        let of_table = elements
            .into_iter()
            .flat_map(|(element, ids)| ids.into_iter().map(move |id| (id, element.address())));
        let mut marked: Vec<_> = of_table.collect();
        for family in Family::BOTH {
            let rules = family.list(tables::Table::Forward).await?.unwrap_or_default();
            marked.extend(rules.iter().filter_map(|rule| rules::marked(rule)));
        }
        marked.sort_unstable();
        marked.dedup();
        Ok(marked)
    }

    fn desired(&self) -> MutexGuard<'_, Desired> {
        // Whole even if a holder panicked: every change is one step.
        self.desired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings everything up to that change to the host. A change that another call has brought there, while this
    /// one waited, needs nothing more.
    async fn apply(&self, change: u64, look: Look, operation: &'static str) -> Result<()> {
        let mut seen = self.turn.lock().await;
        if seen.change >= change && look == Look::Little {
            return Ok(());
        }
        if look == Look::Whole {
            seen.chains = Default::default();
        }
        let usable = self.look_at_table(&mut seen, look).await;
        // Without their programs nobody makes rules. But a table that is there follows the containers.
        let programs = Family::BOTH.map(|family| host::is_there(family.program()));
        let no_rules = programs == [false; 2];
        if no_rules && (!usable || seen.table == Known::Gone) {
            return Ok(());
        }
        let batch = self.desired().batch();
        let by_table = usable && !self.desired().is_empty() && self.write_table(&mut seen).await;
        let [v4, v6] = &mut seen.chains;
        let [has_v4, has_v6] = programs;
        let (v4, v6) = tokio::join!(
            self.write_chain((Family::V4, has_v4), v4, &batch, by_table, operation),
            self.write_chain((Family::V6, has_v6), v6, &batch, by_table, operation),
        );
        // Both run to their end.
        v4.and(v6)?;
        // The rule goes before the table: without the table it would accept what others mark.
        if usable && !by_table && seen.table != Known::Gone && self.desired().is_empty() {
            self.table.apply(&self.table.removal()).await?;
            seen.table = Known::Gone;
            self.desired().unwritten();
        }
        // What FORWARD has is removed once its programs are back.
        if !no_rules {
            self.desired().forget(&batch);
            seen.change = batch.change;
        }
        Ok(())
    }

    /// Reads the table, if that is necessary. False if this host can have none.
    async fn look_at_table(&self, seen: &mut Seen, look: Look) -> bool {
        if look == Look::Little && seen.table != Known::Nothing {
            return true;
        }
        match self.table.list().await {
            Ok(Some(listing)) => {
                let adopt = seen.table == Known::Nothing;
                self.desired().compare(&listing, adopt);
                if !listing.exists {
                    seen.table = Known::Gone;
                } else if !listing.whole {
                    seen.table = Known::Nothing;
                }
                true
            }
            Ok(None) => false,
            Err(error) => {
                seen.warn_once(&chain(&error));
                false
            }
        }
    }

    /// Writes into the table what has changed, or the whole table, unless this driver has made it and it is there.
    /// False if that cannot be done.
    async fn write_table(&self, seen: &mut Seen) -> bool {
        if seen.table == Known::There {
            let batch = self.desired().batch();
            match self.table.apply(&self.table.changes(&batch.elements)).await {
                Ok(true) => {
                    self.desired().written(&batch);
                    return true;
                }
                Ok(false) => {}
                // Others can remove the table, or change it.
                Err(error) => tracing::debug!(error = chain(&error), "the table is made again"),
            }
        }
        let (text, batch) = {
            let mut desired = self.desired();
            desired.unwritten();
            (self.table.whole(desired.all()), desired.batch())
        };
        seen.table = Known::Nothing;
        match self.table.apply(&text).await {
            Ok(true) => {
                self.desired().written(&batch);
                seen.table = Known::There;
                true
            }
            Ok(false) => false,
            Err(error) => {
                seen.warn_once(&chain(&error));
                false
            }
        }
    }

    /// Writes into FORWARD what it has to have, and nothing if it has that.
    async fn write_chain(
        &self,
        (family, has_program): (Family, bool),
        seen: &mut Option<Has>,
        batch: &Batch,
        by_table: bool,
        operation: &'static str,
    ) -> Result<()> {
        let mark = by_table && self.desired().has(family);
        let settled = |has: &Has| {
            let known = has.bearers.is_disjoint(&batch.gone) && !batch.strangers;
            has.mark == mark && !batch.adds(family) && known
        };
        if !has_program || seen.as_ref().is_some_and(settled) {
            return Ok(());
        }
        let present = match seen.as_ref() {
            Some(has) if !has.mark && has.bearers.is_empty() && !batch.strangers => Vec::new(),
            _ => match family.list(tables::Table::Forward).await? {
                Some(present) => present,
                // A kernel without this family.
                None => return Ok(()),
            },
        };
        // Those that the table exempts need no rules of their own.
        let (owners, rules) = match by_table {
            true => (self.desired().owners(), Vec::new()),
            false => (BTreeSet::new(), self.desired().rules(family)),
        };
        let gone = |id| batch.gone.contains(&id) || owners.contains(&id);
        let (lines, has) = rules::changes(&self.mark, &present, &Aim { mark, rules, gone: &gone });
        *seen = None;
        family.apply(operation, &lines).await?;
        *seen = Some(has);
        Ok(())
    }

    /// How the host exempts, for many attachments.
    pub(crate) async fn look(&self) -> Result<Option<Listing>> {
        self.table.list().await
    }

    /// The rule of FORWARD that accepts what the table has marked.
    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }
}

impl Seen {
    /// Warns, once, that there is no table, and why.
    fn warn_once(&mut self, why: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                error = why,
                "nftables cannot be used: each container has rules of its own in FORWARD, which every packet passes"
            );
        }
    }
}
