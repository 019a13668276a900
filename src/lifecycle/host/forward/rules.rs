//! The rules of exemptions in the chain FORWARD, as `iptables -S` prints them: the rule that accepts what the table
//! has marked; and without a table, the rules for each address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::element::Element;
use crate::lifecycle::record::AttachmentId;

/// How the comment of each rule of a driver begins.
const OURS: &str = "\"cnm-cni ";

/// The rule that accepts what a table has marked.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    /// The table, which the comment names: two drivers on one host have one each.
    pub(super) table: String,
    /// One bit.
    pub(super) bit: u32,
}

impl Mark {
    pub(crate) fn rule(&self) -> String {
        let Self { table, bit } = self;
        format!(
            "-A FORWARD -m mark --mark {bit:#x}/{bit:#x} -m comment --comment {OURS}table {table}\" -j ACCEPT"
        )
    }

    /// Whether the rule is this one, perhaps with another bit.
    pub(crate) fn is(&self, rule: &str) -> bool {
        rule.contains(&format!("{OURS}table {}\"", self.table))
    }

    fn has_bit(&self, rule: &str) -> bool {
        rule.contains(&format!("--mark {0:#x}/{0:#x}", self.bit))
    }
}

/// The rules of an attachment for one of its addresses, which need no table.
pub(crate) fn of_address(element: Element, id: AttachmentId) -> Vec<String> {
    let end = format!("-m comment --comment {OURS}{id}\" -j ACCEPT");
    let address = IpNet::from(element.address());
    let sends = format!("-A FORWARD -s {address}");
    let receives = format!("-A FORWARD -d {address}");
    match element {
        Element::Closed(_) => vec![
            format!("{sends} {end}"),
            format!("{receives} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT {end}"),
        ],
        Element::Open(_) => vec![format!("{sends} {end}"), format!("{receives} {end}")],
        Element::Within(_, subnet) => vec![format!("{sends} -d {subnet} {end}")],
    }
}

/// The attachment that a rule for an address belongs to.
pub(crate) fn bearer(rule: &str) -> Option<AttachmentId> {
    AttachmentId::parse(rule.split_once(OURS)?.1.split_once('"')?.0)
}

/// The attachment and the address of a rule for an address.
pub(crate) fn marked(rule: &str) -> Option<(AttachmentId, IpAddr)> {
    let address = rule.split_once("-s ").or_else(|| rule.split_once("-d "))?.1;
    let address = address.split(['/', ' ']).next()?.parse().ok()?;
    Some((bearer(rule)?, address))
}

/// What FORWARD is to have.
pub(super) struct Aim<'a> {
    /// Whether the rule that accepts what is marked is to be there, behind the rules of all others.
    pub(super) mark: bool,
    /// Rules for addresses that are to be there.
    pub(super) rules: Vec<String>,
    /// Whose rules for addresses are not to be there.
    pub(super) gone: &'a dyn Fn(AttachmentId) -> bool,
}

/// What FORWARD has of this driver's rules.
#[derive(Debug, Default)]
pub(super) struct Has {
    pub(super) mark: bool,
    /// Those that have rules for their addresses; some may be another driver's.
    pub(super) bearers: BTreeSet<AttachmentId>,
}

/// The input for `iptables-restore` after which FORWARD is as desired, empty if it is already; and what FORWARD has
/// then.
pub(super) fn changes(mark: &Mark, present: &[String], aim: &Aim<'_>) -> (String, Has) {
    let present = || present.iter().filter(|rule| rule.starts_with("-A FORWARD "));
    let marks: Vec<&String> = present().filter(|rule| mark.is(rule)).collect();
    // Rules of another driver's behind it do not count: each would move its own behind that of the other.
    let last = present().rfind(|rule| mark.is(rule) || !rule.contains(OURS));
    let stays = aim.mark && matches!(&marks[..], [one] if mark.has_bit(one) && Some(*one) == last);
    let mut changes = String::new();
    let mut has = Has { mark: aim.mark, bearers: BTreeSet::new() };
    let mut change = |verb: &str, rule: &str| {
        changes.push_str(&rule.replacen("-A ", verb, 1));
        changes.push('\n');
    };
    for rule in present() {
        match bearer(rule) {
            Some(id) if (aim.gone)(id) => change("-D ", rule),
            Some(id) => _ = has.bearers.insert(id),
            None if !stays && mark.is(rule) => change("-D ", rule),
            None => {}
        }
    }
    if aim.mark && !stays {
        change("-A ", &mark.rule());
    }
    for rule in &aim.rules {
        has.bearers.extend(bearer(rule));
        if !present().any(|present| present == rule) {
            change("-A ", rule);
        }
    }
    (changes, has)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "cnm_cni_forward";

    fn mark() -> Mark {
        Mark { table: TABLE.to_owned(), bit: 0x1000 }
    }

    /// The changes for rules that are there, with the rule that accepts what is marked or without it.
    fn changed(present: &[&str], wanted: bool, gone: &[AttachmentId]) -> String {
        let present: Vec<String> = present.iter().map(|rule| (*rule).to_owned()).collect();
        let is_gone = |id| gone.contains(&id);
        let aim = Aim { mark: wanted, rules: Vec::new(), gone: &is_gone };
        changes(&mark(), &present, &aim).0
    }

    #[test]
    fn the_rule_is_written_only_if_it_is_not_the_last() {
        let ours = mark().rule();
        let other = ours.replace("forward\"", "forward_01234567\"");
        let (add, delete) = (format!("{ours}\n"), format!("{}\n", ours.replacen("-A ", "-D ", 1)));
        let moved = format!("{delete}{add}");
        for (present, changes) in [
            (&["-P FORWARD DROP"][..], &add),
            (&["-P FORWARD DROP", "-A FORWARD -j DOCKER-USER", &ours], &String::new()),
            (&[&ours, "-A FORWARD -j REJECT"], &moved),
            (&[&ours, &other], &String::new()),
            (&[&other, "-A FORWARD -j REJECT"], &add),
            (&[&ours, &ours], &format!("{delete}{delete}{add}")),
        ] {
            assert_eq!(changed(present, true, &[]), *changes, "{present:?}");
        }
        let earlier = ours.replace("0x1000", "0x20");
        assert_eq!(
            changed(&[&earlier], true, &[]),
            format!("{}\n{add}", earlier.replacen("-A ", "-D ", 1))
        );
        assert_eq!(changed(&[&ours, &other], false, &[]), delete);
        assert_eq!(changed(&["-A FORWARD -j REJECT"], false, &[]), "");
    }

    #[test]
    fn the_rules_of_those_that_go_are_removed_and_of_no_others() {
        let [one, other] = [AttachmentId::new(), AttachmentId::new()];
        let address = "10.22.0.5".parse().unwrap();
        let subnet = "10.22.0.0/16".parse().unwrap();
        for element in
            [Element::Closed(address), Element::Open(address), Element::Within(address, subnet)]
        {
            let rules: Vec<String> =
                [one, other].iter().flat_map(|id| of_address(element, *id)).collect();
            let present: Vec<&str> = rules.iter().map(String::as_str).collect();
            let removed = changed(&present, false, &[one]);
            assert_eq!(removed.lines().count() * 2, rules.len());
            assert!(
                removed.lines().all(|line| line.starts_with("-D ") && bearer(line) == Some(one))
            );
            assert!(rules.iter().all(|rule| marked(rule).unwrap().1 == address), "{rules:?}");
        }
    }

    #[test]
    fn a_rule_that_is_there_is_not_written_twice() {
        let id = AttachmentId::new();
        let rules = of_address(Element::Closed("fd00::5".parse().unwrap()), id);
        let aim = Aim { mark: false, rules: rules.clone(), gone: &|_| false };
        let (changes, has) = changes(&mark(), &rules[..1], &aim);
        assert_eq!(changes, format!("{}\n", rules[1]));
        assert!(has.bearers.contains(&id) && !has.mark);
    }
}
