//! What is drawn of a sample, in every format; hostile names; three hundred containers.

use super::layout::{Layout, Placed};
use super::model::{Attached, Device, Graph, Uplink};
use super::{html, languages, svg, text};
use crate::cli::operator::doctor::Finding;
use crate::cli::operator::known::Known;
use crate::cli::operator::snapshots::sample;
use crate::lifecycle::{ChainCheck, Check, Fault};

fn uplink() -> Uplink {
    Uplink { name: "eth0".into(), addresses: vec!["192.0.2.2/24".into()] }
}

/// The check of the first attachment, with this fault on the host.
fn check(known: &Known, fault: Fault) -> Check {
    let attachment = &known.inventory.attachments[0];
    Check {
        endpoint: attachment.endpoint.clone(),
        network: attachment.network.clone(),
        conflist: attachment.conflist.clone(),
        sandbox: None,
        interface: None,
        addresses: attachment.addresses.clone(),
        chain: ChainCheck::Ok,
        differences: vec![fault.to_string()],
        faults: vec![fault],
        notes: Vec::new(),
        repaired: Vec::new(),
    }
}

/// The sample with its bridge down.
fn broken() -> Graph {
    let known = sample();
    let down = Fault::new("interface cni0 of the host is down", "ip link set cni0 up");
    let checks = [check(&known, down.of_link("cni0"))];
    let finding = Finding {
        what: "interface cni0 of the host is down".into(),
        remedy: Some("ip link set cni0 up".into()),
        containers: vec!["shop-web-1".into()],
    };
    Graph::of(&known, (vec![finding], &checks), vec![uplink()], None)
}

#[test]
fn the_sample_in_every_format() {
    let graph = broken();
    insta::assert_snapshot!("text", text::draw(&graph, false));
    insta::assert_snapshot!("mermaid", languages::as_mermaid(&graph));
    insta::assert_snapshot!("dot", languages::as_dot(&graph));
    insta::assert_snapshot!("svg", svg::file(&graph));
}

#[test]
fn a_fault_of_the_bridge_is_the_bridges_and_another_is_the_containers() {
    let graph = broken();
    let bridge = &graph.devices[1];
    assert_eq!(bridge.name.as_deref(), Some("cni0"));
    assert_eq!(bridge.broken, ["interface cni0 of the host is down; run 'ip link set cni0 up'"]);
    assert!(bridge.attached.iter().filter(|it| it.is_broken()).all(|it| it.is_orphan));
    let known = sample();
    let gone = Fault::by_restart("interface veth3f2a91bc of the host is gone");
    let checks = [check(&known, gone.of_link("veth3f2a91bc"))];
    let graph = Graph::of(&known, (Vec::new(), &checks), Vec::new(), None);
    let bridge = &graph.devices[1];
    let broken: Vec<&str> =
        bridge.attached.iter().filter(|it| it.is_broken()).map(Attached::name).collect();
    assert_eq!((bridge.is_broken(), broken), (false, vec!["shop-web-1", "-"]));
    assert!(text::draw(&graph, true).contains("\x1b[31m"));
}

#[test]
fn one_network_is_drawn_alone() {
    let known = sample();
    let graph = Graph::of(&known, (Vec::new(), &[]), vec![uplink()], Some("back"));
    assert_eq!(graph.devices.len(), 1);
    assert_eq!((graph.networks(), graph.containers()), (1, 0));
    assert!(graph.devices[0].internal && graph.devices[0].is_broken());
    assert!(!languages::as_dot(&graph).contains("u0 --"), "no packet of it goes out");
}

fn attached(name: &str, ports: usize) -> Attached {
    Attached {
        is_orphan: false,
        container: Some(name.to_owned()),
        network: "web".into(),
        conflist: "front".into(),
        addresses: vec!["10.22.0.17".into()],
        interface: Some("veth3f2a91bc".into()),
        ports: (0..ports).map(|port| format!("*:{}->80/tcp", 8080 + port)).collect(),
        state: "up",
        project: None,
        broken: Vec::new(),
    }
}

fn device(name: &str, attached: Vec<Attached>) -> Device {
    let networks = vec!["web".to_owned()];
    Device { name: Some(name.into()), kind: "bridge", networks, attached, ..Device::default() }
}

/// Bridges with as many containers, some of which have ports.
fn of(counts: &[usize]) -> Graph {
    let devices = counts.iter().enumerate().map(|(number, count)| {
        let ends = (0..*count).map(|end| attached(&format!("web-{end:03}"), end % 4));
        device(&format!("br{number}"), ends.collect())
    });
    Graph { uplinks: vec![uplink(); 2], devices: devices.collect(), problems: Vec::new() }
}

#[test]
fn no_box_lies_over_another_and_all_are_within_the_picture() {
    for counts in [&[][..], &[0], &[1, 1, 1], &[300], &[100, 0, 200]] {
        let layout = Layout::of(&of(counts));
        let apart = |mut boxes: Vec<Placed>| {
            boxes.sort_by_key(|it| it.y);
            let all = boxes.windows(2).all(|two| two[0].y + two[0].height < two[1].y);
            all && boxes.iter().all(|it| it.y + it.height < layout.height)
        };
        let bands = || layout.bands.iter();
        let ports = bands().flat_map(|band| band.ports.iter().flatten());
        assert!(apart(layout.uplinks.iter().chain(ports).copied().collect()), "{counts:?}");
        assert!(apart(bands().map(|band| band.device).collect()), "{counts:?}");
        assert!(apart(bands().flat_map(|band| band.attached.iter().copied()).collect()));
        for band in bands() {
            let within = |it: &Placed| {
                let device = band.device;
                it.y >= device.y && it.y + it.height <= device.y + device.height
            };
            assert!(band.attached.iter().chain(band.ports.iter().flatten()).all(within));
        }
    }
}

#[test]
fn the_same_state_is_drawn_the_same_in_whatever_order_it_is_told() {
    let known = sample();
    let mut turned = sample();
    turned.inventory.attachments.reverse();
    turned.inventory.networks.reverse();
    turned.names.containers.reverse();
    let drawn = |known: &Known| html::page(&Graph::of(known, (Vec::new(), &[]), vec![], None));
    assert_eq!(drawn(&known), drawn(&turned));
}

const HOSTILE: &str = "x\"'><script>alert(1)</script>&\\N]`\n\x1b[2J";

fn hostile() -> Graph {
    let mut end = attached(HOSTILE, 1);
    end.network = HOSTILE.into();
    end.interface = Some(HOSTILE.into());
    end.broken = vec![HOSTILE.into()];
    let mut device = device(HOSTILE, vec![end]);
    device.networks = vec![HOSTILE.into()];
    device.broken = vec![HOSTILE.into()];
    let problem = || HOSTILE.to_owned();
    let problems =
        vec![Finding { what: problem(), remedy: Some(problem()), containers: vec![problem()] }];
    Graph {
        uplinks: vec![Uplink { name: HOSTILE.into(), ..uplink() }],
        devices: vec![device],
        problems,
    }
}

#[test]
fn a_name_stays_a_name_in_every_format() {
    let graph = hostile();
    let all = [
        text::draw(&graph, false),
        languages::as_dot(&graph),
        languages::as_mermaid(&graph),
        svg::file(&graph),
        html::page(&graph),
    ];
    for drawn in &all {
        assert!(!drawn.contains(HOSTILE) && !drawn.contains('\x1b'), "{drawn}");
        assert!(drawn.contains("alert"), "{drawn}");
    }
    for drawn in &all[3..] {
        assert!(!drawn.contains("<script>alert"), "{drawn}");
        assert_eq!(tags(drawn), tags(&drawn.replace("alert", "")), "{drawn}");
    }
    // As many quotes as in a picture of harmless names.
    for (drawn, quote) in [(&all[1], '"'), (&all[2], '"')] {
        let open = drawn.lines().filter(|line| {
            let unescaped = line.replace("\\\\", "").replace("\\\"", "");
            unescaped.matches(quote).count() % 2 == 1
        });
        assert_eq!(open.count(), 0, "{drawn}");
    }
}

/// The elements that begin in a text.
fn tags(text: &str) -> Vec<&str> {
    let begun = text.split('<').skip(1);
    begun.map(|rest| rest.split([' ', '>', '\n']).next().unwrap()).collect()
}

#[test]
fn the_page_fetches_nothing() {
    let page = html::page(&broken());
    let links = page.replace("http://www.w3.org/2000/svg", "");
    for word in ["http:", "https:", "//cdn", "src=", "url(", "@import"] {
        assert!(!links.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"), "{page}");
}
