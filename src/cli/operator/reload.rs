//! `cnm-cni reload`: puts back what a reload of the host's firewall took away.

use std::process::ExitCode;

use serde::Serialize;

use super::candidates;
use super::docker;
use super::named_endpoints::{are_found, wanted};
use super::names::Named;
use crate::cli::client::{DockerArgs, Socket};
use crate::cli::output::{Listing, line};
use crate::cli::progress::Progress;
use crate::cli::table::{Cell, Table};
use crate::docker::Wanted;
use crate::lifecycle::{Check, Fault};
use crate::server::control::{RELOAD, WhatToReload};

const HELP: &str = "\
What is put back, and by what:
  FORWARD, isolation   by the driver, whose rules these are
  published ports      by the plugins that declare portMappings, run alone
  plugin firewall      by that plugin, run alone
  masquerading         of bridge and ptp: by bridge, run where it makes no more

What is lost and cannot be put back is told below the table, with the command that helps.

Examples:
  firewall-cmd --reload && cnm-cni reload --all
  cnm-cni reload web-1                # a container, endpoint or address
  cnm-cni reload --all --format json | jq '.[] | select(.lost != [])'

Exit status: 0 if nothing is missing any more; 1 if something is, or what is asked for is not there.

See also: 'cnm-cni check --repair', which also looks into the container; 'cnm-cni doctor'.";

/// Put back the host's rules that a reload of its firewall took away
///
/// After 'iptables -F', a restart of firewalld or a boot script that loads its own rules, containers
/// run on, and nobody reaches them. The running driver writes what is missing again. What is there is left
/// alone, and no container is touched.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// Containers by name or id; endpoints by the beginning of their id, by sandbox or by
    /// address
    #[arg(value_name = "ENDPOINT|CONTAINER", required_unless_present = "all", add = candidates::containers())]
    which: Vec<String>,

    /// Of every container on a network of this driver
    #[arg(long, conflicts_with = "which")]
    all: bool,

    #[command(flatten)]
    listing: Listing,

    #[command(flatten)]
    socket: Socket,

    #[command(flatten)]
    docker: DockerArgs,
}

/// What became of an endpoint with its names, as JSON has it.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    names: Named,
    endpoint: String,
    network: String,
    conflist: String,
    /// What was missing, and is there again.
    put_back: Vec<String>,
    /// What is still missing.
    lost: Vec<Fault>,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<ExitCode> {
    let names = docker::names(&args.docker, outer);
    let progress = Progress::of("putting back");
    let checks: Vec<Check> = match wanted(&args.which, &names) {
        Some(which) => args.socket.ask(RELOAD, &WhatToReload { which })?,
        None => Vec::new(),
    };
    drop(progress);
    let all_found = are_found(&args.which, &checks, &names);
    if !all_found && checks.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let rows =
        checks.into_iter().map(|check| Row::of(names.of(&check.endpoint, &check.network), check));
    let rows: Vec<_> = rows.collect();
    let below = match rows.is_empty() {
        true => "No container is on a network of this driver.\n".to_owned(),
        false => details(&rows),
    };
    let lost = rows.iter().filter(|row| !row.lost.is_empty()).map(|row| row.name().to_owned());
    args.listing.print(&rows, lost, || table(&rows), &below)?;
    let is_whole = rows.iter().all(|row| row.lost.is_empty());
    Ok(if is_whole && all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Row {
    fn of(names: Named, check: Check) -> Self {
        let lost = check.faults.into_iter().map(|fault| of_container(fault, &names));
        Self {
            lost: lost.collect(),
            names,
            endpoint: check.endpoint.to_string(),
            network: check.network.to_string(),
            conflist: check.conflist,
            put_back: check.repaired,
        }
    }

    /// The name that the user knows.
    fn name(&self) -> &str {
        self.names.container.as_deref().unwrap_or(&self.endpoint)
    }
}

/// The fault with the whole command where that is to start the container again.
fn of_container(fault: Fault, names: &Named) -> Fault {
    match &names.container {
        Some(container) if fault.restart && fault.remedy.is_none() => {
            Fault::new(fault.what, format!("docker restart {container}"))
        }
        _ => fault,
    }
}

/// A line for each endpoint.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["CONTAINER", "NETWORK", "CONFLIST", "PUT BACK", "LOST", "STATE"])
        .and_wide(["ENDPOINT"]);
    for row in rows {
        let state = match (row.put_back.is_empty(), row.lost.is_empty()) {
            (true, true) => "nothing was missing",
            (false, true) => "put back",
            (_, false) => "LOST",
        };
        let network = row.names.network_name.as_deref();
        table.row([
            row.names.container().into(),
            network.map_or_else(|| row.network.chars().take(12).collect(), str::to_owned).into(),
            row.conflist.as_str().into(),
            row.put_back.len().to_string().into(),
            row.lost.len().to_string().into(),
            Cell::from(state).bad_if(!row.lost.is_empty()),
            row.endpoint.as_str().into(),
        ]);
    }
    table
}

/// What was put back, and what was not, a line each.
fn details(rows: &[Row]) -> String {
    let details = rows.iter().flat_map(|row| {
        let name = row.name();
        let put_back = row.put_back.iter().map(move |what| format!("{name}: put back: {what}"));
        let lost = row.lost.iter().map(move |fault| format!("{name}: lost: {fault}"));
        put_back.chain(lost).map(|text| line(&text))
    });
    details.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Style;

    #[test]
    fn the_table_tells_what_is_there_again_and_what_is_lost() {
        let row = |container: &str, put_back: &[&str], lost: Vec<Fault>| Row {
            names: Named { container: Some(container.into()), ..Named::default() },
            endpoint: "e1".into(),
            network: "0123456789abcdef".into(),
            conflist: "k8snet".into(),
            put_back: put_back.iter().map(|it| (*it).to_owned()).collect(),
            lost,
        };
        let named = Named { container: Some("db".into()), ..Named::default() };
        let gone = of_container(Fault::by_restart("interface veth1 of the host is gone"), &named);
        let rows =
            [row("web", &[], vec![]), row("api", &["rule 1"], vec![]), row("db", &[], vec![gone])];
        let style = Style { width: Some(80), header: true, colour: false };
        assert_eq!(
            table(&rows).text(style),
            "CONTAINER  NETWORK       CONFLIST  PUT BACK  LOST  STATE\n\
             web        0123456789ab  k8snet    0         0     nothing was missing\n\
             api        0123456789ab  k8snet    1         0     put back\n\
             db         0123456789ab  k8snet    0         1     LOST\n"
        );
        assert_eq!(
            details(&rows),
            "api: put back: rule 1\n\
             db: lost: interface veth1 of the host is gone; run 'docker restart db'\n"
        );
    }
}
