//! The rules of netfilter that a chain left in its namespace, as the programs that write them list them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The rules that a chain left in its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Netfilter(pub(crate) Vec<Part>);

/// The tables of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) program: Program,
    pub(crate) tables: Vec<Table>,
}

/// A program that lists and writes tables, with its variant: `iptables` of today writes tables of nftables, but
/// lists only those that it can have written; those of its old variant are in another part of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Program {
    /// The sets that rules of `iptables` refer to.
    Ipset,
    Nft,
    IptablesNft,
    Ip6tablesNft,
    IptablesLegacy,
    Ip6tablesLegacy,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// As its program names it: `inet guard` is a table of `nft`, `nat` one of `iptables`.
    pub(crate) name: String,
    /// Lines about the table itself, as a comment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lines: Vec<String>,
    /// Sets, maps, counters and the like; those of `iptables` are in a table of `ipset`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) objects: Vec<Object>,
    pub(crate) chains: Vec<Chain>,
}

/// A named object of a table of `nft`, or a set of `ipset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    /// Its kind and its name: `set blocked`.
    pub(crate) name: String,
    /// Its attributes, a line each.
    pub(crate) lines: Vec<String>,
    /// The elements of a set or a map.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) elements: Vec<String>,
}

/// A chain of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chain {
    pub(crate) name: String,
    /// Lines about the chain itself: of `nft`, its hook and policy; of `iptables`, the policy of a built-in chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lines: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<String>,
}

impl Program {
    /// The programs that write rules, in the order in which they are asked: `nft` would list what others wrote, too.
    pub(crate) const OF_RULES: [Self; 5] = [
        Self::IptablesNft,
        Self::Ip6tablesNft,
        Self::IptablesLegacy,
        Self::Ip6tablesLegacy,
        Self::Nft,
    ];
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipset => "ipset",
            Self::Nft => "nft",
            Self::IptablesNft => "iptables",
            Self::Ip6tablesNft => "ip6tables",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Ip6tablesLegacy => "ip6tables-legacy",
        })
    }
}

impl Netfilter {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A table of a program; none if the chain left none.
    pub(crate) fn table(&self, program: Program, name: &str) -> Option<&Table> {
        let mut parts = self.0.iter().filter(|part| part.program == program);
        parts.find_map(|part| part.tables.iter().find(|table| table.name == name))
    }

    /// The same for an interface that has another name.
    pub(crate) fn renamed(&self, old: &str, new: &str) -> Self {
        let mut renamed = self.clone();
        for table in renamed.0.iter_mut().flat_map(|part| &mut part.tables) {
            let objects = table.objects.iter_mut();
            let objects = objects.flat_map(|it| it.lines.iter_mut().chain(&mut it.elements));
            let chains = table.chains.iter_mut();
            let chains = chains.flat_map(|it| it.lines.iter_mut().chain(&mut it.rules));
            for text in objects.chain(chains) {
                *text = with_word(text, old, new);
            }
        }
        renamed
    }
}

impl Part {
    /// The rules of all chains.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &String> {
        self.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules)
    }
}

impl Table {
    pub(crate) fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }
}

/// The text with one word in place of another.
fn with_word(text: &str, old: &str, new: &str) -> String {
    let belongs = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(old) {
        let (before, after) = (&rest[..at], &rest[at + old.len()..]);
        let is_word = !before.ends_with(belongs) && !after.starts_with(belongs);
        replaced += before;
        replaced += if is_word { new } else { old };
        rest = after;
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_renamed_where_it_is_a_word() {
        let renamed = |text| with_word(text, "cni0123456789ab", "eth0");
        for (before, after) in [
            (r#"iifname "cni0123456789ab" drop"#, r#"iifname "eth0" drop"#),
            ("-i cni0123456789ab -o cni0123456789ab", "-i eth0 -o eth0"),
            ("cni0123456789ab", "eth0"),
            ("cni0123456789ab.5 xcni0123456789ab", "cni0123456789ab.5 xcni0123456789ab"),
        ] {
            assert_eq!(renamed(before), after);
        }
    }
}
