//! The table of nftables that marks the packets of exempt addresses.
//!
//! It has a set for each kind of exemption and each family, whose elements name their attachments in a comment,
//! and three chains at the hook "forward":
//!
//! | priority | chain | what it does |
//! |---|---|---|
//! | -2 | `clear` | the bit of the mark is cleared: what others set exempts nobody |
//! | -1 | `exempt` | the bit is set if the packet's addresses are in the sets |
//! | 0 | FORWARD of `iptables` | its last rule accepts what has the bit |
//! | 1 | `restore` | the bit is cleared again, so that nobody sees it afterwards |
//!
//! All drivers of a host clear before the first one marks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::element::{Change, Element};
use super::rules::Mark;
use crate::crash;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host::tables::Family;
use crate::lifecycle::record::AttachmentId;
use crate::process::host;

const COMMAND: &str = "nft";

/// The longest comment of an element, in bytes: below the limit of the kernel, 128, and enough for the ids of three
/// attachments.
const LONGEST_COMMENT: usize = 112;

/// The table of one driver.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    /// The bit of the packet mark.
    pub(super) bit: u32,
}

/// What the table has.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The attachments that are named by each element.
    pub(super) elements: BTreeMap<Element, Vec<AttachmentId>>,
    /// All chains are there, with as many rules as they are to have.
    pub(super) whole: bool,
    pub(super) exists: bool,
}

impl Listing {
    /// What the table lacks for an element, in words; none if it lacks nothing.
    pub(crate) fn missing(&self, element: Element, mark: &Mark) -> Vec<String> {
        let (address, table) = (element.address(), &mark.table);
        let mut missing = Vec::new();
        if !self.elements.contains_key(&element) {
            missing.push(format!(
                "address {address} is not in set {} of table inet {table} of the host's nftables, which exempts \
                 it from the FORWARD policy",
                set_of(element)
            ));
        } else if !self.whole {
            missing.push(format!(
                "table inet {table} of the host's nftables, which exempts address {address} from the FORWARD \
                 policy, has not the rules that it is to have"
            ));
        }
        missing
    }
}

/// A chain: its name, its priority, and its rules.
type Chain = (&'static str, i64, Vec<String>);

impl Table {
    fn chains(&self) -> [Chain; 3] {
        let (bit, rest) = (self.bit, !self.bit);
        let clear = format!("meta mark & {bit:#x} != 0 meta mark set meta mark & {rest:#x}");
        let mut exempt = Vec::new();
        for (ip, n) in [("ip", 4), ("ip6", 6)] {
            for meets in [
                format!("{ip} saddr @closed{n}"),
                format!("{ip} saddr @open{n}"),
                format!("{ip} daddr @closed{n} ct state established,related"),
                format!("{ip} daddr @closed{n} ct status dnat"),
                format!("{ip} daddr @open{n}"),
                format!("{ip} saddr . {ip} daddr @within{n}"),
            ] {
                exempt.push(format!("{meets} meta mark set meta mark | {bit:#x} accept"));
            }
        }
        [("clear", -2, vec![clear.clone()]), ("exempt", -1, exempt), ("restore", 1, vec![clear])]
    }

    /// The input for `nft` that makes the table anew, in one step.
    pub(super) fn whole<'w>(
        &self,
        elements: impl Iterator<Item = (Element, &'w [AttachmentId])>,
    ) -> String {
        let name = &self.name;
        let mut text = format!("{}table inet {name} {{\n", self.removal());
        let mut sets: BTreeMap<String, String> = BTreeMap::new();
        for (element, owners) in elements {
            let set = sets.entry(set_of(element)).or_default();
            // Writing to a string cannot fail.
            _ = write!(set, "{}, ", with_comment(element, owners));
        }
        for (n, address) in [(4, "ipv4_addr"), (6, "ipv6_addr")] {
            for (kind, form) in [
                ("closed", address.to_owned()),
                ("open", address.to_owned()),
                ("within", format!("{address} . {address}; flags interval")),
            ] {
                let set = format!("{kind}{n}");
                let elements = sets.get(&set).map(|all| format!("elements = {{ {all} }};"));
                let elements = elements.unwrap_or_default();
                _ = writeln!(text, "set {set} {{ type {form}; {elements} }}");
            }
        }
        for (chain, priority, rules) in self.chains() {
            let rules = rules.join("\n");
            _ = writeln!(
                text,
                "chain {chain} {{\ntype filter hook forward priority {priority}; policy accept;\n{rules}\n}}"
            );
        }
        text + "}\n"
    }

    /// The input for `nft` that changes these elements and nothing else.
    pub(super) fn changes(&self, changes: &[Change]) -> String {
        let mut text = String::new();
        for Change { element, owners, written } in changes {
            let (table, set) = (&self.name, set_of(*element));
            // An element's comment cannot be changed.
            if *written {
                let value = value_of(*element);
                _ = writeln!(text, "delete element inet {table} {set} {{ {value} }}");
            }
            if !owners.is_empty() {
                let element = with_comment(*element, owners);
                _ = writeln!(text, "add element inet {table} {set} {{ {element} }}");
            }
        }
        text
    }

    /// The input for `nft` that removes the table, whether or not it is there.
    pub(super) fn removal(&self) -> String {
        let name = &self.name;
        format!("add table inet {name}\ndelete table inet {name}\n")
    }

    /// Runs `nft` on this input, which it applies as a whole or not at all. False if the host has no `nft`.
    ///
    /// # Errors
    /// `nft` fails.
    pub(super) async fn apply(&self, input: &str) -> Result<bool> {
        if input.is_empty() {
            return Ok(true);
        }
        crash::point(format_args!("{COMMAND}: run"));
        let applied = host::run(COMMAND, &["-f", "-"], input.as_bytes()).await;
        crash::point(format_args!("{COMMAND}: ended"));
        Ok(applied
            .map_err(|failed| {
                error("exempt the container from the host's FORWARD policy", &failed)
            })?
            .is_some())
    }

    /// What the table has; none where the host has no `nft`.
    ///
    /// # Errors
    /// It fails, as on a kernel without nftables.
    pub(super) async fn list(&self) -> Result<Option<Listing>> {
        let listed = host::run(COMMAND, &["-j", "list", "table", "inet", &self.name], b"").await;
        match listed {
            Ok(None) => Ok(None),
            Ok(Some(json)) => self.read(&json).map(Some).map_err(|error| Error::HostRules {
                operation: "list the host's rules",
                command: COMMAND,
                reason: error.to_string(),
            }),
            Err(host::Failed::Exit { stderr, .. })
                if stderr.contains("No such file or directory") =>
            {
                Ok(Some(Listing::default()))
            }
            Err(failed) => Err(error("list the host's rules", &failed)),
        }
    }

    fn read(&self, json: &[u8]) -> serde_json::Result<Listing> {
        let json: Value = serde_json::from_slice(json)?;
        let mut listing = Listing { exists: true, ..Listing::default() };
        let mut chains: BTreeMap<&str, (Option<i64>, usize)> = BTreeMap::new();
        for listed in json["nftables"].as_array().into_iter().flatten() {
            if let Some(set) = listed.get("set") {
                let name = set["name"].as_str().unwrap_or_default();
                let elements = set["elem"].as_array().into_iter().flatten();
                listing.elements.extend(elements.filter_map(|it| element_of(name, it)));
            } else if let Some(chain) = listed.get("chain")
                && chain["hook"] == "forward"
            {
                let name = chain["name"].as_str().unwrap_or_default();
                chains.entry(name).or_default().0 = chain["prio"].as_i64();
            } else if let Some(rule) = listed.get("rule") {
                chains.entry(rule["chain"].as_str().unwrap_or_default()).or_default().1 += 1;
            }
        }
        let is_there = |(name, priority, rules): &Chain| {
            chains.get(name) == Some(&(Some(*priority), rules.len()))
        };
        listing.whole = self.chains().iter().all(is_there);
        Ok(listing)
    }
}

fn error(operation: &'static str, failed: &host::Failed) -> Error {
    Error::HostRules { operation, command: COMMAND, reason: failed.to_string() }
}

/// The set that an element is in.
fn set_of(element: Element) -> String {
    let kind = match element {
        Element::Closed(_) => "closed",
        Element::Open(_) => "open",
        Element::Within(..) => "within",
    };
    let n = if element.family() == Family::V4 { 4 } else { 6 };
    format!("{kind}{n}")
}

fn value_of(element: Element) -> String {
    match element {
        Element::Closed(address) | Element::Open(address) => address.to_string(),
        Element::Within(address, subnet) => format!("{address} . {subnet}"),
    }
}

/// An element, with as many of its attachments as the comment can have.
fn with_comment(element: Element, owners: &[AttachmentId]) -> String {
    let mut comment = String::new();
    for owner in owners.iter().map(ToString::to_string) {
        if comment.len() + owner.len() < LONGEST_COMMENT {
            comment += if comment.is_empty() { "" } else { " " };
            comment += &owner;
        }
    }
    format!("{} comment \"{comment}\"", value_of(element))
}

/// Reads an element of that set, as `nft` shows it in JSON.
fn element_of(set: &str, listed: &Value) -> Option<(Element, Vec<AttachmentId>)> {
    let inner = listed.get("elem").unwrap_or(listed);
    let value = inner.get("val").unwrap_or(inner);
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let element = match set.get(..set.len().checked_sub(1)?)? {
        "closed" => Element::Closed(address(value)?),
        "open" => Element::Open(address(value)?),
        "within" => {
            let [from, to] = value["concat"].as_array()?.as_slice() else { return None };
            // A subnet of one address is shown as the address.
            let subnet = match to.get("prefix") {
                Some(prefix) => {
                    let len = prefix["len"].as_u64()?.try_into().ok()?;
                    IpNet::new(address(&prefix["addr"])?, len).ok()?
                }
                None => IpNet::from(address(to)?),
            };
            Element::Within(address(from)?, subnet)
        }
        _ => return None,
    };
    let comment = inner.get("comment").and_then(Value::as_str).unwrap_or_default();
    Some((element, comment.split(' ').filter_map(AttachmentId::parse).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements() -> [Element; 5] {
        [
            Element::Closed("10.22.0.5".parse().unwrap()),
            Element::Open("fd00::5".parse().unwrap()),
            Element::Within("10.22.0.5".parse().unwrap(), "10.22.0.0/16".parse().unwrap()),
            Element::Within("fd00::5".parse().unwrap(), "fd00::/64".parse().unwrap()),
            Element::Within("10.22.0.6".parse().unwrap(), "10.22.0.6/32".parse().unwrap()),
        ]
    }

    #[test]
    fn an_element_is_read_as_nft_shows_it() {
        let id = AttachmentId::new();
        let comment = id.to_string();
        for (element, shown) in elements().into_iter().zip([
            serde_json::json!("10.22.0.5"),
            serde_json::json!("fd00::5"),
            serde_json::json!({"concat": ["10.22.0.5", {"prefix": {"addr": "10.22.0.0", "len": 16}}]}),
            serde_json::json!({"concat": ["fd00::5", {"prefix": {"addr": "fd00::", "len": 64}}]}),
            serde_json::json!({"concat": ["10.22.0.6", "10.22.0.6"]}),
        ]) {
            let set = set_of(element);
            let listed = serde_json::json!({"elem": {"val": shown.clone(), "comment": comment}});
            assert_eq!(element_of(&set, &listed), Some((element, vec![id])));
            assert_eq!(element_of(&set, &shown), Some((element, Vec::new())), "without a comment");
        }
        assert_eq!(element_of("", &serde_json::json!("10.22.0.5")), None);
        assert_eq!(element_of("more4", &serde_json::json!("10.22.0.5")), None);
    }

    #[test]
    fn a_comment_names_as_many_attachments_as_it_can_have() {
        let ids: Vec<_> = std::iter::repeat_with(AttachmentId::new).take(5).collect();
        let text = with_comment(elements()[0], &ids);
        let comment = text.split('"').nth(1).unwrap();
        assert!(comment.len() < 128, "{comment}");
        let named: Vec<_> = comment.split(' ').filter_map(AttachmentId::parse).collect();
        assert_eq!(named, ids[..3]);
    }
}
