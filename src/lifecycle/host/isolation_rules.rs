//! The isolation rules of `iptables`, as text.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::docker_bridges::DockerBridges;
use super::names::Names;
use super::tables::Family;
use crate::lifecycle::record::Network;

/// The rules of one family for these networks, as `iptables -S` prints them.
pub(super) fn rules(
    names: &Names,
    family: Family,
    isolated: &[&Network],
    docker: &DockerBridges,
) -> Vec<String> {
    let (to_out, to_in) = (&names.out, &names.received);
    let mut sent = Vec::new();
    let mut received = Vec::new();
    for network in isolated.iter().filter(|network| network.options.internal) {
        if let Some(bridge) = network.own_bridge() {
            // No packet leaves the network or enters it, whatever routes there are.
            sent.push(format!("-i {bridge} ! -o {bridge} -j DROP"));
            sent.push(format!("! -i {bridge} -o {bridge} -j DROP"));
        }
    }
    sent.push("-m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j RETURN".to_owned());
    for network in isolated {
        if let Some(bridge) = network.own_bridge() {
            sent.push(format!("-i {bridge} ! -o {bridge} -j {to_out}"));
            received.push(format!("-o {bridge} -j DROP"));
            continue;
        }
        let subnets =
            || network.isolated_subnets.iter().filter(|net| Family::of(net.addr()) == family);
        for (one, other) in subnets().flat_map(|one| subnets().map(move |other| (one, other))) {
            sent.push(format!("-s {one} -d {other} -j RETURN"));
        }
        sent.extend(subnets().map(|subnet| format!("-s {subnet} -j {to_out}")));
        received.extend(subnets().map(|subnet: &IpNet| format!("-d {subnet} -j DROP")));
    }
    let mut out = Vec::new();
    sent.extend(docker.not.iter().map(|bridge| format!("-i {bridge} -j RETURN")));
    // The destination may be an isolated network, too.
    out.extend(docker.not.iter().map(|bridge| format!("-o {bridge} -g {to_in}")));
    let usual = ["docker0", "br-+"].into_iter();
    for bridge in usual.chain(docker.named.iter().map(String::as_str)) {
        sent.push(format!("-i {bridge} -j {to_in}"));
        out.push(format!("-o {bridge} -j DROP"));
    }
    out.push(format!("-j {to_in}"));
    let mut rules = vec![names.lead.clone()];
    for (chain, of_chain) in names.chains().into_iter().zip([sent, out, received]) {
        rules.extend(of_chain.into_iter().map(|rule| format!("-A {chain} {rule}")));
    }
    rules
}

/// The input for `iptables-restore` that replaces the current rules with these; none if they are equal. If there
/// are no rules, it removes the chains.
pub(super) fn changes(names: &Names, present: &[String], rules: &[String]) -> Option<String> {
    let (chains, lead) = (names.chains(), &names.lead);
    let chain_of = |line: &str| line.split(' ').nth(1).map(str::to_owned);
    let is_ours = |line: &&String| {
        *line == lead || chain_of(line).is_some_and(|chain| chains.contains(&chain.as_str()))
    };
    let ours: Vec<&String> = present.iter().filter(is_ours).collect();
    let has_chains = ours.iter().any(|line| line.starts_with("-N "));
    let in_chain = |chain: &str, rules: &mut dyn Iterator<Item = &String>| -> Vec<String> {
        let beginning = format!("-A {chain} ");
        rules.filter(|rule| rule.starts_with(&beginning)).cloned().collect()
    };
    let same = |chain: &str| {
        in_chain(chain, &mut ours.iter().copied()) == in_chain(chain, &mut rules.iter())
    };
    let leads = ours.iter().filter(|line| **line == lead).count();
    let wanted = usize::from(!rules.is_empty());
    let has_wanted_chains = has_chains != rules.is_empty();
    if leads == wanted && has_wanted_chains && chains.into_iter().all(same) {
        return None;
    }
    let mut changes = String::new();
    // Writing to a string cannot fail. This line makes the chain, or empties it.
    chains.iter().for_each(|chain| _ = writeln!(changes, ":{chain} - [0:0]"));
    (0..leads).for_each(|_| _ = writeln!(changes, "{}", lead.replacen("-A", "-D", 1)));
    if rules.is_empty() {
        chains.iter().for_each(|chain| _ = writeln!(changes, "-X {chain}"));
    }
    for rule in rules {
        let first = if rule == lead { rule.replacen("-A", "-I", 1) } else { rule.clone() };
        _ = writeln!(changes, "{first}");
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn names() -> Names {
        Names::of(Path::new("/var/lib/cnm-cni"))
    }

    fn network(json: serde_json::Value) -> Network {
        let mut whole = json!({"id": "a0ca6ece2c77", "conflist": "web", "options": {}});
        whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn built_in(id: &str, more: serde_json::Value) -> Network {
        let chain = json!({"cniVersion": "1.0.0", "name": id, "plugins": [
            {"type": "bridge", "bridge": id, "ipam": {"type": "host-local"}}]});
        let mut json = json!({"own_chain": chain});
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        network(json)
    }

    #[test]
    fn an_isolated_network_is_dropped_by_its_bridge_or_by_its_subnets() {
        let one = built_in("cni1", json!({}));
        let theirs = network(json!({"apart": ["10.22.0.0/16", "10.23.0.0/16", "fd00:22::/64"]}));
        let docker = DockerBridges { named: vec!["mine".into()], not: vec!["br-lan".into()] };
        let expected = "\
-A FORWARD -j CNM-CNI-ISOLATE
-A CNM-CNI-ISOLATE -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j RETURN
-A CNM-CNI-ISOLATE -i cni1 ! -o cni1 -j CNM-CNI-ISOLATE-OUT
-A CNM-CNI-ISOLATE -s 10.22.0.0/16 -d 10.22.0.0/16 -j RETURN
-A CNM-CNI-ISOLATE -s 10.22.0.0/16 -d 10.23.0.0/16 -j RETURN
-A CNM-CNI-ISOLATE -s 10.23.0.0/16 -d 10.22.0.0/16 -j RETURN
-A CNM-CNI-ISOLATE -s 10.23.0.0/16 -d 10.23.0.0/16 -j RETURN
-A CNM-CNI-ISOLATE -s 10.22.0.0/16 -j CNM-CNI-ISOLATE-OUT
-A CNM-CNI-ISOLATE -s 10.23.0.0/16 -j CNM-CNI-ISOLATE-OUT
-A CNM-CNI-ISOLATE -i br-lan -j RETURN
-A CNM-CNI-ISOLATE -i docker0 -j CNM-CNI-ISOLATE-IN
-A CNM-CNI-ISOLATE -i br-+ -j CNM-CNI-ISOLATE-IN
-A CNM-CNI-ISOLATE -i mine -j CNM-CNI-ISOLATE-IN
-A CNM-CNI-ISOLATE-OUT -o br-lan -g CNM-CNI-ISOLATE-IN
-A CNM-CNI-ISOLATE-OUT -o docker0 -j DROP
-A CNM-CNI-ISOLATE-OUT -o br-+ -j DROP
-A CNM-CNI-ISOLATE-OUT -o mine -j DROP
-A CNM-CNI-ISOLATE-OUT -j CNM-CNI-ISOLATE-IN
-A CNM-CNI-ISOLATE-IN -o cni1 -j DROP
-A CNM-CNI-ISOLATE-IN -d 10.22.0.0/16 -j DROP
-A CNM-CNI-ISOLATE-IN -d 10.23.0.0/16 -j DROP";
        assert_eq!(rules(&names(), Family::V4, &[&one, &theirs], &docker).join("\n"), expected);
        let v6 = rules(&names(), Family::V6, &[&theirs], &docker).join("\n");
        assert!(v6.contains("-d fd00:22::/64 -j DROP") && !v6.contains("10.22."), "{v6}");
        let inner = built_in("cni2", json!({"options": {"internal": true}}));
        let rules = rules(&names(), Family::V4, &[&inner], &docker);
        assert_eq!(rules[1], "-A CNM-CNI-ISOLATE -i cni2 ! -o cni2 -j DROP");
        assert_eq!(rules[2], "-A CNM-CNI-ISOLATE ! -i cni2 -o cni2 -j DROP");
    }

    #[test]
    fn only_what_differs_is_written_and_without_a_network_nothing_stays() {
        let network = built_in("cni1", json!({}));
        let names = names();
        let changes = |present: &[String], rules: &[String]| changes(&names, present, rules);
        let wanted = rules(&names, Family::V4, &[&network], &DockerBridges::default());
        let chains = names.chains().map(|chain| format!("-N {chain}"));
        let theirs = ["-P FORWARD ACCEPT", "-A FORWARD -j theirs"].map(str::to_owned);
        let present = [&theirs[..], &chains, &wanted].concat();
        assert_eq!(changes(&present, &wanted), None);
        assert_eq!(changes(&theirs, &[]), None);
        let written = changes(&theirs, &wanted).unwrap();
        assert!(written.contains("-I FORWARD -j CNM-CNI-ISOLATE\n") && !written.contains("-D "));
        // The jump exists twice, or a rule is lost.
        let twice = [&present[..], std::slice::from_ref(&names.lead)].concat();
        assert_eq!(changes(&twice, &wanted).unwrap().matches("-D FORWARD").count(), 2);
        let lost = &present[..present.len() - 1];
        assert!(changes(lost, &wanted).is_some());
        let removed = changes(&present, &[]).unwrap();
        assert!(removed.ends_with("-X CNM-CNI-ISOLATE-OUT\n-X CNM-CNI-ISOLATE-IN\n"), "{removed}");
    }

    #[test]
    fn a_driver_with_another_state_folder_has_chains_of_its_own() {
        let (usual, other) = (names(), Names::of(Path::new("/srv/other")));
        let network = built_in("cni1", json!({}));
        let docker = DockerBridges::default();
        let rules = rules(&usual, Family::V4, &[&network], &docker);
        assert_eq!(changes(&other, &rules, &[]), None);
        for chain in other.chains() {
            assert!(chain.len() <= 28 && !usual.chains().contains(&chain), "{chain}");
        }
        assert_ne!(usual.table, other.table);
    }
}
