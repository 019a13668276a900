//! The picture as SVG: the [`Layout`] with words.

use std::fmt::Write as _;

use super::escape::{fitting, xml};
use super::layout::{self, BOX, LEFT, LINE, Layout, MIDDLE, Placed, RIGHT, WIDTH};
use super::model::{Attached, Device, Graph, Uplink};

/// Colours in light and in dark; also those of the page around the picture.
pub(super) const COLOURS: &str = include_str!("colours.css");
const STYLE: &str = include_str!("picture.css");

/// The width of a letter, in tenths of a pixel: the font has one width.
const LETTER: u32 = 73;

/// A file of its own.
pub(super) fn file(graph: &Graph) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", picture(graph))
}

/// The element `svg`, as it also stands in a page.
pub(super) fn picture(graph: &Graph) -> String {
    let layout = Layout::of(graph);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"picture\" width=\"{WIDTH}\" \
         height=\"{0}\" viewBox=\"0 0 {WIDTH} {0}\" role=\"img\">\n<title>{1}</title>\n\
         <style>\n{COLOURS}{STYLE}</style>\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{0}\"/>\n",
        layout.height,
        xml(&graph.summary()),
    );
    let summary = if graph.problems.is_empty() { "head" } else { "head bad" };
    text(&mut svg, summary, (LEFT.0, 22), &graph.summary(), WIDTH);
    for (column, name) in
        [(LEFT, "ports and uplinks"), (MIDDLE, "bridges and masters"), (RIGHT, "containers")]
    {
        text(&mut svg, "column", (column.0, 48), name, column.1);
    }
    // Lines first: boxes lie over their ends.
    lines(&mut svg, graph, &layout);
    for (uplink, placed) in graph.uplinks.iter().zip(&layout.uplinks) {
        of_uplink(&mut svg, uplink, *placed);
    }
    let mut number = 0;
    for (device, band) in graph.devices.iter().zip(&layout.bands) {
        of_device(&mut svg, device, band.device);
        for (attached, (placed, ports)) in
            device.attached.iter().zip(band.attached.iter().zip(&band.ports))
        {
            of_attached(&mut svg, attached, *placed, number);
            number += 1;
            for (port, placed) in attached.ports.iter().zip(ports) {
                let tip = format!("{port} of {}", attached.name());
                one_line(&mut svg, "port", LEFT, *placed, &[port], &tip);
            }
        }
    }
    svg + "</svg>\n"
}

/// What leads from where to where.
fn lines(svg: &mut String, graph: &Graph, layout: &Layout) {
    let (left, right) = (LEFT.0 + LEFT.1, MIDDLE.0 + MIDDLE.1);
    for (number, uplink) in layout.uplinks.iter().enumerate() {
        for (device, band) in graph.devices.iter().zip(&layout.bands) {
            if device.internal {
                continue;
            }
            let trunk = Layout::trunk(number);
            let end = band.device.y + BOX / 2;
            let class = if device.is_broken() { "line bad" } else { "line" };
            let (from, to) = (uplink.middle(), MIDDLE.0);
            let _ =
                writeln!(svg, "<path class=\"{class}\" d=\"M{left} {from}H{trunk}V{end}H{to}\"/>");
        }
    }
    for (device, band) in graph.devices.iter().zip(&layout.bands) {
        for (attached, (placed, ports)) in
            device.attached.iter().zip(band.attached.iter().zip(&band.ports))
        {
            let mut class = "line".to_owned();
            if device.is_broken() || attached.is_broken() {
                class += " bad";
            }
            let mut level = |from: u32, y: u32, to: u32, class: &str| {
                let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{from} {y}H{to}\"/>");
            };
            for port in ports {
                level(left, port.middle(), MIDDLE.0, &format!("{class} of-port"));
            }
            let orphan = if attached.is_orphan { " orphan" } else { "" };
            level(right, placed.y + BOX / 2, RIGHT.0, &(class + orphan));
        }
    }
}

fn of_uplink(svg: &mut String, Uplink { name, addresses }: &Uplink, placed: Placed) {
    let tip = format!("{name}: an uplink, with {}", addresses.join(", "));
    let address = addresses.first().map_or("", String::as_str);
    one_line(svg, "uplink", LEFT, placed, &[name, address], &tip);
}

fn of_device(svg: &mut String, device: &Device, placed: Placed) {
    let mut tip = vec![format!("{} ({})", device.title(), device.kind)];
    for (what, all) in
        [("networks", &device.networks), ("conflists", &device.conflists), ("pools", &device.pools)]
    {
        if !all.is_empty() {
            tip.push(format!("{what}: {}", all.join(", ")));
        }
    }
    tip.extend(device.broken.iter().cloned());
    let class = if device.is_broken() { "device bad" } else { "device" };
    open(svg, class, MIDDLE, placed, &tip, "");
    for (number, said) in (0..).zip(layout::lines(device)) {
        let at = (MIDDLE.0 + 10, placed.y + BOX - 8 + number * LINE);
        let class = if number == 0 { "name" } else { "more" };
        text(svg, class, at, &said, MIDDLE.1 - 20);
    }
    *svg += "</g>\n";
}

fn of_attached(svg: &mut String, attached: &Attached, placed: Placed, number: usize) {
    let mut tip = vec![format!("{} on network {}", attached.title(), attached.network)];
    let lines = [
        ("conflist", Some(attached.conflist.clone())),
        ("addresses", Some(attached.addresses.join(", "))),
        ("interface of the host", attached.interface.clone()),
        ("ports", Some(attached.ports.join(", "))),
        ("project", attached.project.clone()),
    ];
    let lines = lines.into_iter().filter_map(|(what, said)| Some((what, said?)));
    tip.extend(
        lines.filter(|(_, said)| !said.is_empty()).map(|(what, said)| format!("{what}: {said}")),
    );
    tip.extend(attached.broken.iter().cloned());
    let mut class = "attached".to_owned();
    for (holds, more) in [(attached.is_broken(), " bad"), (attached.is_orphan, " orphan")] {
        class += if holds { more } else { "" };
    }
    open(svg, &class, RIGHT, placed, &tip, &format!(" data-number=\"{number}\""));
    let address = attached.addresses.first().map_or("", String::as_str);
    words(svg, RIGHT, placed, &[&attached.title(), address]);
    *svg += "</g>\n";
}

/// A box with one line of words.
fn one_line(
    svg: &mut String,
    class: &str,
    column: (u32, u32),
    placed: Placed,
    said: &[&str],
    tip: &str,
) {
    open(svg, class, column, placed, &[tip.to_owned()], "");
    words(svg, column, placed, said);
    *svg += "</g>\n";
}

/// Words at the left of a box, and, if there are two, at its right.
fn words(svg: &mut String, (x, width): (u32, u32), placed: Placed, said: &[&str]) {
    let y = placed.y + BOX - 8;
    let second = said.get(1).copied().unwrap_or_default();
    let taken = (second.chars().count() as u32 * LETTER / 10 + 14).min(width / 2);
    let left = width.saturating_sub(20 + if second.is_empty() { 0 } else { taken });
    text(svg, "name", (x + 10, y), said.first().copied().unwrap_or_default(), left);
    if !second.is_empty() {
        text(svg, "more end", (x + width - 10, y), second, width / 2 - 10);
    }
}

/// Opens a group with its box and its tooltip.
fn open(
    svg: &mut String,
    class: &str,
    (x, width): (u32, u32),
    Placed { y, height }: Placed,
    tip: &[String],
    more: &str,
) {
    let tip: Vec<_> = tip.iter().map(|line| xml(line)).collect();
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<g class=\"{class}\"{more}><title>{}</title>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"4\"/>",
        tip.join("\n")
    );
}

/// A line of words, cut where its place ends.
fn text(svg: &mut String, class: &str, (x, y): (u32, u32), said: &str, width: u32) {
    let most = width * 10 / LETTER;
    let said = xml(&fitting(said, most as usize));
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{said}</text>");
}
