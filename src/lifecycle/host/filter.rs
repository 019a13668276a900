//! Whether a rule of the host drops a container's packets before they reach the driver's exemption.
//!
//! FORWARD is followed as the kernel does it, rule by rule and jump by jump, up to the exemption:
//!
//! ```text
//!   FORWARD   -j DOCKER-USER ──▶ DOCKER-USER   …            no rule matches: back
//!             -s 10.22.0.0/16 -j DROP                       all packets from 10.22.0.5: found
//!             -s 10.22.0.5/32 … "cnm-cni …" -j ACCEPT       the exemption: too late
//! ```
//!
//! Only a rule that matches *every* packet from, or to, an address counts. A rule with further conditions,
//! such as a port or a state, is a policy of the administrator, and is meant to come first.

mod packets;
mod rule;

pub(crate) use packets::{Kind, Packets};

use std::collections::HashMap;

use rule::Rule;

/// The chain that packets pass on their way through the host.
const FORWARD: &str = "FORWARD";

/// How many chains deep a packet is followed.
const DEEPEST: usize = 16;

/// The chains of one family's table filter.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    chains: HashMap<String, Vec<Rule>>,
    /// The position of each rule of FORWARD, by its text.
    positions: HashMap<String, usize>,
}

/// What a chain does with packets.
enum Fate<'f> {
    Accepted,
    Dropped(&'f str),
    /// Nothing: they go on to the next rule of the calling chain.
    Returned,
}

impl Filter {
    /// Reads what `iptables -S` prints.
    pub(crate) fn read(lines: &[String]) -> Self {
        let mut filter = Self::default();
        for line in lines {
            let Some((chain, mut rule)) = Rule::read(line) else { continue };
            let rules = filter.chains.entry(chain.clone()).or_default();
            rule.position = rules.len();
            if chain == FORWARD {
                filter.positions.entry(line.clone()).or_insert(rule.position);
            }
            rules.push(rule);
        }
        // The driver's own rules accept one address each, so they decide nothing about another one.
        // Without them, each question is answered faster.
        if let Some(forward) = filter.chains.get_mut(FORWARD) {
            forward.retain(|rule| !rule.text.contains("\"cnm-cni "));
        }
        filter
    }

    /// A rule of FORWARD that is as wanted.
    pub(crate) fn find(&self, wanted: impl Fn(&str) -> bool) -> Option<&str> {
        self.positions.keys().map(String::as_str).find(|rule| wanted(rule))
    }

    /// Whether FORWARD has a rule with exactly this text.
    pub(crate) fn has(&self, rule: &str) -> bool {
        self.positions.contains_key(rule)
    }

    /// The rule that drops all of these packets before they come to `exemption`; to the end of FORWARD if
    /// that is none, or not there.
    pub(crate) fn dropped_before(
        &self,
        exemption: Option<&str>,
        packets: Packets<'_>,
    ) -> Option<&str> {
        let position = exemption.and_then(|rule| self.positions.get(rule));
        let end = position.copied().unwrap_or(usize::MAX);
        match self.fate(FORWARD, end, packets, DEEPEST) {
            Fate::Dropped(rule) => Some(rule),
            Fate::Accepted | Fate::Returned => None,
        }
    }

    /// Follows packets through the rules of `chain` before position `end`, and through the chains
    /// that these jump to.
    fn fate(&self, chain: &str, end: usize, packets: Packets<'_>, depth: usize) -> Fate<'_> {
        let rules = self.chains.get(chain).into_iter().flatten();
        for rule in rules.take_while(|rule| rule.position < end) {
            if !rule.matches_all(packets) {
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
            filter.dropped_before(Some(EXEMPTION), packets).map(str::to_owned)
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
    fn a_rule_with_further_conditions_is_a_policy_and_does_not_count() {
        for rules in [
            vec!["-P FORWARD DROP"],
            vec!["-A FORWARD -p tcp -m tcp --dport 25 -j DROP"],
            vec!["-A FORWARD -m conntrack --ctstate INVALID -j DROP"],
            vec!["-A FORWARD -s 10.22.0.5/32 -d 10.0.0.0/8 -j DROP"],
            vec!["-A FORWARD -i docker0 -j DROP"],
            vec!["-A FORWARD -i cni0 -o cni0 -j DROP"],
            vec!["-A FORWARD -s 10.23.0.0/16 -j DROP", "-A FORWARD -d 10.23.0.0/16 -j DROP"],
            // flannel and others accept their own packets before everybody else's.
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
            filter.dropped_before(Some(EXEMPTION), packets).is_some()
        };
        assert_eq!([Kind::Sent, Kind::Received, Kind::Answers].map(dropped), [true, true, false]);
    }

    #[test]
    fn a_rule_after_the_exemption_does_not_count() {
        let after: Vec<String> = [EXEMPTION, "-A FORWARD -j REJECT"].map(str::to_owned).into();
        let packets =
            Packets { address: "10.22.0.5/32".parse().unwrap(), kind: Kind::Sent, link: None };
        assert_eq!(Filter::read(&after).dropped_before(Some(EXEMPTION), packets), None);
    }
}
