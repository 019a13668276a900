//! What a container gets is what a pod gets: every chain is run straight into a namespace,
//! as a kubelet does it (`cnm-cni cni add`), and through `docker run`, and the two network
//! states are compared. `make fidelity` prints the table.
//!
//! What must differ is made equal first: the addresses of the pool, MACs, indexes. What
//! Docker does on its own account is in [`DOCKERS_OWN`]; `docs/fidelity.md` gives the reasons.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::host::{Host, Suite, within};
use super::leaks::Footprint;
use super::on_both_dockers;

on_both_dockers! {
    a_container_gets_what_a_pod_gets,
}

/// What differs because it is Docker's to decide; prefixes of lines.
const DOCKERS_OWN: [&str; 6] = [
    // Docker lets every process of a container bind low ports and send pings.
    "sysctl ipv4/ip_unprivileged_port_start ",
    "sysctl ipv4/ping_group_range ",
    // Docker turns IPv6 off where it was given no IPv6 address: on the interface, and
    // before version 26 in the namespace.
    "sysctl ipv6/conf/all/disable_ipv6 ",
    "sysctl ipv6/conf/default/disable_ipv6 ",
    IPV6_OFF,
    // The default route of the main table is Docker's: `sbr` would take it away.
    r#"route {"type":"unicast","dst":"default","gateway":"10.210.0.1","dev":"eth0","table":"main""#,
];

const IPV6_OFF: &str = "sysctl ipv6/conf/eth0/disable_ipv6 ";

/// One chain: its name in the table, its plugins, and the oldest suite that has them.
struct Row {
    name: &'static str,
    plugins: Value,
    only_forky: bool,
}

fn row(name: &'static str, plugins: Value) -> Row {
    Row { name, plugins, only_forky: false }
}

fn rows() -> Vec<Row> {
    let single = json!({"type": "host-local", "ranges": [[{"subnet": "10.210.0.0/24"}]],
                        "routes": [{"dst": "0.0.0.0/0"}]});
    let dual = json!({"type": "host-local",
        "ranges": [[{"subnet": "10.210.0.0/24"}], [{"subnet": "fd00:d2::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}, {"dst": "10.96.0.0/12"}]});
    let twice = json!({"type": "host-local",
        "ranges": [[{"subnet": "10.210.0.0/24"}], [{"subnet": "10.211.0.0/24"}],
                   [{"subnet": "fd00:d2::/64"}], [{"subnet": "fd00:d3::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]});
    let fixed = json!({"type": "static", "addresses": [
        {"address": "10.210.0.77/24", "gateway": "10.210.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.168.9.0/24", "gw": "10.210.0.9"}]});
    let bridge = |ipam: &Value| {
        json!({"type": "bridge", "bridge": "fidelity0", "isGateway": true, "ipMasq": true,
               "ipam": ipam})
    };
    // The plugin gives its bridge one gateway a family.
    let plain = |ipam: &Value| json!({"type": "bridge", "bridge": "fidelity1", "ipam": ipam});
    let tuning = json!({"type": "tuning", "mtu": 1400, "promisc": true, "sysctl": {
        "net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.conf.IFNAME.rp_filter": "2",
        "net.core.somaxconn": "512", "net.ipv4.tcp_syncookies": "0"}});
    vec![
        row("bridge, one range", json!([bridge(&single)])),
        row("bridge, dual stack", json!([bridge(&dual)])),
        row("bridge, two ranges a family", json!([plain(&twice)])),
        row("bridge, static", json!([bridge(&fixed)])),
        row("ptp, one range", json!([{"type": "ptp", "ipMasq": true, "ipam": single}])),
        row("ptp, dual stack", json!([{"type": "ptp", "ipMasq": true, "ipam": dual}])),
        row("macvlan", json!([{"type": "macvlan", "master": "wire0", "ipam": single}])),
        row("host-device", json!([{"type": "host-device", "device": "card0", "ipam": single}])),
        Row { only_forky: true, ..row("tap", json!([{"type": "tap", "ipam": single}])) },
        row("bridge, tuning", json!([bridge(&dual), tuning])),
        row("bridge, sbr", json!([bridge(&single), {"type": "sbr"}])),
        row(
            "bridge, portmap, bandwidth, firewall",
            json!([
            bridge(&dual), {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "bandwidth", "ingressRate": 8000000, "ingressBurst": 8000000,
             "egressRate": 8000000, "egressBurst": 8000000},
            {"type": "firewall"}]),
        ),
    ]
}

fn a_container_gets_what_a_pod_gets(suite: Suite) {
    let host = Host::up(suite);
    for link in [
        "link add wire0 type veth peer name wire1",
        "link set wire0 up",
        "link add card0 type veth peer name card1",
        "link set card1 up",
    ] {
        host.exec(&[&["ip"], &link.split(' ').collect::<Vec<_>>()[..]].concat());
    }
    host.start_driver();
    let mut differing = Vec::new();
    for row in rows() {
        if row.only_forky && suite != Suite::Forky {
            continue;
        }
        let conflist = json!({"cniVersion": "1.0.0", "name": "fidelity", "plugins": row.plugins});
        host.write("/etc/cni/net.d/fidelity.conflist", &conflist.to_string());
        let pod = as_a_pod(&host);
        // Once before it counts: the plugins make what they share, and keep it.
        as_a_container(&host);
        let before = Footprint::settled(&host);
        let container = as_a_container(&host);
        before.assert_nothing_more(&host);
        // Without IPv6 there are no link-local addresses and routes either.
        let no_ipv6 = container.contains(&format!("{IPV6_OFF}1"));
        let counts = |line: &&String| {
            !DOCKERS_OWN.iter().any(|prefix| line.starts_with(prefix))
                && !(no_ipv6 && (line.contains("LINKLOCAL") || line.contains("fe80::/64")))
        };
        let pod: BTreeSet<_> = pod.iter().filter(counts).collect();
        let container: BTreeSet<_> = container.iter().filter(counts).collect();
        let only_pod: Vec<_> = pod.difference(&container).collect();
        let only_container: Vec<_> = container.difference(&pod).collect();
        for dimension in ["link", "address", "route", "rule", "neighbour", "sysctl"] {
            let of = |lines: &[&&String]| {
                lines.iter().filter(|line| line.starts_with(dimension)).count()
            };
            let (lost, gained) = (of(&only_pod), of(&only_container));
            let told =
                if lost + gained == 0 { "equal".to_owned() } else { format!("-{lost} +{gained}") };
            eprintln!("{:<12} {:<38} {dimension:<10} {told}", format!("{suite:?}"), row.name);
        }
        if !only_pod.is_empty() || !only_container.is_empty() {
            differing
                .push(format!("{}\n  lost {only_pod:#?}\n  gained {only_container:#?}", row.name));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// The network of a namespace that the chain ran straight into.
fn as_a_pod(host: &Host) -> BTreeSet<String> {
    host.exec(&["ip", "netns", "add", "pod"]);
    host.exec(&["ip", "-n", "pod", "link", "set", "lo", "up"]);
    let cni = |verb| {
        host.exec(&["env", "CNI_IFNAME=eth0", "cnm-cni", "cni", verb, "fidelity", "/run/netns/pod"])
    };
    cni("add");
    let network = network(host, "--net=/run/netns/pod");
    cni("del");
    host.exec(&["ip", "netns", "del", "pod"]);
    network
}

/// The network of a container.
fn as_a_container(host: &Host) -> BTreeSet<String> {
    host.create_network("web", Some("fidelity"));
    host.run("alice", "web", &[]);
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "alice"]);
    // Before Docker 28 the process may be a little ahead of its network.
    let last = RefCell::default();
    let target = format!("--net=/proc/{pid}/ns/net");
    let settled = within(Duration::from_secs(5), || {
        let now = network(host, &target);
        last.replace(now.clone()) == now
    });
    assert!(settled, "the container's network keeps changing");
    host.remove(&["alice"], &["web"]);
    last.into_inner()
}

/// Everything that the kernel tells about the network of a namespace, a line each, without
/// what must differ.
fn network(host: &Host, netns: &str) -> BTreeSet<String> {
    let inside = |command: &str| host.exec(&["nsenter", netns, "sh", "-c", command]);
    let json = |command: &str| -> Vec<Value> {
        let text = inside(command);
        if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text).unwrap() }
    };
    let mut lines = BTreeSet::new();
    let mut replaced = Vec::new();
    for link in json("ip -d -j address show dev eth0") {
        replaced.push((text(&link, "address"), "MAC".to_owned()));
        for (position, address) in link["addr_info"].as_array().unwrap().iter().enumerate() {
            let name = if address["scope"] == "link" {
                "LINKLOCAL".into()
            } else {
                format!("IP{position}")
            };
            replaced.push((text(address, "local"), name));
        }
        let attributes = [
            "mtu",
            "flags",
            "group",
            "txqlen",
            "promiscuity",
            "allmulti",
            "ifalias",
            "altnames",
            "link_type",
            "min_mtu",
            "max_mtu",
            "num_tx_queues",
        ];
        for attribute in attributes {
            lines.insert(format!("link {attribute} {}", link[attribute]));
        }
        lines.insert(format!("link kind {}", link["linkinfo"]["info_kind"]));
        for address in link["addr_info"].as_array().unwrap() {
            let mut address = address.clone();
            // Given out for ever; and how it was added, which is not what it is.
            for key in ["valid_life_time", "preferred_life_time", "nodad", "tentative", "protocol"]
            {
                address.as_object_mut().unwrap().remove(key);
            }
            lines.insert(format!("address {address}"));
        }
    }
    for family in ["-4", "-6"] {
        for mut route in json(&format!("ip {family} -d -j route show table all")) {
            let is_default = route["dst"] == "default" && route.get("table").is_none();
            // The kernel's own, which come and go with addresses, some of them seconds later.
            if route["dev"] == "lo" || route["table"] == "local" || route["type"] == "multicast" {
                continue;
            }
            let object = route.as_object_mut().unwrap();
            // Who made it; and the default route is Docker's: where it leads has to be right.
            object.remove("protocol");
            if is_default {
                object.retain(|key, _| ["dst", "gateway", "dev"].contains(&key.as_str()));
            }
            lines.insert(format!("route {route}"));
        }
        for rule in json(&format!("ip {family} -j rule")) {
            lines.insert(format!("rule {rule}"));
        }
    }
    for neighbour in json("ip -j neighbour show nud permanent dev eth0") {
        lines.insert(format!("neighbour {neighbour}"));
    }
    // Counters, and secrets that the kernel makes up, are no settings.
    let settings = "cd /proc/sys/net && grep -r . core ipv4 ipv6 2>/dev/null |
        grep -v -e _secret -e nf_conntrack -e /lo/ -e neigh/default -e '/mtu:' -e flush -e tunl0";
    for setting in inside(settings).lines() {
        let (name, value) = setting.split_once(':').unwrap();
        lines.insert(format!("sysctl {name} {value}"));
    }
    lines
        .into_iter()
        .map(|line| {
            replaced.iter().fold(line, |line, (from, to)| line.replace(&format!("{from:?}"), to))
        })
        .collect()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}
