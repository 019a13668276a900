//! The picture in the languages of other programs: dot (Graphviz) and Mermaid.
//!
//! Both name nodes and edges, and find the places themselves.

use std::fmt::Write as _;

use super::escape::{dot, mermaid};
use super::model::{Attached, Device, Graph};

/// A node: its name in the picture, its lines, and how it looks.
struct Node {
    id: String,
    lines: Vec<String>,
    /// `uplink`, `port`, `device` or `attached`.
    column: &'static str,
    is_broken: bool,
    is_orphan: bool,
}

/// An edge between the ids of two nodes.
struct Edge {
    from: String,
    to: String,
    is_broken: bool,
    is_orphan: bool,
}

/// Graphviz: `cnm-cni graph --format dot | dot -Tsvg`.
pub(super) fn as_dot(graph: &Graph) -> String {
    let (nodes, edges) = parts(graph);
    let mut text =
        "graph \"cnm-cni\" {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n".to_owned();
    for node in &nodes {
        let lines: Vec<_> = node.lines.iter().map(|line| dot(line)).collect();
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, "  {} [label=\"{}\"", node.id, lines.join("\\n"));
        text += match node.is_orphan {
            true => ", style=\"rounded,dashed\"",
            false => "",
        };
        text += if node.is_broken { ", color=red, fontcolor=red];\n" } else { "];\n" };
    }
    for edge in &edges {
        let _ = write!(text, "  {} -- {}", edge.from, edge.to);
        text += match (edge.is_broken, edge.is_orphan) {
            (true, true) => " [color=red, style=dashed];\n",
            (true, false) => " [color=red];\n",
            (false, true) => " [style=dashed];\n",
            (false, false) => ";\n",
        };
    }
    for column in ["port", "device", "attached"] {
        let ids: Vec<_> = nodes.iter().filter(|it| it.column == column).map(|it| &*it.id).collect();
        if !ids.is_empty() {
            let _ = writeln!(text, "  {{ rank=same; {}; }}", ids.join("; "));
        }
    }
    text + "}\n"
}

/// Mermaid, as the pages of code hosts draw it.
pub(super) fn as_mermaid(graph: &Graph) -> String {
    let (nodes, edges) = parts(graph);
    let mut text = "graph LR\n".to_owned();
    for node in &nodes {
        let lines: Vec<_> = node.lines.iter().map(|line| mermaid(line)).collect();
        let _ = writeln!(text, "  {}[\"{}\"]", node.id, lines.join("<br/>"));
    }
    for edge in &edges {
        let line = if edge.is_orphan { "-.-" } else { "---" };
        let _ = writeln!(text, "  {} {line} {}", edge.from, edge.to);
    }
    text += "  classDef broken stroke:#d11,color:#d11\n  classDef orphan stroke-dasharray:4\n";
    let of = |is_one: fn(&Node) -> bool| {
        let ids: Vec<_> = nodes.iter().filter(|it| is_one(it)).map(|it| &*it.id).collect();
        ids.join(",")
    };
    for (ids, class) in [(of(|it| it.is_broken), "broken"), (of(|it| it.is_orphan), "orphan")] {
        if !ids.is_empty() {
            let _ = writeln!(text, "  class {ids} {class}");
        }
    }
    let broken = edges.iter().enumerate().filter(|(_, edge)| edge.is_broken);
    let broken: Vec<_> = broken.map(|(index, _)| index.to_string()).collect();
    if !broken.is_empty() {
        let _ = writeln!(text, "  linkStyle {} stroke:#d11", broken.join(","));
    }
    text
}

/// All nodes, and the edges between them. No id has a word of others.
fn parts(graph: &Graph) -> (Vec<Node>, Vec<Edge>) {
    let (mut nodes, mut edges) = (Vec::new(), Vec::new());
    for (index, uplink) in graph.uplinks.iter().enumerate() {
        let lines = [&uplink.name].into_iter().chain(&uplink.addresses).cloned().collect();
        nodes.push(node(format!("u{index}"), "uplink", lines, false));
    }
    let (mut ports, mut ends) = (0, 0);
    for (index, device) in graph.devices.iter().enumerate() {
        let own = format!("d{index}");
        nodes.push(node(own.clone(), "device", lines_of(device), device.is_broken()));
        let uplinks = 0..if device.internal { 0 } else { graph.uplinks.len() };
        edges.extend(uplinks.map(|uplink| edge(format!("u{uplink}"), &own, device.is_broken())));
        for attached in &device.attached {
            let id = format!("c{ends}");
            ends += 1;
            let is_broken = attached.is_broken();
            let of_attached = node(id.clone(), "attached", lines_of_attached(attached), is_broken);
            nodes.push(Node { is_orphan: attached.is_orphan, ..of_attached });
            let to_it = edge(own.clone(), &id, is_broken || device.is_broken());
            edges.push(Edge { is_orphan: attached.is_orphan, ..to_it });
            for port in &attached.ports {
                let of_port = format!("p{ports}");
                ports += 1;
                nodes.push(node(of_port.clone(), "port", vec![port.clone()], false));
                edges.push(edge(of_port, &own, is_broken || device.is_broken()));
            }
        }
    }
    (nodes, edges)
}

fn node(id: String, column: &'static str, lines: Vec<String>, is_broken: bool) -> Node {
    Node { id, lines, column, is_broken, is_orphan: false }
}

fn edge(from: String, to: &str, is_broken: bool) -> Edge {
    Edge { from, to: to.to_owned(), is_broken, is_orphan: false }
}

fn lines_of(device: &Device) -> Vec<String> {
    let mut lines = vec![device.title(), device.kind.to_owned()];
    lines.extend(device.networks.iter().map(|network| format!("network {network}")));
    lines.extend(device.pools.iter().cloned());
    lines
}

fn lines_of_attached(attached: &Attached) -> Vec<String> {
    let mut lines = vec![attached.title()];
    lines.extend(attached.addresses.iter().cloned());
    lines.extend(attached.interface.clone());
    lines
}
