//! The language of `nft`: tables as it lists them, and what it is told.
//!
//! Its text says all that is in a table, which its JSON does not in every version.

use std::fmt::Write as _;

use super::live::{LiveTable, Missing, Surplus};
use crate::lifecycle::record::netfilter::{Chain, Object, Table};

/// What is asked for: everything, with handles and without what packets have changed.
pub(super) const LIST: [&str; 4] = ["--stateless", "--handle", "list", "ruleset"];

/// Reads a list. What `iptables` has written is in it, too, in a form that `nft` may not read again.
pub(super) fn read(text: &str) -> Vec<LiveTable> {
    let mut tables: Vec<LiveTable> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (line, _) = without_handle(line);
        if let Some(name) = line.strip_prefix("table ").and_then(|it| it.strip_suffix(" {")) {
            let table = Table { name: name.to_owned(), ..Table::default() };
            tables.push(LiveTable { table, numbers: Vec::new() });
        }
        let Some(LiveTable { table, numbers }) = tables.last_mut() else { continue };
        let Some(line) = line.strip_prefix('\t') else { continue };
        let block: Option<Vec<&str>> =
            line.ends_with('{').then(|| lines.by_ref().take_while(|line| *line != "\t}").collect());
        match (block, line.strip_suffix(" {")) {
            (Some(body), Some(head)) => match head.strip_prefix("chain ") {
                Some(name) => {
                    let (chain, handles) = chain(name, &body);
                    table.chains.push(chain);
                    numbers.push(handles);
                }
                None => table.objects.push(object(head, &body)),
            },
            _ => table.lines.push(line.to_owned()),
        }
    }
    tables
}

fn chain(name: &str, body: &[&str]) -> (Chain, Vec<u64>) {
    let mut chain = Chain { name: name.to_owned(), lines: Vec::new(), rules: Vec::new() };
    let mut handles = Vec::new();
    for line in body {
        match without_handle(line.trim()) {
            (rule, Some(handle)) => {
                chain.rules.push(rule.to_owned());
                handles.push(handle);
            }
            (line, None) => chain.lines.push(line.to_owned()),
        }
    }
    (chain, handles)
}

fn object(head: &str, body: &[&str]) -> Object {
    let lines = body.iter().map(|line| line.split("\t#").next().unwrap_or_default());
    let text = lines.map(str::trim).collect::<Vec<_>>().join("\n");
    let (lines, elements) = match text.split_once("elements = {") {
        Some((lines, elements)) => (lines, elements.trim().trim_end_matches('}')),
        None => (text.as_str(), ""),
    };
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    Object {
        name: head.to_owned(),
        lines: lines.map(str::to_owned).collect(),
        elements: apart(elements),
    }
}

/// The elements of a list with commas between them; there may be others in the quotes of a comment.
fn apart(elements: &str) -> Vec<String> {
    let mut quoted = false;
    let parts = elements.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let parts = parts.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    parts.filter(|part| !part.is_empty()).collect()
}

/// A line without the handle at its end, and the handle.
fn without_handle(line: &str) -> (&str, Option<u64>) {
    let split = line.rsplit_once(" # handle ");
    let split = split.and_then(|(line, handle)| Some((line, handle.parse().ok()?)));
    split.map_or((line, None), |(line, handle)| (line, Some(handle)))
}

/// What adds all that is missing.
pub(super) fn additions(missing: &[Missing<'_>]) -> String {
    let mut script = String::new();
    // What rules refer to comes first.
    for Missing { table, objects, chains, whole, .. } in missing {
        // Writing to a string does not fail.
        let _ = writeln!(script, "table {} {{", table.name);
        for line in table.lines.iter().filter(|_| *whole) {
            let _ = writeln!(script, "\t{line}");
        }
        for Object { name, lines, elements } in objects {
            let _ = writeln!(script, "\t{name} {{\n\t\t{}", lines.join("\n\t\t"));
            if !elements.is_empty() {
                let _ = writeln!(script, "\t\telements = {{ {} }}", elements.join(", "));
            }
            script += "\t}\n";
        }
        for Chain { name, lines, .. } in chains {
            let _ = writeln!(script, "\tchain {name} {{\n\t\t{}\n\t}}", lines.join("\n\t\t"));
        }
        script += "}\n";
    }
    for Missing { table, rules, .. } in missing {
        for rule in rules {
            let (name, chain, text) = (&table.name, rule.chain, rule.rule);
            let _ = match rule.before {
                Some(handle) => {
                    writeln!(script, "insert rule {name} {chain} position {handle} {text}")
                }
                None => writeln!(script, "add rule {name} {chain} {text}"),
            };
        }
    }
    script
}

/// What removes all that is to go. A set stays as long as its table does: rules of others may have come to
/// use it.
pub(super) fn removals(surplus: &[Surplus]) -> String {
    let mut script = String::new();
    for Surplus { name, whole, rules, chains } in surplus {
        if *whole {
            let _ = writeln!(script, "delete table {name}");
            continue;
        }
        for (chain, _, handle) in rules {
            let _ = writeln!(script, "delete rule {name} {chain} handle {handle}");
        }
        for chain in chains {
            let _ = writeln!(script, "delete chain {name} {}", chain.name);
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::super::live::{missing, surplus};
    use super::*;
    use crate::lifecycle::record::netfilter::Program;

    /// As nft 1.1.7 lists it.
    const LISTED: &str = r#"table inet guard { # handle 1
	comment "of the plugin"
	counter hits { # handle 4
	}

	set bad { # handle 6
		type ipv4_addr
		size 65535	# count 2
		flags interval
		elements = { 10.8.0.1-10.8.0.7, 10.9.0.0/24 comment "a, b",
			     10.10.0.1 }
	}

	chain helper { # handle 1
		ip saddr @bad counter drop comment "bad ones" # handle 10
	}

	chain in { # handle 2
		type filter hook input priority filter; policy accept;
		iifname "eth0" jump helper # handle 11
		tcp dport { 443, 8000-8010 } accept # handle 12
	}
}
# Warning: table ip nat is managed by iptables-nft, do not touch!
table ip nat { # handle 2
	chain POSTROUTING { # handle 1
		type nat hook postrouting priority srcnat; policy accept;
	}
}
"#;

    #[test]
    fn a_list_is_read_and_what_it_says_can_be_told_again() {
        let live = read(LISTED);
        assert_eq!(live.len(), 2);
        let LiveTable { table, numbers } = &live[0];
        assert_eq!((table.name.as_str(), numbers), ("inet guard", &vec![vec![10], vec![11, 12]]));
        assert_eq!(
            table.objects[1].elements,
            ["10.8.0.1-10.8.0.7", r#"10.9.0.0/24 comment "a, b""#, "10.10.0.1"]
        );
        assert_eq!(table.objects[1].lines, ["type ipv4_addr", "size 65535", "flags interval"]);
        let script = additions(&[missing(Program::Nft, table, &[]).unwrap()]);
        assert_eq!(
            script,
            r#"table inet guard {
	comment "of the plugin"
	counter hits {
		
	}
	set bad {
		type ipv4_addr
		size 65535
		flags interval
		elements = { 10.8.0.1-10.8.0.7, 10.9.0.0/24 comment "a, b", 10.10.0.1 }
	}
	chain helper {
		
	}
	chain in {
		type filter hook input priority filter; policy accept;
	}
}
add rule inet guard helper ip saddr @bad counter drop comment "bad ones"
add rule inet guard in iifname "eth0" jump helper
add rule inet guard in tcp dport { 443, 8000-8010 } accept
"#
        );
        assert_eq!(missing(Program::Nft, table, &live), None);
    }

    #[test]
    fn only_what_is_missing_is_added_and_only_what_was_added_is_removed() {
        let ours = read(LISTED).remove(0).table;
        let less = LISTED.replace("\t\tiifname \"eth0\" jump helper # handle 11\n", "");
        let missing = missing(Program::Nft, &ours, &read(&less)).unwrap();
        assert_eq!(
            additions(&[missing]),
            "table inet guard {\n}\ninsert rule inet guard in position 12 iifname \"eth0\" jump helper\n"
        );
        let removed = |listed: &str| removals(&[surplus(&ours, &[], &read(listed)).unwrap()]);
        assert_eq!(removed(LISTED), "delete table inet guard\n");
        let more = LISTED.replace("handle 12", "handle 12\n\t\taccept # handle 13");
        assert_eq!(
            removed(&more),
            "delete rule inet guard helper handle 10\ndelete rule inet guard in handle 11\n\
             delete rule inet guard in handle 12\ndelete chain inet guard helper\n"
        );
    }
}
