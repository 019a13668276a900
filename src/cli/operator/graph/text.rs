//! The picture as lines of text: a tree for each bridge or master.

use super::model::{Attached, Device, Graph};
use crate::plain;

/// The picture; what is broken is red where there is `colour`.
pub(super) fn draw(graph: &Graph, colour: bool) -> String {
    let mut lines = Vec::new();
    for uplink in &graph.uplinks {
        lines.push(said(&[&uplink.name, "  uplink  ", &uplink.addresses.join(", ")]));
    }
    for device in &graph.devices {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(of_device(device, colour));
    }
    lines.push(String::new());
    lines.push(graph.summary());
    for problem in &graph.problems {
        let of = match problem.containers.is_empty() {
            true => String::new(),
            false => format!(" ({})", problem.containers.join(", ")),
        };
        let run = problem.remedy.as_ref().map(|it| format!("; run '{it}'")).unwrap_or_default();
        lines.push(red(said(&["  ", &problem.what, &of, &run]), colour));
    }
    lines.join("\n") + "\n"
}

fn of_device(device: &Device, colour: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let title = device.title();
    let mut head = format!("{title}  {}", device.kind);
    for (what, all) in [("network", &device.networks), ("pool", &device.pools)] {
        if !all.is_empty() {
            head += &format!("  {what} {}", all.join(", "));
        }
    }
    if device.internal {
        head += "  internal";
    }
    lines.push(red_if(device.is_broken(), said(&[&head]), colour));
    lines.extend(device.broken.iter().map(|why| red(said(&["│ BROKEN: ", why]), colour)));
    let cells: Vec<[String; 5]> = device.attached.iter().map(cells).collect();
    let widths: [usize; 5] = std::array::from_fn(|column| {
        cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    for (index, (attached, row)) in device.attached.iter().zip(&cells).enumerate() {
        let is_last = index + 1 == cells.len();
        let line = match (is_last, attached.is_orphan) {
            (true, true) => "└╌ ",
            (true, false) => "└─ ",
            (false, true) => "├╌ ",
            (false, false) => "├─ ",
        };
        let padded = row.iter().zip(widths).filter(|(_, width)| *width > 0);
        let padded: Vec<String> = padded.map(|(cell, width)| format!("{cell:<width$}")).collect();
        let text = line.to_owned() + padded.join("  ").trim_end();
        lines.push(red_if(attached.is_broken(), text, colour));
        let stem = if is_last { "   " } else { "│  " };
        lines.extend(attached.broken.iter().map(|why| red(said(&[stem, "BROKEN: ", why]), colour)));
    }
    lines
}

fn cells(attached: &Attached) -> [String; 5] {
    let network = &attached.network;
    [
        attached.title(),
        attached.addresses.join(","),
        attached.interface.clone().unwrap_or_default(),
        network.clone(),
        attached.ports.join(","),
    ]
    .map(|cell| plain::line(&cell).into_owned())
}

/// One line of others' words.
fn said(words: &[&str]) -> String {
    plain::line(&words.concat()).into_owned()
}

fn red_if(is_broken: bool, text: String, colour: bool) -> String {
    if is_broken { red(text, colour) } else { text }
}

fn red(text: String, colour: bool) -> String {
    if colour { format!("\x1b[31m{text}\x1b[0m") } else { text }
}
