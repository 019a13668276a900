//! One rule of the table filter: how it is read from `iptables -S`, and which packets it matches.

use ipnet::IpNet;

use super::packets::{Kind, Packets};

/// A rule: packets that meet all of its conditions go to its target.
#[derive(Debug)]
pub(super) struct Rule {
    /// As it was printed.
    pub(super) text: String,
    /// Its place in its chain, from 0 on.
    pub(super) position: usize,
    /// `ACCEPT`, `DROP`, another chain, …
    pub(super) target: String,
    /// A jump that does not come back (`-g`).
    pub(super) goes: bool,
    conditions: Vec<Condition>,
}

#[derive(Debug)]
struct Condition {
    negated: bool,
    what: What,
}

#[derive(Debug)]
enum What {
    Source(IpNet),
    Destination(IpNet),
    Input(String),
    Output(String),
    /// States of a connection.
    States(String),
    /// Any other condition: only some of the packets meet it.
    Other,
}

impl Rule {
    /// Reads a line such as `-A FORWARD -s 10.22.0.0/16 -j DROP`: the chain, and its rule. None for a
    /// line that is no rule.
    pub(super) fn read(line: &str) -> Option<(String, Self)> {
        let mut words = words(line).into_iter();
        if words.next()? != "-A" {
            return None;
        }
        let chain = words.next()?;
        let mut rule = Self {
            text: line.to_owned(),
            position: 0,
            conditions: Vec::new(),
            target: String::new(),
            goes: false,
        };
        let mut negated = false;
        let mut module = String::new();
        while let Some(word) = words.next() {
            let what = match word.as_str() {
                "!" => {
                    negated = true;
                    continue;
                }
                "-j" | "-g" => {
                    rule.goes = word == "-g";
                    rule.target = words.next()?;
                    // The rest are options of the target.
                    break;
                }
                "-m" => {
                    module = words.next()?;
                    match module.as_str() {
                        "comment" | "conntrack" | "state" => continue,
                        _ => What::Other,
                    }
                }
                "--comment" if module == "comment" => {
                    words.next()?;
                    continue;
                }
                "--ctstate" | "--state" => What::States(words.next()?),
                "-s" => words.next()?.parse().map_or(What::Other, What::Source),
                "-d" => words.next()?.parse().map_or(What::Other, What::Destination),
                "-i" => What::Input(words.next()?),
                "-o" => What::Output(words.next()?),
                _ => What::Other,
            };
            rule.conditions.push(Condition { negated, what });
            negated = false;
        }
        Some((chain, rule))
    }

    /// Whether every one of these packets meets all conditions.
    pub(super) fn matches_all(&self, packets: Packets<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.meets_all(packets))
    }
}

impl Condition {
    fn meets_all(&self, packets: Packets<'_>) -> bool {
        let Packets { address, kind, link } = packets;
        let sent = kind == Kind::Sent;
        // The other address can be any: a condition on it is not met by all packets.
        let net = |net: &IpNet, ours: bool| match ours {
            true => net.contains(&address) != self.negated,
            false => net.prefix_len() == 0 && !self.negated,
        };
        match &self.what {
            What::Source(source) => net(source, sent),
            What::Destination(destination) => net(destination, !sent),
            What::Input(name) if sent => link.is_some_and(|link| fits(link, name) != self.negated),
            What::Output(name) if !sent => {
                link.is_some_and(|link| fits(link, name) != self.negated)
            }
            What::States(states) if kind == Kind::Answers => {
                states.contains("ESTABLISHED") != self.negated
            }
            What::Input(_) | What::Output(_) | What::States(_) | What::Other => false,
        }
    }
}

/// `veth+` is every link whose name begins so.
fn fits(link: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('+') {
        Some(beginning) => link.starts_with(beginning),
        None => link == pattern,
    }
}

/// Words, of which those with blanks are in quotation marks.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in line.chars() {
        match letter {
            _ if escaped => {
                escaped = false;
                words.last_mut().into_iter().for_each(|word| word.push(letter));
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().into_iter().for_each(|word| word.push(letter)),
        }
    }
    words
}
