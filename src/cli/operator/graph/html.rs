//! The picture as one page without anything from outside: the SVG, a table of all that is attached, and a
//! search.

use std::fmt::Write as _;

use super::escape::xml;
use super::model::{Attached, Device, Graph};
use super::svg::{self, COLOURS};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing is fetched, whatever the page has in it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// The page.
pub(super) fn page(graph: &Graph) -> String {
    let summary = xml(&graph.summary());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>cnm-cni: {summary}</title>\n<style>\n{COLOURS}{STYLE}</style>\n</head>\n<body>\n\
         <h1>{summary}</h1>\n"
    );
    problems(&mut page, graph);
    page += "<form role=\"search\"><input type=\"search\" autocomplete=\"off\" \
             placeholder=\"container, network, address, port …\" aria-label=\"Search\">\
             <output></output></form>\n";
    let _ = writeln!(page, "<div class=\"scroll drawing\">\n{}</div>", svg::picture(graph));
    page += "<div class=\"scroll\"><table>\n<thead><tr>";
    for name in HEAD {
        let _ = write!(page, "<th>{name}</th>");
    }
    page += "</tr></thead>\n<tbody>\n";
    let attached = graph
        .devices
        .iter()
        .flat_map(|device| device.attached.iter().map(move |attached| (device, attached)));
    for (number, (device, attached)) in attached.enumerate() {
        row(&mut page, number, device, attached);
    }
    let _ = writeln!(page, "</tbody></table></div>\n<script>\n{SCRIPT}</script>\n</body>\n</html>");
    page
}

fn problems(page: &mut String, graph: &Graph) {
    if graph.problems.is_empty() {
        return;
    }
    *page += "<ul class=\"problems\">\n";
    for problem in &graph.problems {
        let _ = write!(page, "<li>{}", xml(&problem.what));
        if !problem.containers.is_empty() {
            let _ = write!(page, " ({})", xml(&problem.containers.join(", ")));
        }
        if let Some(remedy) = &problem.remedy {
            let _ = write!(page, "; run <code>{}</code>", xml(remedy));
        }
        *page += "</li>\n";
    }
    *page += "</ul>\n";
}

const HEAD: [&str; 10] = [
    "container",
    "project",
    "network",
    "conflist",
    "bridge or master",
    "interface",
    "addresses",
    "ports",
    "state",
    "problems",
];

fn row(page: &mut String, number: usize, device: &Device, attached: &Attached) {
    let mut class = String::new();
    let broken = attached.is_broken() || device.is_broken();
    for (holds, word) in [(broken, "bad "), (attached.is_orphan, "orphan")] {
        class += if holds { word } else { "" };
    }
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let problems = [&attached.broken[..], &device.broken[..]].concat().join("; ");
    let cells = [
        attached.name().to_owned(),
        or_none(&attached.project),
        attached.network.clone(),
        attached.conflist.clone(),
        device.title(),
        or_none(&attached.interface),
        attached.addresses.join(", "),
        attached.ports.join(", "),
        attached.state.to_owned(),
        problems,
    ];
    let _ = write!(page, "<tr data-row=\"{number}\" class=\"{}\">", class.trim_end());
    for cell in cells {
        // Writing to a string cannot fail.
        let _ = write!(page, "<td>{}</td>", xml(&cell));
    }
    *page += "</tr>\n";
}
