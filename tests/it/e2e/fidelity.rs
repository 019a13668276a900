//! A container gets the same as a pod: every chain is run directly on a namespace, as a kubelet does it
//! (`cnm-cni cni add`), through containerd's CRI for a kubelet, and through `docker run`. The network
//! states are compared. `make fidelity` prints the table.
//!
//! The host's side is compared as well. What must differ is made equal first: the addresses of the pool,
//! MACs, indexes, names that contain hashes. What Docker does by itself is in [`DOCKERS_OWN`];
//! `docs/fidelity.md` gives the reasons.
//!
//! However a container ends, the host is the same as before afterwards.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::cri::Kubelet;
use super::host::{Host, Suite, within};
use super::leaks::Footprint;
use super::netfilter::GUARD;
use super::{and_on_docker_26_1, on_both_dockers};

on_both_dockers! {
    a_container_gets_what_a_pod_gets,
    nothing_is_left_of_any_chain_whatever_end_its_container_finds,
}

and_on_docker_26_1! {
    a_container_gets_what_a_pod_gets,
}

/// Docker before 28 moves the interface after the last call in which the driver could settle it.
mod before_docker_28 {
    use super::*;

    #[test]
    fn docker_20_10_settles_soon() {
        settling_follows_dockers_last_change(Suite::Bookworm);
    }

    #[test]
    fn docker_26_1_settles_soon() {
        settling_follows_dockers_last_change(Suite::Trixie);
    }
}

/// Each start is followed by settling, and the time is printed: the goal on an idle machine is 5 ms, and
/// here other tests use the processors too.
fn settling_follows_dockers_last_change(suite: Suite) {
    const STARTS: usize = 9;
    let host = host(suite);
    host.start_driver_without_spares();
    let row = rows().into_iter().find(|row| row.name == "bridge, tuning").unwrap();
    write_conflist(&host, "fidelity", &row.plugins);
    host.create_network("web", Some("fidelity"));
    host.run("alice", "web", &[]);
    for _ in 1..STARTS {
        host.docker(&["restart", "--time", "0", "alice"]);
    }
    let all = || times_settled(&host.driver_log()).len() == STARTS;
    assert!(within(Duration::from_secs(5), all), "{}", host.driver_log());
    let mut times = times_settled(&host.driver_log());
    times.sort_by(f64::total_cmp);
    eprintln!(
        "{suite:?}: settled after Docker's last change: median {:.1} ms, at most {:.1} ms",
        times[STARTS / 2],
        times[STARTS - 1]
    );
    host.remove(&["alice"], &["web"]);
}

fn times_settled(log: &str) -> Vec<f64> {
    let lines = log.lines().filter(|line| line.contains("settled after Docker's last change"));
    lines.filter_map(|line| line.split_once(" ms=")?.1.split(' ').next()?.parse().ok()).collect()
}

/// Differences that Docker decides; prefixes of lines.
const DOCKERS_OWN: [&str; 11] = [
    // The driver's exemption from the policy that Docker gives FORWARD.
    EXEMPTION,
    // Docker lets every process of a container bind low ports and send pings.
    "sysctl ipv4/ip_unprivileged_port_start ",
    "sysctl ipv4/ping_group_range ",
    // Docker turns IPv6 off if it got no IPv6 address: on the interface, and before version 26 in the
    // namespace.
    "sysctl ipv6/conf/all/disable_ipv6 ",
    "sysctl ipv6/conf/default/disable_ipv6 ",
    IPV6_OFF,
    "sysctl ipv6/conf/side0/disable_ipv6 ",
    "sysctl ipv6/conf/side0-br/disable_ipv6 ",
    "sysctl ipv6/conf/side0-p/disable_ipv6 ",
    "sysctl ipv6/conf/side0-q/disable_ipv6 ",
    // The default route of the main table is Docker's: `sbr` would remove it.
    r#"route {"type":"unicast","dst":"default","gateway":"10.210.0.1","dev":"eth0","table":"main""#,
];

/// The route to the gateway in the main table, which `sbr` would remove, and Docker needs.
const WAY_TO_GATEWAY: &str =
    r#"route {"type":"unicast","dst":"10.210.0.0/24","dev":"eth0","table":"main""#;

/// How the line of an IPv6 default route begins.
const IPV6_DEFAULT: &str = r#"route {"type":"unicast","dst":"default","gateway":"fd00:d2::1","#;

/// How lines of the host's rules that the driver makes are marked.
const EXEMPTION: &str = "exemption";

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
    let alone = json!({"type": "host-local", "ranges": [[{"subnet": "fd00:d2::/64"}]],
                       "routes": [{"dst": "::/0"}]});
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
        row("bridge, IPv6 alone", json!([bridge(&alone)])),
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
            "bridge, rules and a link inside",
            json!([bridge(&single), {"type": "guard", "blocked": "10.210.0.1", "link": "side0"}]),
        ),
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
    let host = host(suite);
    // The host's side of the next spare would be taken for the container's.
    host.start_driver_for_one_attachment();
    let kubelet = Kubelet::start(&host);
    let mut differing = Vec::new();
    for (number, row) in rows_of(suite).into_iter().enumerate() {
        let conflist = write_conflist(&host, "fidelity", &row.plugins);
        // A first run that does not count: the plugins make what they share, and keep it.
        in_a_pod(&host, || ());
        let pod = in_a_pod(&host, || settled(&host, "--net=/run/netns/pod"));
        kubelet.knows(&conflist);
        let kubelets_pod = as_a_kubelets_pod(&host, &kubelet, &conflist);
        for spares in ways(suite, number) {
            let container = as_a_container(&host, spares);
            let mut compare = |maker: &str, pod| {
                let maker = [maker, ", spare"][..=spares].concat();
                differing.extend(compare(suite, &row, &maker, pod, &container));
            };
            compare("cni add", &pod);
            compare("kubelet", &kubelets_pod);
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Prints a row of the table: what a container lost and gained compared to a pod of this kind. Returns it,
/// if anything.
fn compare(
    suite: Suite,
    row: &Row,
    maker: &str,
    pod: &BTreeSet<String>,
    container: &BTreeSet<String>,
) -> Option<String> {
    // Without IPv6 there are no link-local addresses and routes either.
    let no_ipv6 = container.contains(&format!("{IPV6_OFF}1"));
    let counts = |line: &&String| {
        let dockers_with_sbr = row.name.contains("sbr") && line.starts_with(WAY_TO_GATEWAY);
        !DOCKERS_OWN.iter().any(|prefix| line.starts_with(prefix))
            && !dockers_with_sbr
            && !(no_ipv6 && (line.contains("LINKLOCAL") || line.contains("fe80::/64")))
    };
    // Docker before 28 leaves an IPv6 default route to the driver if there is none for IPv4. The driver's gives way
    // to Docker's own.
    let gives_way = |line: &String| match suite {
        Suite::Forky => line.clone(),
        _ if line.starts_with(IPV6_DEFAULT) => line.replace("\"metric\":1025", "\"metric\":1024"),
        _ => line.clone(),
    };
    let pod: BTreeSet<_> = pod.iter().filter(counts).cloned().collect();
    let container: BTreeSet<_> = container.iter().filter(counts).map(gives_way).collect();
    let only_pod: Vec<_> = pod.difference(&container).collect();
    let only_container: Vec<_> = container.difference(&pod).collect();
    let mut cells = String::new();
    for dimension in DIMENSIONS {
        let of = |lines: &[&String]| {
            lines.iter().filter(|line| line.split(' ').next() == Some(dimension)).count()
        };
        let (lost, gained) = (of(&only_pod), of(&only_container));
        let told =
            if lost + gained == 0 { "equal".to_owned() } else { format!("-{lost} +{gained}") };
        cells += &format!(" {dimension} {told:<6}");
    }
    eprintln!("{:<9} {:<37} {maker:<14}{cells}", format!("{suite:?}"), row.name);
    let differs = !only_pod.is_empty() || !only_container.is_empty();
    differs.then(|| {
        format!("{}, {maker}\n  lost {only_pod:#?}\n  gained {only_container:#?}", row.name)
    })
}

/// What is compared: the first word of each line. The last six are the host's side.
const DIMENSIONS: [&str; 13] = [
    "link",
    "address",
    "route",
    "rule",
    "neighbour",
    "sysctl",
    "netfilter",
    "host-link",
    "host-address",
    "host-route",
    "host-rules",
    "host-port",
    "host-qdisc",
];

/// How a container ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Removed,
    Killed,
    /// Its namespace is gone when Docker notices the end.
    NamespaceFirst,
    /// The plugins are missing when Docker removes it, and come back later.
    PluginsGone,
}

fn nothing_is_left_of_any_chain_whatever_end_its_container_finds(suite: Suite) {
    let host = host(suite);
    host.start_driver_with_spares();
    let rows = rows_of(suite);
    let names: Vec<_> = (0..rows.len()).map(|number| format!("row{number}")).collect();
    for (row, name) in rows.iter().zip(&names) {
        write_conflist(&host, name, &apart(&row.plugins, &name[3..]));
    }
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let play = |end: End, spares: usize| {
        // Of two at once, Docker 20.10 may write its jump to DOCKER-USER twice.
        all.iter().for_each(|name| create_network(&host, name, name, spares));
        let ready = host.spares(spares * all.len());
        thread::scope(|scope| {
            all.iter().for_each(|name| drop(scope.spawn(|| host.run(name, name, &[]))));
        });
        assert!(have_claimed(&host, &ready), "{ready:?}");
        match end {
            End::Removed | End::PluginsGone => {}
            End::Killed => drop(host.docker(&[&["kill"], &all[..]].concat())),
            End::NamespaceFirst => {
                let keys = host.docker(&[&["inspect", "-f", KEY], &all[..]].concat());
                let umount = ["umount", "--lazy"].into_iter().chain(keys.lines());
                host.exec(&umount.collect::<Vec<_>>());
                host.docker(&[&["kill"], &all[..]].concat());
                // A real network card comes back by itself; a veth is gone.
                make_devices(&host);
            }
        }
        let (plugins, away) = ("/usr/lib/cni", "/usr/lib/cni-away");
        if let End::PluginsGone = end {
            host.exec(&["mv", plugins, away]);
        }
        host.remove(&all, &all);
        if let End::PluginsGone = end {
            let orphans = || host.exec(&["cnm-cni", "orphans", "--format", "json"]);
            let shown = || all.iter().all(|name| orphans().contains(&format!("{name:?}")));
            assert!(within(Duration::from_secs(10), shown), "{}", orphans());
            assert!(host.try_exec(&["cnm-cni", "orphans", "retry"]).is_err(), "without plugins");
            host.exec(&["mv", away, plugins]);
            host.exec(&["cnm-cni", "orphans", "retry"]);
        }
    };
    play(End::Removed, 1);
    let before = Footprint::settled(&host);
    let ends = [End::Removed, End::Killed, End::NamespaceFirst, End::PluginsGone];
    // Each end with spares on one Docker, and without on the other.
    let first = usize::from(suite == Suite::Forky);
    for (number, end) in ends.into_iter().enumerate() {
        let spares = (first + number) % 2;
        play(end, spares);
        eprintln!("{suite:?}: {end:?}, spares ahead: {spares}");
        before.assert_nothing_more(&host);
    }
}

const KEY: &str = "{{.NetworkSettings.SandboxKey}}";

/// A host with devices for `macvlan` and `host-device`.
fn host(suite: Suite) -> Host {
    let host = Host::up(suite);
    host.write_program("/usr/lib/cni/guard", GUARD);
    make_devices(&host);
    // The first rule of a family makes its table.
    host.exec(&["ip6tables", "-P", "FORWARD", "ACCEPT"]);
    host
}

/// Makes the missing devices. When a device's namespace is destroyed, the kernel also removes its peer,
/// some time later.
fn make_devices(host: &Host) {
    for (device, peer) in [("wire0", "wire1"), ("card0", "card1")] {
        let make = format!(
            "ip link show {device} || ip link add {device} type veth peer name {peer}
             ip link set {device} up"
        );
        let made = || host.try_exec(&["sh", "-ec", &make]).is_ok();
        assert!(within(Duration::from_secs(10), made), "there is no {device}");
    }
}

fn rows_of(suite: Suite) -> Vec<Row> {
    let mut rows = rows();
    rows.retain(|row| !row.only_forky || suite == Suite::Forky);
    rows
}

/// Writes a conflist, and returns its content.
fn write_conflist(host: &Host, name: &str, plugins: &Value) -> String {
    let conflist = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins}).to_string();
    host.write(&format!("/etc/cni/net.d/{name}.conflist"), &conflist);
    conflist
}

/// The plugins with their own subnets and bridge, for chains that are used at the same time.
fn apart(plugins: &Value, number: &str) -> Value {
    let text = plugins.to_string();
    let text = [("10.210.", "10.1"), ("10.211.", "10.2")]
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, &format!("{to}{number:0>2}.")));
    let text = text.replace("fd00:d", &format!("fd{number:0>2}:d"));
    let text = text.replace("fidelity", &format!("row{number}-"));
    serde_json::from_str(&text).unwrap()
}

/// Looks at a namespace that the chain ran straight into, and at the host's side of it.
fn in_a_pod<T>(host: &Host, look: impl FnOnce() -> T) -> T {
    host.exec(&["ip", "netns", "add", "pod"]);
    host.exec(&["ip", "-n", "pod", "link", "set", "lo", "up"]);
    let ports = r#"CAP_ARGS={"portMappings":[
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}"#;
    let cni = |verb| {
        let cni = ["cnm-cni", "cni", verb, "fidelity", "/run/netns/pod"];
        host.exec(&[&["env", "CNI_IFNAME=eth0", ports], &cni[..]].concat())
    };
    cni("add");
    let seen = look();
    cni("del");
    host.exec(&["ip", "netns", "del", "pod"]);
    seen
}

/// The network of a pod that containerd makes for a kubelet, and the host's side of it.
fn as_a_kubelets_pod(host: &Host, kubelet: &Kubelet<'_>, conflist: &str) -> BTreeSet<String> {
    let pod = kubelet.run("pod", conflist.contains("portmap").then_some(8080));
    let network = settled(host, &format!("--net={}", pod.netns()));
    kubelet.remove(pod);
    network
}

/// How many spares a network has when the container of this row starts: none, or the one that the container gets.
/// Both on the newest Docker; the older two share them.
fn ways(suite: Suite, row: usize) -> Vec<usize> {
    match suite {
        Suite::Forky => vec![0, 1],
        Suite::Trixie => vec![row % 2],
        Suite::Bookworm | Suite::Podman => vec![1 - row % 2],
    }
}

/// The network of a container, and the host's side of it.
fn as_a_container(host: &Host, spares: usize) -> BTreeSet<String> {
    create_network(host, "web", "fidelity", spares);
    let spare = host.spares(spares);
    let publishes = host.exec(&["cat", "/etc/cni/net.d/fidelity.conflist"]).contains("portmap");
    host.run("alice", "web", if publishes { &["-p", "8080:80"] } else { &[] });
    assert!(have_claimed(host, &spare));
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "alice"]);
    // Before Docker 28 the process may be a little ahead of its network.
    let network = settled(host, &format!("--net=/proc/{pid}/ns/net"));
    host.remove(&["alice"], &["web"]);
    // The next one is made beside none.
    assert!(within(Duration::from_secs(20), || host.attachments(&[]).is_empty()));
    network
}

fn create_network(host: &Host, name: &str, conflist: &str, spares: usize) {
    let options = [format!("conflist={conflist}"), format!("spares={spares}")];
    host.create_network_with(name, &options).unwrap();
}

/// Whether containers have these attachments now, which were spares.
fn have_claimed(host: &Host, spares: &[Value]) -> bool {
    let attachments = host.attachments(&[]);
    let is_claimed = |spare: &Value| {
        attachments
            .iter()
            .any(|it| it["attachment"] == spare["attachment"] && it["state"] != "spare")
    };
    spares.iter().all(is_claimed)
}

/// The states of container and host, once they do not change any more.
fn settled(host: &Host, netns: &str) -> BTreeSet<String> {
    let last = RefCell::default();
    let settled = within(Duration::from_secs(30), || {
        let now = network(host, netns);
        last.replace(now.clone()) == now
    });
    assert!(settled, "the network keeps changing");
    last.into_inner()
}

/// The host's side: a line each.
const HOST_SIDE: &str = r#"
    ip -oneline link | sed 's/\\.*//; s/@[^:]*//; s/^[0-9]*: /host-link /'
    ip -oneline address | awk '$4 !~ /^fe80:/ {print "host-address", $4, $5, $6, "on", $2}'
    for family in -4 -6; do
        ip $family route show table all |
            sed '/ table local /d; /^fe80::/d; /^multicast/d; s/ linkdown//; s/^/host-route /'
    done
    for save in iptables-save ip6tables-save; do
        $save 2>/dev/null | sed '/^#/d; s/^:/chain /; s/\[[0-9:]*\]//' |
            awk -v save=$save '/^\*/ {table = $1} {print "host-rules", save, table, $0}'
    done
    nft --stateless list ruleset 2>/dev/null |
        awk '/^table/ {table = $2 " " $3; chain = ""} /^\tchain/ {chain = $2}
             {print "host-rules nft", table, chain, $0}'
    # How many groups a port has heard of, it learns by and by.
    bridge -oneline -d link |
        sed 's/@[^:]*//; s/mcast_n_groups [0-9]*//; s/^[0-9]*: /host-port /'
    bridge -oneline vlan | sed 's/^/host-port vlan /'
    tc qdisc | sed 's/^/host-qdisc /'
    for link in $(ls /sys/class/net); do
        for at in root ingress; do
            tc filter show dev $link $at | sed "s/^/host-qdisc $link $at /"
        done
    done
"#;

/// The rules inside of a namespace: a line each, without those of Docker's DNS.
const RULES_INSIDE: &str = r#"
    for save in iptables-nft-save ip6tables-nft-save iptables-legacy-save ip6tables-legacy-save; do
        $save 2>/dev/null | awk -v save=$save '
            /^\*/ {table = $1} /^:.* DROP/ {print save, table, $1, $2} /^-A/ {print save, table, $0}'
    done | grep -v -e DOCKER_ -e 127.0.0.11 || true
    nft --stateless list ruleset inet |
        awk '/^table/ {table = $3; chain = ""} /^\tchain/ {chain = $2} {print table, chain, $0}'
"#;

/// What is asked inside of a namespace, at once. Counters, and secrets that the kernel generates, are not settings.
const ASKED_INSIDE: [&str; 8] = [
    "ip -d -j address",
    "ip -4 -d -j route show table all",
    "ip -4 -j rule",
    "ip -6 -d -j route show table all",
    "ip -6 -j rule",
    "ip -j neighbour show nud permanent dev eth0",
    "cd /proc/sys/net && grep -r . core ipv4 ipv6 2>/dev/null |
        grep -v -e _secret -e nf_conntrack -e /lo/ -e neigh/default -e '/mtu:' -e flush -e tunl0",
    RULES_INSIDE,
];

/// All that the kernel shows about the network of a namespace and of the host, a line each, without what
/// must differ.
fn network(host: &Host, netns: &str) -> BTreeSet<String> {
    const END: &str = "=== answered ===";
    let script = ASKED_INSIDE.map(|asked| format!("{asked}\necho; echo '{END}'\n")).concat();
    let told = host.exec(&["nsenter", netns, "sh", "-c", &script]);
    let answers: Vec<&str> = told.split(END).map(str::trim).collect();
    let [links, v4_routes, v4_rules, v6_routes, v6_rules, neighbours, settings, rules, ""] =
        answers[..]
    else {
        panic!("{told}");
    };
    let json = |text: &str| -> Vec<Value> {
        if text.is_empty() { Vec::new() } else { serde_json::from_str(text).unwrap() }
    };
    let mut lines = BTreeSet::new();
    let mut replaced = Vec::new();
    let mut addresses = Vec::new();
    for link in json(links) {
        let name = text(&link, "ifname");
        if name != "eth0" && !name.starts_with("side0") {
            continue;
        }
        replaced.push((text(&link, "address"), "MAC".to_owned()));
        for (position, address) in link["addr_info"].as_array().unwrap().iter().enumerate() {
            let alias = if address["scope"] == "link" {
                "LINKLOCAL".into()
            } else {
                format!("IP{position}")
            };
            addresses.push((text(address, "local"), alias.clone()));
            replaced.push((text(address, "local"), alias));
        }
        let attributes = [
            "mtu",
            "flags",
            "group",
            "txqlen",
            "promiscuity",
            "allmulti",
            "master",
            "ifalias",
            "altnames",
            "link_type",
            "min_mtu",
            "max_mtu",
            "num_tx_queues",
        ];
        for attribute in attributes {
            lines.insert(format!("link {name} {attribute} {}", link[attribute]));
        }
        lines.insert(format!("link {name} kind {}", link["linkinfo"]["info_kind"]));
        for setting in ["forward_delay", "ageing_time"] {
            lines.insert(format!(
                "link {name} {setting} {}",
                link["linkinfo"]["info_data"][setting]
            ));
        }
        for setting in ["hairpin", "cost"] {
            let value = &link["linkinfo"]["info_slave_data"][setting];
            lines.insert(format!("link {name} {setting} {value}"));
        }
        for address in link["addr_info"].as_array().unwrap() {
            let mut address = address.clone();
            // The lifetime is unlimited; and how an address was added does not matter.
            for key in ["valid_life_time", "preferred_life_time", "nodad", "tentative", "protocol"]
            {
                address.as_object_mut().unwrap().remove(key);
            }
            lines.insert(format!("address {name} {address}"));
        }
    }
    for (routes, rules) in [(v4_routes, v4_rules), (v6_routes, v6_rules)] {
        for mut route in json(routes) {
            let is_default = route["dst"] == "default" && route.get("table").is_none();
            // The kernel's own routes, which come and go with addresses, some of them seconds later.
            if route["dev"] == "lo" || route["table"] == "local" || route["type"] == "multicast" {
                continue;
            }
            let object = route.as_object_mut().unwrap();
            // The protocol shows who made a route. The default route is Docker's: only its target has to be
            // right.
            object.remove("protocol");
            if is_default {
                object.retain(|key, _| ["dst", "gateway", "dev"].contains(&key.as_str()));
            }
            lines.insert(format!("route {route}"));
        }
        for rule in json(rules) {
            lines.insert(format!("rule {rule}"));
        }
    }
    for neighbour in json(neighbours) {
        lines.insert(format!("neighbour {neighbour}"));
    }
    for setting in settings.lines() {
        let (name, value) = setting.split_once(':').unwrap();
        lines.insert(format!("sysctl {name} {value}"));
    }
    for line in rules.lines() {
        lines.insert(format!("netfilter {line}"));
    }
    let inside = lines.into_iter().map(|line| {
        replaced.iter().fold(line, |line, (from, to)| line.replace(&format!("{from:?}"), to))
    });
    let outside = host.exec(&["sh", "-c", HOST_SIDE]);
    let outside = outside.lines().map(|line| {
        let line = anonymous(line, &addresses);
        // Not every nft shows the comments of iptables. Of plugins, FORWARD has one jump only.
        let by_nft = line.starts_with("host-rules nft") && line.contains(" filter FORWARD ");
        let by_table = line.contains(" inet cnm_cni_forward");
        match line.contains("cnm-cni ") || by_table || (by_nft && line.contains("mark")) {
            true => format!("{EXEMPTION} {line}"),
            false => line,
        }
    });
    inside.chain(outside).collect()
}

/// A line of the host's side without what differs between attachments: addresses, and words that plugins
/// make from random numbers or from the attachment's id.
fn anonymous(line: &str, addresses: &[(String, String)]) -> String {
    let mut words = vec![String::new()];
    for character in line.chars() {
        let belongs = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
        let word = words.last_mut().unwrap();
        match word.chars().last() {
            Some(last) if belongs(last) != belongs(character) => words.push(character.into()),
            _ => word.push(character),
        }
    }
    words.iter().map(|word| anonymous_word(word, addresses)).collect()
}

fn anonymous_word(word: &str, addresses: &[(String, String)]) -> String {
    const HASHED: [&str; 5] = ["CNI-DN-", "CNI-", "veth", "bwp", "cnitool-"];
    // An address may be followed by a port, and a name by a colon.
    let known = addresses.iter().find_map(|(address, name)| {
        let rest = word.strip_prefix(address.as_str())?;
        let ends = rest.is_empty() || rest.starts_with(':');
        ends.then(|| format!("{name}{rest}"))
    });
    let hashed = HASHED.iter().find(|prefix| {
        let rest = word.strip_prefix(**prefix).unwrap_or_default().trim_end_matches(':');
        rest.len() >= 8 && rest.chars().all(|c| c.is_ascii_hexdigit())
    });
    // The driver's ids are half as long as containerd's.
    let is_id = [32, 64].contains(&word.len()) && word.chars().all(|c| c.is_ascii_hexdigit());
    match (known, hashed) {
        (Some(known), _) => known,
        (None, Some(&"cnitool-")) => "ID".to_owned(),
        (None, Some(prefix)) => format!("{prefix}*"),
        (None, None) if is_id => "ID".to_owned(),
        (None, None) => word.to_owned(),
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}
