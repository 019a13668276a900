//! `cnm-cni check`: whether containers still have what their networks gave them.

use std::process::ExitCode;

use serde::Serialize;

use super::candidates;
use super::docker;
use super::named_endpoints::{are_found, wanted};
use super::names::Named;
use crate::cli::client::{DockerArgs, Socket};
use crate::cli::output::{Listing, line};
use crate::cli::progress::Progress;
use crate::cli::table::{Cell, Table, or_none};
use crate::docker::Wanted;
use crate::lifecycle::{ChainCheck, Check};
use crate::server::control::{CHECK, WhatToCheck};

const HELP: &str = "\
Columns:
  PLUGINS  what the plugins' own CHECK says: ok, FAILED, or not asked
  STATE    as ADD left it, repaired, or DIFFERS; details are below the table

Examples:
  cnm-cni check                       # every container on this driver
  cnm-cni check web-1                 # a container, endpoint or address
  cnm-cni check web-1 --repair        # and put back what is missing
  cnm-cni check -q                    # those that differ, for other commands

Exit status: 0 if all is as ADD left it; 1 if anything differs, or what is asked for is not there.

Spares, which no container has yet, are not checked: the driver checks each before a container gets it.

See also: 'cnm-cni doctor', which also finds the reasons; 'cnm-cni ls --spares'.";

/// Check that containers have what their networks gave them; with --repair, put it back
///
/// The running driver runs the plugins' own CHECK in each container, compares the interface,
/// addresses, routes, rules and sysctls there with what ADD left, and likewise what the host has for
/// it: its links, the gateway's addresses, forwarding, masquerading, and the rules in the chain
/// FORWARD with what goes before them. Exit status 1 if anything differs.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// Containers by name or id; endpoints by the beginning of their id, by sandbox or by
    /// address; none for all
    #[arg(value_name = "ENDPOINT|CONTAINER", add = candidates::containers())]
    which: Vec<String>,

    /// Put back what is missing, remove what is too much, and check again. What only a plugin's ADD
    /// can make, and settings of the host itself, are not changed: they are shown with the remedy
    #[arg(long)]
    repair: bool,

    #[command(flatten)]
    listing: Listing,

    #[command(flatten)]
    socket: Socket,

    #[command(flatten)]
    docker: DockerArgs,
}

/// The check of an endpoint with its names, as JSON has it.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    names: Named,
    #[serde(flatten)]
    check: Check,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<ExitCode> {
    let names = docker::names(&args.docker, outer);
    let progress = Progress::of(if args.repair { "repairing" } else { "checking" });
    let checks: Vec<Check> = match wanted(&args.which, &names) {
        Some(which) => {
            let wanted = WhatToCheck { which, repair: args.repair, host_only: false };
            args.socket.ask(CHECK, &wanted)?
        }
        None => Vec::new(),
    };
    drop(progress);
    let all_found = are_found(&args.which, &checks, &names);
    if !all_found && checks.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let rows = checks.into_iter().map(|check| {
        let names = names.of(&check.endpoint, &check.network);
        Row { names, check }
    });
    let rows: Vec<_> = rows.collect();
    let below = match rows.is_empty() {
        true => "No container is on a network of this driver.\n".to_owned(),
        false => details(&rows),
    };
    let differing = rows.iter().filter(|row| !row.check.is_well()).map(|row| row.name().to_owned());
    args.listing.print(&rows, differing, || table(&rows), &below)?;
    let well = rows.iter().all(|row| row.check.is_well());
    Ok(if well && all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Row {
    /// The name that the user knows.
    fn name(&self) -> &str {
        self.names.container.as_deref().unwrap_or_else(|| self.check.endpoint.short())
    }
}

/// A line for each endpoint.
fn table(rows: &[Row]) -> Table {
    let head = ["CONTAINER", "NETWORK", "INTERFACE", "ADDRESSES", "PLUGINS", "STATE"];
    let mut table = Table::new(head).and_wide(["CONFLIST", "ENDPOINT"]);
    for row in rows {
        let check = &row.check;
        let (plugins, failed) = match check.chain {
            ChainCheck::Ok => ("ok", false),
            ChainCheck::Failed(_) => ("FAILED", true),
            ChainCheck::NotAsked(_) => ("not asked", false),
        };
        let state = match (check.is_well(), check.repaired.is_empty()) {
            (true, _) if check.interface.is_none() => "not looked at",
            (true, true) => "as ADD left it",
            (true, false) => "repaired",
            (false, _) => "DIFFERS",
        };
        table.row([
            row.names.container().into(),
            row.names.network(&check.network).into(),
            or_none(check.interface.as_ref()),
            Cell::lines(check.addresses.iter().map(ToString::to_string)),
            Cell::from(plugins).bad_if(failed),
            Cell::from(state).bad_if(!check.is_well()),
            check.conflist.as_str().into(),
            check.endpoint.short().into(),
        ]);
    }
    table
}

/// The problems, a line each.
fn details(rows: &[Row]) -> String {
    let details = rows.iter().flat_map(|row| {
        let (name, check) = (row.name(), &row.check);
        let plugins = match &check.chain {
            ChainCheck::Failed(reason) => Some(line(&format!("{name}: {reason}"))),
            ChainCheck::NotAsked(why) if check.is_well() && check.interface.is_none() => {
                Some(line(&format!("{name}: not looked at: {why}")))
            }
            ChainCheck::Ok | ChainCheck::NotAsked(_) => None,
        };
        let told = |what: &'static str, all: &[String]| -> Vec<String> {
            all.iter().map(|it| line(&format!("{name}: {what}{it}"))).collect()
        };
        let differences = told("", &check.differences);
        let repaired = told("repaired: ", &check.repaired);
        let notes = told("note: ", &check.notes);
        plugins.into_iter().chain(differences).chain(repaired).chain(notes)
    });
    details.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Style;

    fn sound() -> Check {
        Check {
            endpoint: "0123456789abcdef".parse().unwrap(),
            network: "0123456789abcdef".parse().unwrap(),
            conflist: "k8snet".into(),
            sandbox: Some("/run/docker/netns/abc".into()),
            interface: Some("eth0".into()),
            addresses: vec!["10.22.0.5/16".parse().unwrap()],
            chain: ChainCheck::Ok,
            differences: Vec::new(),
            faults: Vec::new(),
            notes: Vec::new(),
            repaired: Vec::new(),
        }
    }

    #[test]
    fn the_table_tells_the_state_and_below_it_what_is_the_matter() {
        let repaired =
            Check { repaired: vec!["address 10.22.0.5/16 is missing".into()], ..sound() };
        let damaged = Check {
            chain: ChainCheck::Failed("bridge says no".into()),
            differences: vec!["interface is down".into()],
            ..sound()
        };
        let busy = Check {
            interface: None,
            chain: ChainCheck::NotAsked("Docker was at work on it".into()),
            ..sound()
        };
        let checks = [sound(), repaired, damaged, busy];
        let rows = checks.map(|check| Row { names: Named::default(), check });
        let style = Style { width: Some(80), header: true, colour: false };
        let text = table(&rows).text(style);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].ends_with("ok         as ADD left it"), "{text}");
        assert!(lines[2].ends_with("repaired") && lines[3].ends_with("DIFFERS"), "{text}");
        assert!(lines[4].ends_with("not asked  not looked at"), "{text}");
        assert_eq!(
            details(&rows),
            "0123456789ab: repaired: address 10.22.0.5/16 is missing\n\
             0123456789ab: bridge says no\n\
             0123456789ab: interface is down\n\
             0123456789ab: not looked at: Docker was at work on it\n"
        );
    }
}
