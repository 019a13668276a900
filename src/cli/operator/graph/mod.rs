//! `cnm-cni graph`: a picture of ports, uplinks, bridges and containers.
//!
//! | file | its part |
//! |---|---|
//! | `model` | what there is to show, whatever the format |
//! | `text`, `languages` | lines of text; dot and Mermaid |
//! | `layout`, `svg`, `html` | where everything is; the drawing; the page around it |
//! | `escape` | others' text in each of them |

mod escape;
mod html;
mod languages;
mod layout;
mod model;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;

use self::model::{Graph, Uplink};
use super::candidates;
use super::doctor;
use super::known::Sources;
use crate::cli::client::answer_of;
use crate::cli::output::{self, write};
use crate::cli::progress::Progress;
use crate::docker::Wanted;
use crate::netlink::{self, MAIN_TABLE, Netlink};

const HELP: &str = "\
What is shown:
  at the left    uplinks, which have a default route, and published ports
  in the middle  bridges and masters, with their networks and pools
  at the right   containers; what nobody can name is '-'; orphans are dashed
  in red         what is broken on the host, which is listed beside it; with
                 --check also in containers, as 'cnm-cni doctor' finds it

Examples:
  cnm-cni graph                       # as text
  cnm-cni graph -o net.html           # one page with a search
  cnm-cni graph --network web --format svg -o web.svg
  cnm-cni graph --format dot | dot -Tpng >net.png
  cnm-cni graph --format mermaid      # for the pages of code hosts

Exit status: 0, also if something is broken; 1 if it cannot be drawn, or there is no such network.

See also: 'cnm-cni ls', 'cnm-cni doctor'.";

/// Draw a picture of ports, bridges and containers, with what is broken in red
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// How to draw it [default: what the name of FILE ends in, or text]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// Only what is on this network: its name, or the beginning of its id
    #[arg(long, value_name = "NETWORK", add = candidates::networks())]
    network: Option<String>,

    /// Also look into each container, and ask its plugins: 10 to 40 ms for each
    #[arg(long)]
    check: bool,

    /// File to write it into; a file that is there is replaced
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    sources: Sources,
}

/// What the picture is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines of text, a tree for each bridge
    Text,
    /// The language of Mermaid
    Mermaid,
    /// The language of Graphviz
    Dot,
    /// A drawing
    Svg,
    /// One page with the drawing, a table and a search; nothing in it comes from elsewhere
    Html,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<()> {
    let known = args.sources.ask(outer)?;
    let network = args.network.as_deref();
    if let Some(name) = network {
        known.wanted_networks(name)?;
    }
    let progress = Progress::of("checking");
    let checks = doctor::checks(&args.sources, &known, !args.check)?;
    drop(progress);
    let findings = doctor::everything(&known, &checks);
    let uplinks = answer_of(uplinks())?.context("cannot read the host's routes")?;
    let graph = Graph::of(&known, (findings, &checks), uplinks, network);
    let format = args.format.or_else(|| Format::of(args.output.as_deref()?.extension()?));
    let drawn = match format.unwrap_or(Format::Text) {
        Format::Text => {
            let colour = args.output.is_none() && output::Format::Table.style().colour;
            text::draw(&graph, colour)
        }
        Format::Mermaid => languages::as_mermaid(&graph),
        Format::Dot => languages::as_dot(&graph),
        Format::Svg => svg::file(&graph),
        Format::Html => html::page(&graph),
    };
    match &args.output {
        None => write(&drawn),
        Some(file) => std::fs::write(file, drawn)
            .with_context(|| format!("cannot write the picture into {}", file.display())),
    }
}

impl Format {
    /// The format of a file whose name ends so.
    fn of(extension: &OsStr) -> Option<Self> {
        match extension.to_str()? {
            "txt" => Some(Self::Text),
            "mmd" | "mermaid" => Some(Self::Mermaid),
            "dot" | "gv" => Some(Self::Dot),
            "svg" => Some(Self::Svg),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

/// The links of this host with a default route.
async fn uplinks() -> Result<Vec<Uplink>, netlink::Error> {
    let own = Netlink::own()?;
    let routes = own.all_routes().await?.into_iter();
    let default = routes.filter(|route| route.is_default() && route.table == MAIN_TABLE);
    let mut indexes: Vec<u32> = default.filter_map(|route| route.link).collect();
    indexes.sort_unstable();
    indexes.dedup();
    let mut uplinks = Vec::new();
    for index in indexes {
        // It may go meanwhile.
        let Some(link) = own.link_by_index(index).await? else { continue };
        let addresses = own.addresses(index).await?.into_iter().map(|address| address.net);
        // What every link has tells nothing.
        let is_told = |net: &ipnet::IpNet| !matches!(net, ipnet::IpNet::V6(net) if net.addr().is_unicast_link_local());
        let addresses = addresses.filter(is_told).map(|net| net.to_string()).collect();
        uplinks.push(Uplink { name: link.name, addresses });
    }
    Ok(uplinks)
}
