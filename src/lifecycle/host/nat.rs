//! The rules of the nat table that the reference plugins made for attachments.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::tables::{Family, Table};
use crate::lifecycle::error::chain;
use crate::lifecycle::record::AttachmentId;
use crate::netlink::Address;

/// The addresses of an attachment that rules of nat translate.
#[derive(Debug, Default)]
pub(crate) struct Masqueraded {
    addresses: HashSet<IpAddr>,
    /// Families with rules in the attachment's own chain, and none that leads there: DEL was killed in between.
    chains: HashSet<Family>,
    /// Families whose rules cannot be read.
    untold: Vec<Family>,
}

impl Masqueraded {
    /// Reads the rules.
    pub(crate) async fn of(id: AttachmentId) -> Self {
        let mut masqueraded = Self::default();
        for family in Family::BOTH {
            match family.list(Table::Nat).await {
                Ok(Some(rules)) => masqueraded.note(family, &rules, id),
                // The rules may exist although the program is not installed.
                Ok(None) => masqueraded.untold.push(family),
                Err(error) => {
                    tracing::warn!(attachment = %id, error = chain(&error),
                        "it cannot be told which of its addresses are translated");
                    masqueraded.untold.push(family);
                }
            }
        }
        masqueraded
    }

    fn note(&mut self, family: Family, rules: &[String], id: AttachmentId) {
        let addresses: Vec<_> = masqueraded_by(rules, id).collect();
        if addresses.is_empty() && rules.iter().any(|rule| is_in_own_chain(rule, id)) {
            self.chains.insert(family);
        }
        self.addresses.extend(addresses);
    }

    /// The addresses that rules lead from.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().copied()
    }

    /// Leaves only addresses that have rules, or may have some. Of a family with nothing but the attachment's chain
    /// one is left: DEL removes the chain for it, and would fail for a second. DEL does not count link-local ones.
    pub(crate) fn retain_in(mut self, addresses: &mut Vec<Address>) {
        addresses.retain(|address| {
            let address = address.net.addr();
            let family = Family::of(address);
            let is_link_local = match address {
                IpAddr::V4(address) => address.is_link_local(),
                IpAddr::V6(address) => address.is_unicast_link_local(),
            };
            self.addresses.contains(&address)
                || self.untold.contains(&family)
                || (!is_link_local && self.chains.remove(&family))
        });
    }
}

/// The addresses of an attachment whose packets jump to its own chain by these rules.
pub(crate) fn masqueraded_by(rules: &[String], id: AttachmentId) -> impl Iterator<Item = IpAddr> {
    let of_attachment =
        rules.iter().filter(move |rule| named_in(rule).is_some_and(|(_, of)| of == id));
    of_attachment.filter_map(|rule| source_of(rule))
}

/// Whether a rule is in the chain that `bridge` and `ptp` make for the attachment.
fn is_in_own_chain(rule: &str, id: AttachmentId) -> bool {
    // `portmap` finds its own by the id.
    let of_portmap = rule.contains("dnat name: ");
    !of_portmap
        && !rule.starts_with("-A POSTROUTING ")
        && named_in(rule).is_some_and(|(_, of)| of == id)
}

/// The source address that a rule matches.
pub(crate) fn source_of(rule: &str) -> Option<IpAddr> {
    rule.split_once("-s ")?.1.split(['/', ' ']).next()?.parse().ok()
}

/// The addresses that a rule's chain sends packets to. `portmap` makes such a chain for each attachment.
pub(crate) fn destinations_of<'r>(
    rules: &'r [String],
    rule: &str,
) -> impl Iterator<Item = IpAddr> + use<'r> {
    let chain = rule.split_once(" -j ").and_then(|(_, rest)| rest.split(' ').next());
    let begins = chain.map(|chain| format!("-A {chain} "));
    let of_chain = (rules.iter())
        .filter(move |rule| begins.as_ref().is_some_and(|begins| rule.starts_with(begins)));
    of_chain.filter_map(|rule| {
        let to = rule.split_once("--to-destination ")?.1.split(' ').next()?;
        let socket = to.parse::<SocketAddr>().ok()?;
        Some(socket.ip())
    })
}

/// The network and the attachment in the comment that the reference plugins give their rules:
/// `name: "NETWORK" id: "CONTAINERID"`.
pub(crate) fn named_in(rule: &str) -> Option<(String, AttachmentId)> {
    let rule = rule.replace("\\\"", "\"");
    let quoted = |key: &str| Some(rule.split_once(key)?.1.split_once('"')?.0.to_owned());
    Some((quoted("name: \"")?, AttachmentId::parse(&quoted("id: \"")?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_rules_of_portmap_lead_is_an_address_of_the_attachment() {
        let rules = [
            r#"-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"web\"" -m multiport --dports 80 -j CNI-DN-1"#,
            "-A CNI-DN-1 -s 10.22.0.5/32 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK",
            "-A CNI-DN-1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.22.0.5:80",
            "-A CNI-DN-1 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::5]:80",
            "-A CNI-DN-11 -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.22.0.6:80",
        ]
        .map(str::to_owned);
        let found: Vec<_> = destinations_of(&rules, &rules[0]).collect();
        assert_eq!(found, ["10.22.0.5", "fd00::5"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(destinations_of(&rules, &rules[2]).count(), 0);
    }

    #[test]
    fn the_comment_of_the_reference_plugins_names_network_and_attachment() {
        let id = AttachmentId::new();
        for rule in [
            format!(
                r#"-A POSTROUTING -s 10.22.0.5/32 -m comment --comment "name: \"web\" id: \"{id}\"" -j CNI-1"#
            ),
            format!(
                r#"-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \"web\" id: \"{id}\"" -j CNI-DN-1"#
            ),
        ] {
            assert_eq!(named_in(&rule), Some(("web".into(), id)), "{rule}");
        }
        let pod = r#"-A POSTROUTING -m comment --comment "name: \"web\" id: \"4f3c\"" -j CNI-2"#;
        assert_eq!(named_in(pod), None);
    }
}
