//! Chains of nftables that see forwarded packets in addition to those of `iptables`, as a host's own
//! firewall makes them. Every chain has to accept a packet: one chain may drop what another accepts.
//!
//! A chain is reported only if it certainly drops every packet of an address. A chain with a rule that this
//! program cannot judge may accept them.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

use super::filter::{Kind, Packets};
use super::names::FORWARD_TABLE;
use super::tables::Family;
use crate::lifecycle::error::{Error, Result};
use crate::process::host;

const COMMAND: &str = "nft";

/// A base chain at the hook "forward".
#[derive(Debug)]
pub(crate) struct Chain {
    family: String,
    table: String,
    name: String,
    /// Whether its policy is to drop packets that no rule decided on.
    drops: bool,
    rules: Vec<Value>,
}

/// Whether a rule matches packets.
enum Meets {
    All,
    None,
    Some,
}

/// Reads these chains; none where the host has no `nft`.
///
/// # Errors
/// The program fails.
pub(crate) async fn forward_chains() -> Result<Vec<Chain>> {
    let mut chains = Vec::new();
    for listed in list(&["list", "chains"]).await? {
        let chain = &listed["chain"];
        if chain["hook"] != "forward" || chain["type"] != "filter" {
            continue;
        }
        let text = |key: &str| chain[key].as_str().unwrap_or_default().to_owned();
        let (family, table, name) = (text("family"), text("table"), text("name"));
        let iptables =
            matches!(family.as_str(), "ip" | "ip6") && table == "filter" && name == "FORWARD";
        // Its chains accept.
        let exempting = table.starts_with(FORWARD_TABLE);
        if iptables || exempting || !matches!(family.as_str(), "ip" | "ip6" | "inet") {
            continue;
        }
        let listed = list(&["list", "chain", &family, &table, &name]).await?;
        let rules = listed.into_iter().map(|mut rule| rule["rule"]["expr"].take());
        let rules = rules.filter(Value::is_array).collect();
        chains.push(Chain { drops: chain["policy"] == "drop", family, table, name, rules });
    }
    Ok(chains)
}

/// What `nft` lists, as JSON.
async fn list(what: &[&str]) -> Result<Vec<Value>> {
    let failed = |reason: String| Error::HostRules {
        operation: "list the host's rules",
        command: COMMAND,
        reason,
    };
    let listed = host::run(COMMAND, &[&["-j"], what].concat(), b"").await;
    let Some(text) = listed.map_err(|error| failed(error.to_string()))? else {
        return Ok(Vec::new());
    };
    let json: Value = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    Ok(json["nftables"].as_array().cloned().unwrap_or_default())
}

impl Chain {
    /// Whether the chain drops all of these packets, except those of an accepted connection.
    pub(crate) fn drops(&self, family: Family, packets: Packets<'_>) -> bool {
        let ours = match family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        if self.family != "inet" && self.family != ours {
            return false;
        }
        for rule in self.rules.iter().filter_map(Value::as_array) {
            let ends = |verdict: &str| rule.iter().any(|it| it.get(verdict).is_some());
            match meets(rule, ours, packets) {
                Meets::All if ends("drop") || ends("reject") => return true,
                Meets::All if ends("accept") => return false,
                Meets::None => {}
                // The rule may accept some, here or in the chain that it jumps to.
                _ if ["accept", "jump", "goto", "vmap", "queue"].iter().any(|it| ends(it)) => {
                    return false;
                }
                _ => {}
            }
        }
        self.drops
    }

    /// The command that makes the chain accept these packets.
    pub(crate) fn remedy(&self, family: Family, packets: Packets<'_>) -> String {
        let ip = if family == Family::V4 { "ip" } else { "ip6" };
        let side = if packets.kind == Kind::Sent { "saddr" } else { "daddr" };
        format!("nft insert rule {self} {ip} {side} {} accept", packets.address.addr())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// Whether a rule matches these packets, which begin a connection.
fn meets(rule: &[Value], family: &str, packets: Packets<'_>) -> Meets {
    let mut all = Meets::All;
    for condition in rule.iter().filter_map(|statement| statement.get("match")) {
        match condition_meets(condition, family, packets) {
            Meets::All => {}
            Meets::None => return Meets::None,
            Meets::Some => all = Meets::Some,
        }
    }
    all
}

fn condition_meets(condition: &Value, family: &str, packets: Packets<'_>) -> Meets {
    let (left, right) = (&condition["left"], &condition["right"]);
    let decided = |is: bool| match (is, condition["op"].as_str()) {
        (is, Some("==" | "in")) if is => Meets::All,
        (is, Some("!=")) if !is => Meets::All,
        (_, Some("==" | "in" | "!=")) => Meets::None,
        _ => Meets::Some,
    };
    if left["ct"]["key"] == "state" {
        let states = right.as_array().cloned().unwrap_or_else(|| vec![right.clone()]);
        let has = |wanted: &str| states.iter().any(|state| state == wanted);
        return match packets.kind {
            Kind::Answers => decided(has("established")),
            Kind::Sent | Kind::Received => decided(has("new")),
        };
    }
    let side = match packets.kind {
        Kind::Sent => ("iifname", "saddr"),
        Kind::Received | Kind::Answers => ("oifname", "daddr"),
    };
    if left["meta"]["key"] == side.0 {
        return match (packets.link, right.as_str()) {
            (Some(link), Some(name)) if !name.contains('*') => decided(link == name),
            _ => Meets::Some,
        };
    }
    let payload = &left["payload"];
    if payload["field"] == side.1 && payload["protocol"] == family {
        let prefix = &right["prefix"];
        let net = match (right.as_str(), prefix["addr"].as_str(), prefix["len"].as_u64()) {
            (Some(address), ..) => address.parse::<IpAddr>().ok().map(ipnet::IpNet::from),
            (None, Some(address), Some(len)) => format!("{address}/{len}").parse().ok(),
            _ => None,
        };
        return net
            .map_or(Meets::Some, |net: ipnet::IpNet| decided(net.contains(&packets.address)));
    }
    Meets::Some
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(drops: bool, rules: &[Value]) -> Chain {
        let (family, table, name) = ("inet".into(), "firewall".into(), "forward".into());
        Chain { family, table, name, drops, rules: rules.to_vec() }
    }

    fn matching(left: Value, right: Value) -> Value {
        json!({"match": {"op": "==", "left": left, "right": right}})
    }

    /// Whether packets from the container are dropped.
    fn drops(policy: bool, rules: &[Value]) -> bool {
        let address = "10.22.0.5/32".parse().unwrap();
        let packets = Packets { address, kind: Kind::Sent, link: Some("cni0") };
        chain(policy, rules).drops(Family::V4, packets)
    }

    #[test]
    fn a_chain_drops_what_none_of_its_rules_lets_pass() {
        let state = matching(json!({"ct": {"key": "state"}}), json!(["established", "related"]));
        let others = matching(json!({"meta": {"key": "iifname"}}), json!("docker0"));
        let ours = matching(json!({"meta": {"key": "iifname"}}), json!("cni0"));
        let saddr = json!({"payload": {"protocol": "ip", "field": "saddr"}});
        let subnet = matching(saddr, json!({"prefix": {"addr": "10.22.0.0", "len": 16}}));
        let (accept, drop) = (json!({"accept": null}), json!({"drop": null}));
        let (count, reject) =
            (json!({"counter": {"packets": 1}}), json!({"reject": {"type": "icmpx"}}));
        let port = matching(json!({"payload": {"protocol": "tcp", "field": "dport"}}), json!(80));
        let jump = json!({"jump": {"target": "zones"}});
        let established = json!([state, accept]);
        for (policy, rules, dropped) in [
            (false, vec![], false),
            (true, vec![], true),
            (true, vec![established.clone()], true),
            (true, vec![established, json!([others, accept])], true),
            (true, vec![json!([ours, accept])], false),
            (true, vec![json!([subnet, accept])], false),
            (true, vec![json!([port, accept])], false),
            (true, vec![json!([jump])], false),
            (false, vec![json!([count, reject])], true),
            (false, vec![json!([subnet, drop])], true),
            (false, vec![json!([port, drop])], false),
            (false, vec![json!([accept]), json!([drop])], false),
        ] {
            assert_eq!(drops(policy, &rules), dropped, "{policy} {rules:?}");
        }
    }

    #[test]
    fn a_chain_of_the_other_family_is_of_no_concern() {
        let chain = Chain { family: "ip6".into(), ..chain(true, &[]) };
        let packets =
            Packets { address: "10.22.0.5/32".parse().unwrap(), kind: Kind::Sent, link: None };
        assert!(!chain.drops(Family::V4, packets) && chain.drops(Family::V6, packets));
    }
}
