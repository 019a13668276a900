//! The host's rules, read once for many endpoints.

use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::host::filter::Filter;
use crate::lifecycle::host::forward::{Listing, Mark};
use crate::lifecycle::host::masquerade::Masquerade;
use crate::lifecycle::host::tables::{Family, Table};
use crate::lifecycle::host::{Exemptions, nft};
use crate::lifecycle::record::Attachment;

/// The host's rules, read once for many endpoints.
pub(super) struct HostRules {
    filter: [Reading<Option<Filter>>; 2],
    pub(super) masquerade: Masquerade,
    /// The table that exempts from the FORWARD policy; none where there can be none.
    pub(super) table: Option<Listing>,
    /// The rule of FORWARD that goes with it.
    pub(super) mark: Mark,
    /// Chains of nftables that see forwarded packets, in addition to those of `iptables`.
    pub(super) beside: Vec<nft::Chain>,
}

/// What was read, or why reading failed.
type Reading<T> = std::result::Result<T, String>;

fn reading<T>(read: Result<T>) -> Reading<T> {
    read.map_err(|error: Error| chain(&error))
}

impl HostRules {
    pub(super) async fn read(exemptions: &Exemptions) -> Self {
        let filter = async |family: Family| {
            let listed = reading(family.list(Table::Filter).await);
            listed.map(|rules| rules.map(|rules| Filter::read(&rules)))
        };
        let (ipv4, ipv6, masquerade, table, beside) = tokio::join!(
            filter(Family::V4),
            filter(Family::V6),
            Masquerade::read(),
            exemptions.look(),
            nft::forward_chains()
        );
        let beside = beside.unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "rules of nftables are not judged");
            Vec::new()
        });
        // As on a kernel without nftables, which has no table either.
        let (table, mark) = (table.unwrap_or_default(), exemptions.mark().clone());
        Self { filter: [ipv4, ipv6], masquerade, table, mark, beside }
    }

    /// Whether rules of `iptables` translate published ports to the container.
    pub(super) fn publish(&self, family: Family, attachment: &Attachment) -> bool {
        self.masquerade.publishes(family, attachment.id)
    }

    /// The rules of the table filter; none where the host has no program for them.
    pub(super) fn of(&self, family: Family) -> &Reading<Option<Filter>> {
        match family {
            Family::V4 => &self.filter[0],
            Family::V6 => &self.filter[1],
        }
    }
}
