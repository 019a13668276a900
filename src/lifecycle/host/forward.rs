//! The exemption of an attachment's addresses from the policy of the host's FORWARD chain.
//!
//! Docker sets that policy to DROP. It also drops packets between two containers on one bridge, and packets
//! to a published port. The reference `firewall` plugin would accept the former, but not the latter, and it
//! puts its rules before all others. These rules are *appended*: the rules of an administrator, of Docker
//! or of a network policy come first, and only the policy of the chain is overruled. Without a DROP policy
//! they change nothing.
//!
//! ```text
//! -A FORWARD -s ADDRESS                                           -j ACCEPT
//! -A FORWARD -d ADDRESS --ctstate RELATED,ESTABLISHED,DNAT        -j ACCEPT
//! ```
//!
//! With `-o forward=open` the second rule accepts all packets to the address, as for a pod: on a network
//! that is routed from host to host, others open connections to it.
//!
//! On an `--internal` network only packets within the subnet are accepted, whatever routes a container
//! makes for itself:
//!
//! ```text
//! -A FORWARD -s ADDRESS -d SUBNET                                 -j ACCEPT
//! ```
//!
//! Join writes the rules, in parallel to its other work: Docker creates the endpoints of one network one
//! after another, but lets them join in parallel.
//!
//! Each rule has a comment with the attachment's id, and is found again by it. The host's own
//! `iptables-restore` writes the rules, as for Docker and the plugins ([`super::tables`]). A host without
//! that program has no policy that was set by it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::tables::{Family, Listed, Table};
use crate::cni::NetworkConfigList;
use crate::cnm::Forward;
use crate::lifecycle::error::Result;
use crate::lifecycle::record::{Attachment, AttachmentId};

const EXEMPT: &str = "exempt the container from the host's FORWARD policy";
const WITHDRAW: &str = "withdraw the container's exemption from the host's FORWARD policy";

/// Whether a chain's attachments are to be exempt.
pub(crate) fn applies(wanted: Forward, list: &NetworkConfigList) -> bool {
    match wanted {
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

/// Writes the rules for every address that ADD gave, if the attachment is to be exempt.
pub(crate) async fn exempt(attachment: &Attachment) -> Result<()> {
    let [v4, v6] = Family::BOTH.map(|family| rules(attachment, family));
    // Both run to their end, so that neither writes rules after they were withdrawn.
    let (v4, v6) = tokio::join!(Family::V4.apply(EXEMPT, &v4), Family::V6.apply(EXEMPT, &v6));
    v4.and(v6)
}

/// Writes the rules again, unless all of them are there.
pub(crate) async fn complete(attachment: &Attachment) -> Result<()> {
    if !missing(attachment).await?.is_empty() {
        // Rules that exist would exist twice.
        withdraw(attachment).await?;
        exempt(attachment).await?;
    }
    Ok(())
}

/// The rules of an exempt attachment that are not there.
pub(crate) async fn missing(attachment: &Attachment) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for family in Family::BOTH {
        if !rules(attachment, family).is_empty() {
            let present = family.list(Table::Forward).await?;
            missing.extend(missing_of(attachment, family, &present));
        }
    }
    Ok(missing)
}

/// The rules of an exempt attachment that are not among the current rules of that family. Where the host
/// has no program for them, no rule can exist, and nothing is missing.
fn missing_of(attachment: &Attachment, family: Family, present: &Listed) -> Vec<String> {
    let Some(present) = present else { return Vec::new() };
    let rules = rules(attachment, family);
    let missing = rules.lines().filter(|rule| !present.iter().any(|present| present == rule));
    missing.map(str::to_owned).collect()
}

/// An attachment that may have rules, and in which families.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exempt {
    pub(crate) id: AttachmentId,
    ipv4: bool,
    ipv6: bool,
}

impl Exempt {
    /// None if the attachment has no rules.
    pub(crate) fn of(attachment: &Attachment) -> Option<Self> {
        let id = attachment.id;
        let [ipv4, ipv6] = match attachment.result() {
            Some(_) => Family::BOTH.map(|family| !rules(attachment, family).is_empty()),
            // An attachment that was found without its record may have rules of both families.
            None => [attachment.forwarded; 2],
        };
        (ipv4 || ipv6).then_some(Self { id, ipv4, ipv6 })
    }

    fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }
}

/// Removes the rules of an attachment, if it is exempt.
pub(crate) async fn withdraw(attachment: &Attachment) -> Result<()> {
    match Exempt::of(attachment) {
        Some(exempt) => withdraw_of(&[exempt]).await,
        None => Ok(()),
    }
}

/// Removes all rules with the attachment's id.
pub(crate) async fn withdraw_all(id: AttachmentId) -> Result<()> {
    withdraw_of(&[Exempt { id, ipv4: true, ipv6: true }]).await
}

/// Removes the rules of these attachments: all rules of a family, or none.
pub(crate) async fn withdraw_of(exempt: &[Exempt]) -> Result<()> {
    let remove = async |family| {
        let ids = exempt.iter().filter(|it| it.has(family)).map(|it| it.id);
        remove(family, &ids.collect()).await
    };
    let (v4, v6) = tokio::join!(remove(Family::V4), remove(Family::V6));
    v4.and(v6)
}

/// The attachments that have rules, with the addresses that they are for.
pub(crate) async fn marked() -> Result<Vec<(AttachmentId, IpAddr)>> {
    let mut marked = Vec::new();
    for family in Family::BOTH {
        let rules = family.list(Table::Forward).await?.unwrap_or_default();
        marked.extend(rules.iter().filter_map(|rule| {
            let address = rule.split_once("-s ").or_else(|| rule.split_once("-d "))?.1;
            let address = address.split(['/', ' ']).next()?.parse().ok()?;
            Some((bearer(rule)?, address))
        }));
    }
    marked.dedup();
    Ok(marked)
}

fn comment(id: AttachmentId) -> String {
    format!("\"cnm-cni {id}\"")
}

/// The attachment that a rule belongs to.
fn bearer(rule: &str) -> Option<AttachmentId> {
    AttachmentId::parse(rule.split_once("\"cnm-cni ")?.1.split_once('"')?.0)
}

/// An exempt attachment's rules for the addresses of one family that ADD gave. One line each, as `iptables
/// -S` prints them, so that they are found again.
pub(crate) fn rules(attachment: &Attachment, family: Family) -> String {
    let ips = attachment.result().into_iter().flat_map(|result| &result.ips);
    let addresses = ips
        .map(|ip| ip.address)
        .filter(|net| attachment.forwarded && Family::of(net.addr()) == family);
    let comment = comment(attachment.id);
    let states = match attachment.open {
        true => "",
        false => " -m conntrack --ctstate RELATED,ESTABLISHED,DNAT",
    };
    addresses.fold(String::new(), |mut rules, net| {
        let (address, subnet) = (IpNet::from(net.addr()), net.trunc());
        // Writing to a string cannot fail.
        let _ = if attachment.internal {
            writeln!(
                rules,
                "-A FORWARD -s {address} -d {subnet} -m comment --comment {comment} -j ACCEPT"
            )
        } else {
            writeln!(
                rules,
                "-A FORWARD -s {address} -m comment --comment {comment} -j ACCEPT\n\
                 -A FORWARD -d {address}{states} -m comment --comment {comment} -j ACCEPT"
            )
        };
        rules
    })
}

/// Removes all rules of one family with one of these ids. If the host's program was uninstalled, the rules
/// stay; garbage collection finds them once the program is back.
async fn remove(family: Family, ids: &HashSet<AttachmentId>) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let rules = family.list(Table::Forward).await?.unwrap_or_default();
    let removals = (rules.iter().filter(|rule| bearer(rule).is_some_and(|id| ids.contains(&id))))
        .filter_map(|rule| rule.strip_prefix("-A "))
        .fold(String::new(), |removals, rule| removals + "-D " + rule + "\n");
    family.apply(WITHDRAW, &removals).await
}
