//! The language of `ipset`: the sets that rules of `iptables` refer to, as it saves them, and what it is told.
//!
//! A namespace's sets are one table here, with an object for each. Sets that have others as members come last.

use std::fmt::Write as _;

use super::live::{LiveTable, Missing};
use crate::lifecycle::record::netfilter::{Object, Part, Table};

/// The table of all sets.
const SETS: &str = "sets";

/// Whether a rule refers to a set.
pub(super) fn is_used_by(rule: &str) -> bool {
    const OPTIONS: [&str; 4] = ["--match-set", "--add-set", "--del-set", "--map-set"];
    rule.split_whitespace().any(|word| OPTIONS.contains(&word))
}

/// Reads what is saved.
pub(super) fn read(text: &str) -> Vec<LiveTable> {
    let mut sets: Vec<Object> = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(verb), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let name = format!("set {name}");
        match verb {
            "create" => sets.push(Object { name, lines: settings(rest), elements: Vec::new() }),
            _ => {
                let set = sets.iter_mut().find(|set| set.name == name);
                let element = without(rest, &["packets", "bytes"]);
                set.into_iter().for_each(|set| set.elements.push(element.clone()));
            }
        }
    }
    let table = Table { name: SETS.to_owned(), objects: sets, ..Table::default() };
    vec![LiveTable { table, numbers: Vec::new() }]
}

/// What a set was made with: its timeout on a line of its own, because time changes the elements then.
fn settings(text: &str) -> Vec<String> {
    // The kernel chooses the one, and makes the other larger as the set grows.
    let text = without(text, &["initval", "hashsize"]);
    match text.split_once(" timeout ") {
        Some((before, after)) => vec![before.to_owned(), format!("timeout {after}")],
        None => vec![text],
    }
}

/// The text without these options and their values; a comment at its end stays as it is.
fn without(text: &str, options: &[&str]) -> String {
    let (text, comment) = match text.find(" comment \"") {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let mut words = text.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match options.contains(&word) {
            true => drop(words.next()),
            false => kept.push(word),
        }
    }
    kept.join(" ") + comment
}

/// What adds all that is missing; it is told to leave alone what is there.
pub(super) fn additions(missing: &[Missing<'_>]) -> String {
    let mut script = String::new();
    for Object { name, lines, elements } in missing.iter().flat_map(|missing| &missing.objects) {
        let name = name.trim_start_matches("set ");
        // Writing to a string does not fail.
        let _ = writeln!(script, "create {name} {}", lines.join(" "));
        for element in elements {
            let _ = writeln!(script, "add {name} {element}");
        }
    }
    script
}

/// What removes the sets of `ours` that are there, but for those that are of `others`, too.
pub(super) fn removals(ours: &Part, others: &[&Table], live: &[LiveTable]) -> String {
    let has = |table: &Table, name: &str| table.objects.iter().any(|set| set.name == name);
    let sets = ours.tables.iter().flat_map(|table| &table.objects).rev();
    let going = sets.filter(|set| {
        live.iter().any(|it| has(&it.table, &set.name))
            && !others.iter().any(|table| has(table, &set.name))
    });
    going.map(|set| format!("destroy {}\n", set.name.trim_start_matches("set "))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::live::missing;
    use super::*;
    use crate::lifecycle::record::netfilter::Program;

    const SAVED: &str =
        "create b hash:ip family inet hashsize 1024 maxelem 65536 timeout 300 bucketsize 12 initval 0x364f71b4
add b 10.0.0.1 timeout 299
create c hash:ip family inet hashsize 2048 maxelem 65536 counters comment bucketsize 12 initval 0x3af0a6cd
add c 10.2.3.4 packets 7 bytes 8 comment \"packets 7 of them\"
create l list:set size 8
add l b
";

    const TOLD: &str = "create b hash:ip family inet maxelem 65536 timeout 300 bucketsize 12
add b 10.0.0.1 timeout 299
create c hash:ip family inet maxelem 65536 counters comment bucketsize 12
add c 10.2.3.4 comment \"packets 7 of them\"
create l list:set size 8
add l b
";

    #[test]
    fn sets_are_written_as_they_were_saved_without_what_packets_and_the_kernel_decide() {
        let saved = read(SAVED).remove(0).table;
        let lacks = missing(Program::Ipset, &saved, &read("")).unwrap();
        assert!(!lacks.whole);
        assert_eq!(additions(&[lacks]), TOLD);
        // Time takes elements from the first, and nobody may take one from the second.
        let later =
            SAVED.replace("add b 10.0.0.1 timeout 299\n", "").replace("packets 7 b", "packets 9 b");
        assert!(missing(Program::Ipset, &saved, &read(&later)).is_none());
        let less = SAVED.replace("add l b\n", "");
        let lacks = missing(Program::Ipset, &saved, &read(&less)).unwrap();
        assert_eq!(additions(&[lacks]), "create l list:set size 8\nadd l b\n");
    }

    #[test]
    fn sets_of_others_stay_and_those_that_have_members_go_first() {
        let saved = read(SAVED).remove(0).table;
        let part = Part { program: Program::Ipset, tables: vec![saved] };
        let all = read(SAVED);
        assert_eq!(removals(&part, &[], &all), "destroy l\ndestroy c\ndestroy b\n");
        let others = read("create c hash:ip family inet").remove(0).table;
        assert_eq!(removals(&part, &[&others], &all), "destroy l\ndestroy b\n");
        assert_eq!(removals(&part, &[], &read("")), "");
    }

    #[test]
    fn a_rule_that_refers_to_a_set_is_known_by_its_option() {
        assert!(is_used_by("-m set --match-set blocked src -j DROP"));
        assert!(is_used_by("-j SET --add-set seen src"));
        assert!(!is_used_by("-m comment --comment the-match-set -j DROP"));
    }
}
