//! What becomes of a container's packets in the host's table filter before they come to the rules
//! that exempt it: a rule that drops all of them goes first, and the exemption cannot count.
//!
//! Only a rule that meets *every* packet from, or to, an address is told of. One that asks for more,
//! as a port or a state, is somebody's policy, which goes first on purpose.

use std::collections::HashMap;

use ipnet::IpNet;

/// The chains of one family's table filter.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    chains: HashMap<String, Vec<Rule>>,
    /// Where in FORWARD a rule is, as it is printed.
    positions: HashMap<String, usize>,
}

/// All packets of one direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packets<'p> {
    /// The container's address.
    pub(crate) address: IpNet,
    pub(crate) kind: Kind,
    /// The host's link by which they come or go: the bridge, or the other end. None if it is not known.
    pub(crate) link: Option<&'p str>,
}

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The container sends them, and begins connections.
    Sent,
    /// It receives them, and connections begin so: to a published port.
    Received,
    /// It receives them as answers.
    Answers,
}

#[derive(Debug)]
struct Rule {
    text: String,
    position: usize,
    conditions: Vec<Condition>,
    target: String,
    /// A jump that does not come back.
    goes: bool,
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
    /// Not all packets of anybody.
    Other,
}

/// What becomes of packets in a chain.
enum Fate<'f> {
    Accepted,
    Dropped(&'f str),
    /// Nothing: the next rule of the calling chain sees them.
    Returned,
}

impl Filter {
    /// Reads what `iptables -S` prints.
    pub(crate) fn read(lines: &[String]) -> Self {
        let mut filter = Self::default();
        for line in lines {
            let Some((chain, rule)) = read(line) else { continue };
            let rules = filter.chains.entry(chain.clone()).or_default();
            let rule = Rule { position: rules.len(), ..rule };
            if chain == FORWARD {
                filter.positions.entry(line.clone()).or_insert(rule.position);
            }
            rules.push(rule);
        }
        // Those of this driver accept, each for an address of its own; they would be looked at for
        // every other one.
        if let Some(forward) = filter.chains.get_mut(FORWARD) {
            forward.retain(|rule| !rule.text.contains("\"cnm-cni "));
        }
        filter
    }

    /// Whether FORWARD has a rule that is printed so.
    pub(crate) fn has(&self, rule: &str) -> bool {
        self.positions.contains_key(rule)
    }

    /// The rule that drops all of these packets before they come to `exemption`.
    pub(crate) fn dropped_before(&self, exemption: &str, packets: Packets<'_>) -> Option<&str> {
        let end = self.positions.get(exemption).copied().unwrap_or(usize::MAX);
        match self.fate(FORWARD, end, packets, DEEPEST) {
            Fate::Dropped(rule) => Some(rule),
            Fate::Accepted | Fate::Returned => None,
        }
    }

    fn fate(&self, chain: &str, end: usize, packets: Packets<'_>, depth: usize) -> Fate<'_> {
        let rules = self.chains.get(chain).into_iter().flatten();
        for rule in rules.take_while(|rule| rule.position < end) {
            if !rule.conditions.iter().all(|condition| condition.meets_all(packets)) {
                continue;
            }
            match rule.target.as_str() {
                "ACCEPT" => return Fate::Accepted,
                "DROP" | "REJECT" => return Fate::Dropped(&rule.text),
                "RETURN" => return Fate::Returned,
                // The kernel has no loops, and refuses to be this deep.
                target if depth > 0 => match self.fate(target, usize::MAX, packets, depth - 1) {
                    Fate::Returned if rule.goes => return Fate::Returned,
                    Fate::Returned => {}
                    fate => return fate,
                },
                _ => {}
            }
        }
        Fate::Returned
    }
}

const FORWARD: &str = "FORWARD";

/// How many chains deep a packet is followed.
const DEEPEST: usize = 16;

impl Condition {
    fn meets_all(&self, packets: Packets<'_>) -> bool {
        let Packets { address, kind, link } = packets;
        let sent = kind == Kind::Sent;
        // Of the far end nothing is known: only what asks for nothing meets all.
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

/// The chain of a rule, and what it says. None for what is no rule.
fn read(line: &str) -> Option<(String, Rule)> {
    let mut words = words(line).into_iter();
    if words.next()? != "-A" {
        return None;
    }
    let chain = words.next()?;
    let mut rule = Rule {
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
                // What follows says how.
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

#[cfg(test)]
mod tests {
    use super::*;

    const EXEMPTION: &str =
        "-A FORWARD -s 10.22.0.5/32 -m comment --comment \"cnm-cni 1\" -j ACCEPT";

    /// The rules that drop what the container sends, and what it receives.
    fn drops(rules: &[&str]) -> [Option<String>; 2] {
        let lines: Vec<String> =
            rules.iter().chain(&[EXEMPTION]).map(|rule| (*rule).to_owned()).collect();
        let filter = Filter::read(&lines);
        assert!(filter.has(EXEMPTION));
        let address = "10.22.0.5/32".parse().unwrap();
        [Kind::Sent, Kind::Received].map(|kind| {
            let packets = Packets { address, kind, link: Some("cni0") };
            filter.dropped_before(EXEMPTION, packets).map(str::to_owned)
        })
    }

    #[test]
    fn what_drops_every_packet_before_the_exemption_is_found() {
        for (rules, sent, received) in [
            (vec!["-A FORWARD -j REJECT --reject-with icmp-port-unreachable"], true, true),
            (vec!["-A FORWARD -m comment --comment \"the last -j ACCEPT\" -j DROP"], true, true),
            (vec!["-A FORWARD -s 10.22.0.0/16 -j DROP"], true, false),
            (vec!["-A FORWARD -d 10.0.0.0/8 -j DROP"], false, true),
            (vec!["-A FORWARD ! -s 192.168.0.0/16 -j DROP"], true, false),
            (vec!["-A FORWARD ! -i eth0 -j DROP"], true, false),
            (vec!["-A FORWARD -o cni+ -j DROP"], false, true),
            (vec!["-A FORWARD -j ufw-reject", "-A ufw-reject -j REJECT"], true, true),
            (vec!["-A FORWARD -g last", "-A last -i cni0 -j DROP"], true, false),
            (
                vec![
                    "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                    "-A FORWARD -p icmp -j ACCEPT",
                    "-A FORWARD -j REJECT",
                ],
                true,
                true,
            ),
        ] {
            let [from, to] = drops(&rules);
            assert_eq!((from.is_some(), to.is_some()), (sent, received), "{rules:?}");
        }
    }

    #[test]
    fn a_policy_of_somebodys_is_none_of_it() {
        for rules in [
            vec!["-P FORWARD DROP"],
            vec!["-A FORWARD -p tcp -m tcp --dport 25 -j DROP"],
            vec!["-A FORWARD -m conntrack --ctstate INVALID -j DROP"],
            vec!["-A FORWARD -s 10.22.0.5/32 -d 10.0.0.0/8 -j DROP"],
            vec!["-A FORWARD -i docker0 -j DROP"],
            vec!["-A FORWARD -i cni0 -o cni0 -j DROP"],
            vec!["-A FORWARD -s 10.23.0.0/16 -j DROP", "-A FORWARD -d 10.23.0.0/16 -j DROP"],
            // As flannel and others that accept theirs before everybody else.
            vec![
                "-A FORWARD -s 10.22.0.0/16 -j ACCEPT",
                "-A FORWARD -d 10.22.0.0/16 -j ACCEPT",
                "-A FORWARD -j REJECT",
            ],
            vec!["-A FORWARD -j own", "-A own -j RETURN", "-A own -j DROP"],
            vec!["-A other -j DROP", "-A FORWARD -j LOG"],
        ] {
            assert_eq!(drops(&rules), [None, None], "{rules:?}");
        }
    }

    #[test]
    fn answers_pass_where_the_state_of_their_connection_lets_them() {
        let rules = [
            "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A FORWARD -j REJECT",
        ];
        let filter = Filter::read(&rules.map(str::to_owned));
        let dropped = |kind| {
            let packets = Packets { address: "10.22.0.5/32".parse().unwrap(), kind, link: None };
            filter.dropped_before(EXEMPTION, packets).is_some()
        };
        assert_eq!([Kind::Sent, Kind::Received, Kind::Answers].map(dropped), [true, true, false]);
    }

    #[test]
    fn what_comes_after_the_exemption_does_it_no_harm() {
        let after: Vec<String> = [EXEMPTION, "-A FORWARD -j REJECT"].map(str::to_owned).into();
        let packets =
            Packets { address: "10.22.0.5/32".parse().unwrap(), kind: Kind::Sent, link: None };
        assert_eq!(Filter::read(&after).dropped_before(EXEMPTION, packets), None);
    }
}
