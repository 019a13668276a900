//! The output of each verb for one sample, as a table and as JSON, so that no change is unnoticed.
//!
//! `INSTA_UPDATE=always cargo test snapshots` writes them anew; the difference is then looked at.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::known::Known;
use super::names::{Container, End, Names};
use super::status::Status;
use super::{events, ls, named_events, net, plugins, pools, show};
use crate::cli::output::Format;
use crate::cli::table::{Style, Table};
use crate::journal::Event;
use crate::lifecycle::inventory::Inventory;

const WEB: &str = "a1b2c3d4e5f60718a1b2c3d4e5f60718a1b2c3d4e5f60718a1b2c3d4e5f60718";
const BACK: &str = "b2c3d4e5f60718a1b2c3d4e5f60718a1b2c3d4e5f60718a1b2c3d4e5f60718a1";

/// Two containers of a compose project, an orphan, and a pod on the same conflist.
pub(super) fn sample() -> Known {
    let attachment = |id: &str, endpoint: &str, address: &str, ports: serde_json::Value| {
        json!({
            "attachment": id, "if_name": format!("cni{}", &id[20..]), "network": WEB,
            "endpoint": endpoint, "conflist": "front", "plugins": ["bridge", "portmap"],
            "phase": "settled", "made": "2026-08-01T03:00:00Z", "addresses": [address],
            "gateways": ["10.22.0.1"], "mac": "02:42:0a:16:00:11", "mtu": 1500,
            "host_links": ["veth3f2a91bc", "cni0"], "ports": ports, "is_gateway": true,
            "sandbox": "/var/run/docker/netns/abc", "removal": null,
        })
    };
    let ports = json!([{
        "host_ip": null, "host_port": 8080, "container_port": 80, "protocol": "tcp",
    }]);
    let mut orphan =
        attachment("0f00000000000000000000000000000c", "e3", "10.22.0.19/24", json!([]));
    orphan["phase"] = json!("deleting");
    orphan["removal"] = json!({
        "since": "2026-08-01T03:10:00Z", "attempts": 11, "given_up": true, "error": "no bridge",
    });
    let lease = |address: &str, id: &str, if_name: &str| json!({"address": address, "container_id": id, "if_name": if_name});
    let inventory = json!({
        "version": 1,
        "driver": {
            "version": "0.1.0", "started": "2026-08-01T02:00:00Z", "state_dir": "/var/lib/cnm-cni",
            "conf_dir": "/etc/cni/net.d", "cni_path": ["/usr/lib/cni"], "max_networks": 1000,
            "max_attachments": 10000,
        },
        "networks": [
            {"network": WEB, "conflist": "front", "internal": false,
             "options": {"conflist": "front", "forward": "always"}, "docker_pools": []},
            {"network": BACK, "conflist": "gone", "internal": true, "options": {},
             "docker_pools": ["10.77.0.0/16"]},
        ],
        "attachments": [
            attachment("0a00000000000000000000000000000a", "e1", "10.22.0.17/24", ports),
            attachment("0b00000000000000000000000000000b", "e2", "10.22.0.18/24", json!([])),
            orphan,
        ],
        "conflists": [{
            "conflist": "front", "file": "/etc/cni/net.d/10-front.conflist",
            "plugins": ["bridge", "portmap"], "ipam": "host-local", "device": "cni0",
            "pools": [{"subnet": "10.22.0.0/24", "first": "10.22.0.16", "last": "10.22.0.23",
                       "gateway": "10.22.0.1", "size": 8}],
            "leases": [
                lease("10.22.0.16", "4f3c9a7e", "eth0"),
                lease("10.22.0.17", "0a00000000000000000000000000000a", "cni00000000000a"),
                lease("10.22.0.18", "0b00000000000000000000000000000b", "cni00000000000b"),
                lease("10.22.0.19", "0f00000000000000000000000000000c", "cni00000000000c"),
                lease("10.22.0.20", "0e00000000000000000000000000000d", "cni00000000000d"),
                lease("10.22.0.21", "4f3c9a7f", "eth0"),
                lease("10.22.0.22", "4f3c9a80", "eth0"),
                lease("10.22.0.23", "4f3c9a81", "eth0"),
            ],
        }],
        "problems": ["/etc/cni/net.d/20-broken.conflist: not valid JSON"],
    });
    let inventory: Inventory = serde_json::from_value(inventory).unwrap();
    let container = |name: &str, service: &str, endpoint: &str| Container {
        id: format!("{service}0000000000"),
        name: name.to_owned(),
        state: "running".to_owned(),
        project: Some("shop".to_owned()),
        service: Some(service.to_owned()),
        ends: vec![End {
            network: "web".to_owned(),
            network_id: WEB.parse().ok(),
            endpoint: endpoint.parse().ok(),
        }],
    };
    let names = Names {
        containers: vec![container("shop-web-1", "web", "e1"), container("shop-db-1", "db", "e2")],
        networks: [(WEB, "web"), (BACK, "back")]
            .map(|(id, name)| (id.parse().unwrap(), name.to_owned()))
            .into(),
        of_driver: vec![WEB.parse().unwrap(), BACK.parse().unwrap()],
        unknown: None,
    };
    Known { inventory, names, no_room: None }
}

fn now() -> Timestamp {
    "2026-08-01T03:20:00Z".parse().unwrap()
}

/// The output in 80 columns, in full width, and as JSON.
fn all_ways<T: Serialize>(table: &Table, rows: &T) -> String {
    let style = Style { width: Some(80), header: true, colour: false };
    let narrow = table.text(style);
    for line in narrow.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let wide = table.text(Style { width: None, ..style });
    format!("{narrow}\n{wide}\n{}\n", serde_json::to_string_pretty(rows).unwrap())
}

#[test]
fn ls() {
    let known = sample();
    let rows: Vec<_> = known.rows().collect();
    insta::assert_snapshot!("ls", all_ways(&ls::table(&rows, now()), &rows));
}

#[test]
fn net() {
    let known = sample();
    let rows = net::rows(&known);
    let details: String = rows.iter().map(net::Row::details).collect();
    insta::assert_snapshot!("net", all_ways(&net::table(&rows), &rows) + &details);
}

#[test]
fn pools() {
    let known = sample();
    let fills = pools::fills(&known);
    insta::assert_snapshot!("pools", all_ways(&pools::table(&fills), &fills));
    let holders = pools::holders(&known, &known.inventory.conflists[0]);
    insta::assert_snapshot!("pools_of_one", all_ways(&pools::owners(&holders), &holders));
}

#[test]
fn status() {
    let known = sample();
    let status = Status::of(&known, plugins::rows(&history(), now()), now());
    let json = serde_json::to_string_pretty(&status).unwrap();
    let screen = status.screen(Format::Table, now());
    insta::assert_snapshot!("status", format!("{screen}\n{json}\n"));
}

/// A container's life, and one that was refused.
fn history() -> Vec<Event> {
    let run = |plugin: &str, verb: &str, ms: f64, error: serde_json::Value| json!({"plugin": plugin, "verb": verb, "ms": ms, "error": error});
    let of_web = |time: &str, kind: &str, ms: f64| {
        json!({
            "time": time, "kind": kind, "container": "shop-web-1", "container_id": "web0000000000",
            "project": "shop", "service": "web", "network_name": "web", "network": WEB, "endpoint": "e1",
            "attachment": "0a00000000000000000000000000000a", "conflist": "front",
            "addresses": ["10.22.0.17/24"], "ms": ms,
            "ports": [{"host_ip": null, "host_port": 8080, "container_port": 80, "protocol": "tcp"}],
        })
    };
    let mut attach = of_web("2026-08-01T03:00:00.123Z", "attach", 141.2);
    let none = || json!(null);
    attach["plugins"] =
        json!([run("bridge", "ADD", 41.2, none()), run("portmap", "ADD", 83.0, none())]);
    let settle = of_web("2026-08-01T03:00:00.323Z", "settle", 1.2);
    let mut detach = of_web("2026-08-01T03:05:00Z", "detach", 60.9);
    detach["plugins"] =
        json!([run("portmap", "DEL", 40.0, none()), run("bridge", "DEL", 12.5, none())]);
    detach["attempt"] = json!(1);
    let error = "plugin type=\"bridge\" name=\"front\" failed (add): no more addresses\nin range";
    let refuse = json!({
        "time": "2026-08-01T03:01:00Z", "kind": "refuse", "network": WEB, "endpoint": "e9", "ms": 50.0,
        "conflist": "front", "detail": "CreateEndpoint", "error": error,
        "plugins": [run("bridge", "ADD", 44.0, json!("no more addresses"))],
    });
    let start = json!({"time": "2026-07-31T02:00:00Z", "kind": "start", "detail": "version 0.1.0"});
    let told = [start, attach, settle, refuse, detach];
    told.map(|event| serde_json::from_value(event).unwrap()).into()
}

#[test]
fn events() {
    let mut happened = named_events::NamedEvents::default();
    history().into_iter().for_each(|event| happened.add(event));
    let events = happened.named();
    let now = now().to_zoned_datetime(jiff::tz::TimeZone::UTC);
    let table = events::table(&events, &named_events::Wanted::default(), &now);
    insta::assert_snapshot!("events", all_ways(&table, &events));
}

#[test]
fn show() {
    let known = sample();
    let shown: Vec<_> = show::found(&known, "shop-web-1")
        .into_iter()
        .map(|it| show::Shown { row: known.row(it), interface: Some("eth0".to_owned()) })
        .collect();
    let text = shown[0].details(&known, now());
    let json = serde_json::to_string_pretty(&shown).unwrap();
    insta::assert_snapshot!("show", format!("{text}\n{json}\n"));
}

/// By every name of a thing the same attachment is found.
#[test]
fn a_thing_is_found_by_each_of_its_names() {
    let known = sample();
    let ids = |text: &str| -> Vec<&str> {
        let found = show::found(&known, text);
        found.iter().map(|it| &it.attachment[..2]).collect()
    };
    for text in ["shop-web-1", "10.22.0.17", ":8080", "0a000000", "cni00000000000a"] {
        assert_eq!(ids(text), ["0a"], "{text}");
    }
    assert_eq!(ids("cni0"), ["0a", "0b", "0f"], "all that are on a bridge");
    assert_eq!(ids("nobody"), [""; 0]);
}

/// Docker lets a container be called like the address, the MAC address, the interface or the id of another one.
#[test]
fn the_exact_name_of_a_container_wins_and_whose_else_the_word_is_is_said() {
    for (word, note) in [
        ("10.22.0.17", "also the address of shop-web-1: 'cnm-cni show 10.22.0.17/32'"),
        ("02-42-0a-16-00-11", "also the MAC address of shop-web-1, 0f0"),
        ("0a000000", "also the interface or id of shop-web-1: 'cnm-cni ls --format wide'"),
        ("cni00000000000a", "also the interface or id of shop-web-1: "),
        ("cafe0123", "also the interface or id of shop-web-1: "),
    ] {
        let mut known = sample();
        known.names.containers[0].id = "cafe0123456789".to_owned();
        known.names.containers[1].name = word.to_owned();
        let ids = |known: &Known| -> Vec<_> {
            show::found(known, word).iter().map(|it| it.attachment[..2].to_owned()).collect()
        };
        assert_eq!(ids(&known), ["0b"], "{word}");
        let said = show::also(&known, word).unwrap_or_default();
        assert!(said.contains(note), "{word}: {said}");
        // One that does not run has no attachment; the other's is not shown in its place.
        known.names.containers[1].ends.clear();
        assert_eq!(ids(&known), [""; 0], "{word}");
        let said = show::nowhere(&known, word);
        assert!(said.starts_with(&format!("container {word} has nothing on")), "{said}");
    }
    assert_eq!(show::also(&sample(), "shop-web-1"), None);
    assert_eq!(show::also(&sample(), "10.22.0.17"), None);
}
