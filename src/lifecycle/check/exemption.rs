//! Whether the host exempts an attachment's packets from the policy of FORWARD, and what drops them before.

use super::fault::Fault;
use super::rules::HostRules;
use crate::lifecycle::host::filter::{Filter, Kind, Packets};
use crate::lifecycle::host::forward::{Element, of_address};
use crate::lifecycle::record::Attachment;

/// What is missing of the exemption, and what drops the packets before they come to it.
pub(super) fn faults(attachment: &Attachment, rules: &HostRules) -> Vec<Fault> {
    let mut faults = Vec::new();
    for element in Element::of(attachment) {
        match rules.of(element.family()) {
            Ok(filter) => {
                let mut rule = None;
                // Without the program nobody writes rules, and ours cannot exist.
                if let Some(filter) = filter {
                    let missing;
                    (missing, rule) = of_element(attachment, element, filter, rules);
                    faults.extend(missing.into_iter().map(Fault::without_remedy));
                }
                for packets in packets_of(attachment, element) {
                    faults.extend(dropped(
                        element,
                        packets,
                        filter.as_ref(),
                        rule.as_deref(),
                        rules,
                    ));
                }
            }
            Err(why) => faults.push(Fault::without_remedy(why.as_str())),
        }
    }
    let mut once = std::collections::HashSet::new();
    faults.retain(|fault| once.insert(fault.to_string()));
    faults
}

/// What is missing for one address; and the rule of FORWARD that accepts its packets, if it is there.
fn of_element(
    attachment: &Attachment,
    element: Element,
    filter: &Filter,
    rules: &HostRules,
) -> (Vec<String>, Option<String>) {
    let missing = |rule: &String| format!("rule {rule:?} of the host is missing");
    let own = of_address(element, attachment.id);
    let own_missing: Vec<String> =
        own.iter().filter(|rule| !filter.has(rule)).map(missing).collect();
    let table = match &rules.table {
        Ok(Some(table)) if !own_missing.is_empty() => table,
        Err(why) if !own_missing.is_empty() => {
            let address = element.address();
            let told =
                format!("whether the host exempts {address} in FORWARD cannot be told: {why}");
            return (vec![told], None);
        }
        // An attachment of an earlier version, or a host without nftables.
        _ => return (own_missing, own.into_iter().next()),
    };
    let mut all = table.missing(element, &rules.mark);
    let rule = filter.find(|rule| rules.mark.is(rule));
    if rule.is_none() {
        let program = element.family().program();
        all.push(format!("rule {:?} of the host's {program} is missing", rules.mark.rule()));
    }
    (all, rule.map(str::to_owned))
}

/// What drops these packets, whatever exempts them.
fn dropped(
    element: Element,
    packets: Packets<'_>,
    filter: Option<&Filter>,
    rule: Option<&str>,
    rules: &HostRules,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (family, program) = (element.family(), element.family().program());
    if let Some(rule) = filter.and_then(|filter| filter.dropped_before(rule, packets)) {
        faults.push(Fault::new(
            format!(
                "rule {rule:?} of the host drops the container's packets before they come to its exemption in \
                 FORWARD, which cannot count behind that rule; let the policy of the chain drop instead"
            ),
            format!("{program} {} && {program} -P FORWARD DROP", rule.replacen("-A ", "-D ", 1)),
        ));
    }
    if let Some(chain) = rules.beside.iter().find(|chain| chain.drops(family, packets)) {
        faults.push(Fault::new(
            format!(
                "chain {chain} of the host's nftables drops the container's packets, whatever accepts them in \
                 FORWARD: the exemption cannot count beside it"
            ),
            chain.remedy(family, packets),
        ));
    }
    faults
}

/// The packets that are exempt.
fn packets_of(attachment: &Attachment, element: Element) -> Vec<Packets<'_>> {
    let links = attachment.host_side().map(|side| side.links.as_slice()).unwrap_or_default();
    let link = links.last().map(|link| link.name.as_str());
    let received = if attachment.publishes() { Kind::Received } else { Kind::Answers };
    let kinds = match element {
        Element::Within(..) => vec![Kind::Sent],
        Element::Closed(_) | Element::Open(_) => vec![Kind::Sent, received],
    };
    let address = element.address().into();
    kinds.into_iter().map(|kind| Packets { address, kind, link }).collect()
}
