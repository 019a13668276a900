//! Tables as they are in a namespace, and what they lack, or have, of those that a chain left.
//!
//! Others have rules in the same tables: Docker, for its DNS; another network's chain. So a table is never
//! replaced: what is missing is added to it, in the chain's order, and what was added is removed again.

use std::fmt;

use crate::lifecycle::record::netfilter::{Chain, Object, Program, Table};

/// A table in a namespace.
#[derive(Debug, Default)]
pub(super) struct LiveTable {
    pub(super) table: Table,
    /// By what the program calls a rule: a handle of `nft`, a position of `iptables`. As the rules of the chains.
    pub(super) numbers: Vec<Vec<u64>>,
}

/// What a namespace lacks of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing<'w> {
    pub(super) program: Program,
    pub(super) table: &'w Table,
    /// The whole table is missing.
    pub(super) whole: bool,
    pub(super) objects: Vec<&'w Object>,
    pub(super) chains: Vec<&'w Chain>,
    pub(super) rules: Vec<MissingRule<'w>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct MissingRule<'w> {
    pub(super) chain: &'w str,
    pub(super) rule: &'w str,
    /// The number of the rule that it belongs before; none at the end.
    pub(super) before: Option<u64>,
}

/// What a namespace has of a table, and is to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Surplus {
    pub(super) name: String,
    /// Nothing of others is in the table.
    pub(super) whole: bool,
    /// Chain, rule, and its number.
    pub(super) rules: Vec<(String, String, u64)>,
    /// Chains that are empty then.
    pub(super) chains: Vec<Chain>,
}

impl LiveTable {
    fn of<'t>(tables: &'t [Self], name: &str) -> Option<&'t Self> {
        tables.iter().find(|live| live.table.name == name)
    }

    /// The rules of a chain, each with its number.
    fn rules(&self, chain: &str) -> Vec<(&str, u64)> {
        let Some(at) = self.table.chains.iter().position(|it| it.name == chain) else {
            return Vec::new();
        };
        let rules = self.table.chains[at].rules.iter().map(String::as_str);
        rules.zip(self.numbers[at].iter().copied()).collect()
    }
}

/// What these tables lack of `wanted`; none if nothing.
pub(super) fn missing<'w>(
    program: Program,
    wanted: &'w Table,
    tables: &[LiveTable],
) -> Option<Missing<'w>> {
    let found = LiveTable::of(tables, &wanted.name);
    let none = LiveTable::default();
    let live = found.unwrap_or(&none);
    let objects = wanted.objects.iter().filter(|object| !has_object(&live.table, object));
    let chains = wanted.chains.iter().filter(|chain| match live.table.chain(&chain.name) {
        Some(there) => there.lines != chain.lines && !chain.lines.is_empty(),
        None => true,
    });
    let rules = wanted.chains.iter().flat_map(|chain| {
        let there = live.rules(&chain.name);
        let places = places(&chain.rules, &there);
        chain.rules.iter().zip(places).filter_map(|(rule, place)| match place {
            Place::Found(_) => None,
            Place::Before(before) => Some(MissingRule { chain: &chain.name, rule, before }),
        })
    });
    let missing = Missing {
        program,
        table: wanted,
        whole: found.is_none(),
        objects: objects.collect(),
        chains: chains.collect(),
        rules: rules.collect(),
    };
    let is_there = !missing.whole
        && missing.objects.is_empty()
        && missing.chains.is_empty()
        && missing.rules.is_empty();
    (!is_there).then_some(missing)
}

/// What these tables have of `ours`, and not of the `others` that are to stay; none if nothing.
pub(super) fn surplus(ours: &Table, others: &[&Table], tables: &[LiveTable]) -> Option<Surplus> {
    let live = LiveTable::of(tables, &ours.name)?;
    let mut rules = Vec::new();
    for chain in &ours.chains {
        let there = live.rules(&chain.name);
        for (rule, place) in chain.rules.iter().zip(places(&chain.rules, &there)) {
            let shared = in_all(others, &chain.name).iter().any(|it| it.rules.contains(rule));
            if let (Place::Found(number), false) = (place, shared) {
                rules.push((chain.name.clone(), rule.clone(), number));
            }
        }
    }
    let left = |chain: &str| {
        let ours: Vec<u64> = (rules.iter())
            .filter(|(in_chain, ..)| in_chain == chain)
            .map(|(_, _, number)| *number)
            .collect();
        live.rules(chain).into_iter().filter(move |(_, number)| !ours.contains(number))
    };
    let all_left: Vec<&str> = (live.table.chains.iter())
        .flat_map(|chain| left(&chain.name))
        .map(|(rule, _)| rule)
        .collect();
    let leads_to = |rule: &str, chain: &str| {
        let words: Vec<&str> = rule.split_whitespace().collect();
        let leads = |pair: &[&str]| ["jump", "goto", "-j", "-g"].contains(&pair[0]);
        words.windows(2).any(|pair| leads(pair) && pair[1] == chain)
    };
    let chains = ours.chains.iter().filter(|chain| {
        live.table.chain(&chain.name).is_some()
            && left(&chain.name).next().is_none()
            && in_all(others, &chain.name).is_empty()
            && !all_left.iter().any(|rule| leads_to(rule, &chain.name))
    });
    Some(Surplus {
        name: ours.name.clone(),
        whole: all_left.is_empty() && others.is_empty(),
        chains: chains.cloned().collect(),
        rules,
    })
}

/// The chains of that name in these tables.
fn in_all<'t>(tables: &[&'t Table], chain: &str) -> Vec<&'t Chain> {
    tables.iter().filter_map(|table| table.chain(chain)).collect()
}

/// Where a rule is, or belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// There, with this number.
    Found(u64),
    /// Before the rule with this number; none at the end.
    Before(Option<u64>),
}

/// The places of `wanted` rules among those that are there: they come in the same order, with others between
/// them.
fn places(wanted: &[String], there: &[(&str, u64)]) -> Vec<Place> {
    let mut rest = there;
    let mut found = Vec::new();
    for rule in wanted {
        let at = rest.iter().position(|(it, _)| it == rule);
        found.push(at.map(|at| rest[at].1));
        rest = at.map_or(rest, |at| &rest[at + 1..]);
    }
    let mut places = Vec::new();
    let mut next = None;
    for number in found.into_iter().rev() {
        places.push(number.map_or(Place::Before(next), Place::Found));
        next = number.or(next);
    }
    places.reverse();
    places
}

fn has_object(table: &Table, wanted: &Object) -> bool {
    let Some(there) = table.objects.iter().find(|object| object.name == wanted.name) else {
        return false;
    };
    // The rules themselves, or time, change what is in such a set.
    let changes = |line: &String| {
        line.starts_with("timeout")
            || (line.starts_with("flags") && (line.contains("dynamic") || line.contains("timeout")))
    };
    there.lines == wanted.lines
        && (wanted.lines.iter().any(changes)
            || wanted.elements.iter().all(|element| there.elements.contains(element)))
}

/// What is missing for the operator, one line each.
impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = match self.program {
            Program::Ipset => self.program.to_string(),
            _ => format!("table {} of {}", self.table.name, self.program),
        };
        if self.whole {
            return write!(f, "{table} is missing, with all that it has");
        }
        let objects = self.objects.iter().map(|object| format!("{} in {table}", object.name));
        let chains = self.chains.iter().map(|chain| format!("chain {} in {table}", chain.name));
        let rules = self.rules.iter().map(|MissingRule { chain, rule, .. }| {
            format!("rule {rule:?} of chain {chain} in {table}")
        });
        let lines: Vec<String> = objects.chain(chains).chain(rules).collect();
        write!(f, "{} is missing", lines.join(" is missing\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(name: &str, rules: &[&str]) -> Chain {
        let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
        Chain { name: name.to_owned(), lines: Vec::new(), rules }
    }

    fn table(chains: Vec<Chain>) -> Table {
        Table { name: "nat".to_owned(), chains, ..Table::default() }
    }

    /// Numbered from 1, as iptables does.
    fn live(table: Table) -> [LiveTable; 1] {
        let numbers = table.chains.iter().map(|chain| (1..=chain.rules.len() as u64).collect());
        [LiveTable { numbers: numbers.collect(), table }]
    }

    fn missing_rules(wanted: &[&str], there: &[&str]) -> Vec<(String, Option<u64>)> {
        let wanted = table(vec![chain("OUTPUT", wanted)]);
        let live = live(table(vec![chain("OUTPUT", there)]));
        let missing = missing(Program::IptablesNft, &wanted, &live);
        let rules = missing.iter().flat_map(|missing| &missing.rules);
        rules.map(|it| (it.rule.to_owned(), it.before)).collect()
    }

    #[test]
    fn a_missing_rule_goes_before_the_next_of_the_chain_that_is_there() {
        let at = |rule: &str, before| (rule.to_owned(), before);
        assert_eq!(missing_rules(&["a", "b"], &["docker", "a", "b"]), []);
        assert_eq!(missing_rules(&["a", "b"], &["docker"]), [at("a", None), at("b", None)]);
        assert_eq!(missing_rules(&["a", "b", "c"], &["a", "docker", "c"]), [at("b", Some(3))]);
        assert_eq!(missing_rules(&["a", "b"], &["b"]), [at("a", Some(1))]);
        // Twice is twice.
        assert_eq!(missing_rules(&["a", "a"], &["a"]), [at("a", None)]);
    }

    #[test]
    fn what_others_have_stays_and_what_nobody_has_goes_as_a_whole() {
        let ours = table(vec![chain("OUTPUT", &["-j OURS", "shared"]), chain("OURS", &["x"])]);
        let alone = surplus(&ours, &[], &live(ours.clone())).unwrap();
        assert!(alone.whole);

        let mut beside = ours.clone();
        beside.chains[0].rules.insert(0, "docker".to_owned());
        let beside = live(beside);
        let other = table(vec![chain("OUTPUT", &["shared"])]);
        let going = surplus(&ours, &[&other], &beside).unwrap();
        assert!(!going.whole);
        let rule = |chain: &str, rule: &str, number| (chain.to_owned(), rule.to_owned(), number);
        assert_eq!(going.rules, [rule("OUTPUT", "-j OURS", 2), rule("OURS", "x", 1)]);
        assert_eq!(going.chains, [chain("OURS", &["x"])]);

        // Somebody else's rule leads to the chain.
        let mut used = ours.clone();
        used.chains.push(chain("THEIRS", &["-p udp -j OURS"]));
        assert_eq!(
            surplus(&ours, &[], &live(used)).unwrap().chains,
            [chain("OUTPUT", &["-j OURS", "shared"])]
        );
        assert_eq!(surplus(&ours, &[], &[]), None);
    }

    #[test]
    fn the_elements_of_a_set_count_unless_the_rules_fill_it() {
        let set = |lines: &[&str], elements: &[&str]| {
            let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let (lines, elements) = (strings(lines), strings(elements));
            let objects = vec![Object { name: "set s".to_owned(), lines, elements }];
            Table { objects, ..table(Vec::new()) }
        };
        let kind = "type ipv4_addr";
        for (wanted, there, lacks) in [
            (set(&[kind], &["a"]), set(&[kind], &["b", "a"]), false),
            (set(&[kind], &["a"]), set(&[kind], &[]), true),
            (set(&[kind], &[]), set(&["type mark"], &[]), true),
            (set(&[kind, "flags dynamic"], &["a"]), set(&[kind, "flags dynamic"], &[]), false),
        ] {
            assert_eq!(missing(Program::Nft, &wanted, &live(there)).is_some(), lacks);
        }
    }
}
