//! The rules of the host's firewall.

use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::host::filter::Filter;
use crate::lifecycle::host::forward::{Listing, Mark};
use crate::lifecycle::host::masquerade::{Masquerade, nft_table};
use crate::lifecycle::host::tables::{Family, Table};
use crate::lifecycle::host::{Exemptions, nft};
use crate::lifecycle::record::Attachment;

/// The rules of the host's firewall.
pub(super) struct HostRules {
    filter: [Reading<Option<Filter>>; 2],
    pub(super) masquerade: Masquerade,
    /// The table in which `portmap` publishes ports with `nft`; empty without.
    hostport: Reading<String>,
    /// The table that exempts from the FORWARD policy; none where there can be none.
    pub(super) table: Reading<Option<Listing>>,
    /// The rule of FORWARD that goes with it.
    pub(super) mark: Mark,
    /// Chains of nftables that see forwarded packets, in addition to those of `iptables`.
    pub(super) beside: Vec<nft::Chain>,
}

/// What was read, or why reading failed.
pub(super) type Reading<T> = std::result::Result<T, String>;

pub(super) fn reading<T>(read: Result<T>) -> Reading<T> {
    read.map_err(|error: Error| chain(&error))
}

impl HostRules {
    pub(super) async fn read(exemptions: &Exemptions) -> Self {
        let filter = async |family: Family| {
            let listed = reading(family.list(Table::Filter).await);
            listed.map(|rules| rules.map(|rules| Filter::read(&rules)))
        };
        let (ipv4, ipv6, masquerade, hostport, table, beside) = tokio::join!(
            filter(Family::V4),
            filter(Family::V6),
            Masquerade::read(),
            nft_table(["ip", "cni_hostport"]),
            exemptions.look(),
            nft::forward_chains()
        );
        let beside = beside.unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "rules of nftables are not judged");
            Vec::new()
        });
        let (table, hostport) = (reading(table), reading(hostport));
        let mark = exemptions.mark().clone();
        Self { filter: [ipv4, ipv6], masquerade, hostport, table, mark, beside }
    }

    /// Whether rules of `iptables` or `nft` translate published ports to an IPv4 address of the container; also if
    /// that cannot be told.
    pub(super) fn publish(&self, attachment: &Attachment) -> bool {
        let by_nft = match &self.hostport {
            Ok(table) => publishes(table, &attachment.parameters.container_id),
            Err(_) => true,
        };
        self.masquerade.publishes(Family::V4, attachment.id) || by_nft
    }

    /// The rules of the table filter; none where the host has no program for them.
    pub(super) fn of(&self, family: Family) -> &Reading<Option<Filter>> {
        match family {
            Family::V4 => &self.filter[0],
            Family::V6 => &self.filter[1],
        }
    }
}

/// Whether a rule of `… dnat to ADDRESS … comment "CONTAINERID"` is in a chain that packets come to.
fn publishes(table: &str, container_id: &str) -> bool {
    let comment = format!("comment \"{container_id}\"");
    let hooks = ["hook prerouting", "hook output", "jump hostports_all", "jump hostports\n"];
    hooks.iter().all(|hook| table.contains(hook))
        && table.lines().any(|rule| rule.contains(" dnat to ") && rule.ends_with(&comment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_published_by_nft_in_a_chain_that_packets_come_to() {
        const TABLE: &str = r#"table ip cni_hostport {
	comment "CNI portmap plugin"
	chain hostports {
		tcp dport 8080 dnat to 10.1.2.3:80 comment "c1"
	}
	chain hostip_hostports {
	}
	chain hostports_all {
		jump hostip_hostports
		jump hostports
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump hostports_all
	}
	chain output {
		type nat hook output priority dstnat; policy accept;
		fib daddr type local jump hostports_all
	}
	chain masquerading {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.1.2.3 ip daddr 10.1.2.3 masquerade comment "c1"
	}
}"#;
        assert!(publishes(TABLE, "c1"));
        assert!(!publishes(TABLE, "c"));
        let needed =
            ["hook prerouting", "hook output", "hostports_all\n", "jump hostports\n", "dnat"];
        for missing in needed {
            assert!(!publishes(&TABLE.replace(missing, ""), "c1"), "without {missing}");
        }
    }
}
