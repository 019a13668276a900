//! `cnm-cni check`: whether containers still have what their networks gave them.

use std::process::ExitCode;

use anyhow::bail;

use super::client::{DockerArgs, Socket, answer_of};
use super::output::{Format, columns, line, print};
use crate::docker::Wanted;
use crate::lifecycle::{ChainCheck, Check};
use crate::server::control::{CHECK, WhatToCheck};

/// Check that containers still have what their networks gave them, and repair what can be
///
/// The running driver runs the plugins' own CHECK in each container, compares the interface,
/// addresses, routes, rules and sysctls there with what ADD left, and likewise what the host has for
/// it: its links, the gateway's addresses, forwarding, masquerading, and the rules in the chain
/// FORWARD with what goes before them. Exit status 1 if anything differs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Containers by name or id; endpoints by the beginning of their id, by sandbox or by
    /// address; none for all
    #[arg(value_name = "ENDPOINT|CONTAINER")]
    which: Vec<String>,

    /// Put back what is missing, remove what is too much, and check again; what only a plugin's
    /// ADD could make again, and what is the host's own, stays amiss, and is told with the remedy
    #[arg(long)]
    repair: bool,

    /// A table for people, or JSON: an array with an object for each endpoint
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    #[command(flatten)]
    socket: Socket,

    #[command(flatten)]
    docker: DockerArgs,
}

pub(super) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<ExitCode> {
    let mut which = Vec::new();
    for name in &args.which {
        // Without an answer it may still be an endpoint's.
        let endpoints = match args.docker.find(outer) {
            Ok(docker) => answer_of(docker.endpoints_of(name))?.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        match endpoints.is_empty() {
            true => which.push(name.clone()),
            false => which.extend(endpoints),
        }
    }
    let wanted = WhatToCheck { which, repair: args.repair };
    let checks: Vec<Check> = args.socket.ask(CHECK, &wanted)?;
    if checks.is_empty() && !args.which.is_empty() {
        bail!(
            "nothing on a network of this driver is called {}; 'cnm-cni check' checks all there is",
            args.which.join(" or ")
        );
    }
    print(args.format, &checks, |checks| table(checks))?;
    let well = checks.iter().all(Check::is_well);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A line for each endpoint, and below the table what is the matter.
fn table(checks: &[Check]) -> String {
    if checks.is_empty() {
        return "No container is on a network of this driver.\n".to_owned();
    }
    let head = ["ENDPOINT", "CONFLIST", "INTERFACE", "ADDRESSES", "PLUGINS", "STATE"];
    let rows = checks.iter().map(|check| {
        let addresses: Vec<_> = check.addresses.iter().map(ToString::to_string).collect();
        let plugins = match check.chain {
            ChainCheck::Ok => "ok",
            ChainCheck::Failed(_) => "FAILED",
            ChainCheck::NotAsked(_) => "not asked",
        };
        let state = match (check.is_well(), check.repaired.is_empty()) {
            (true, true) => "as ADD left it",
            (true, false) => "repaired",
            (false, _) => "DIFFERS",
        };
        [
            check.endpoint.short().to_owned(),
            check.conflist.clone(),
            check.interface.clone().unwrap_or_else(|| "-".to_owned()),
            addresses.join(","),
            plugins.to_owned(),
            state.to_owned(),
        ]
    });
    let details = checks.iter().flat_map(|check| {
        let endpoint = check.endpoint.short();
        let plugins = match &check.chain {
            ChainCheck::Failed(reason) => Some(line(&format!("{endpoint}: {reason}"))),
            ChainCheck::Ok | ChainCheck::NotAsked(_) => None,
        };
        let differences =
            check.differences.iter().map(move |what| line(&format!("{endpoint}: {what}")));
        let repaired =
            check.repaired.iter().map(move |what| line(&format!("{endpoint}: repaired: {what}")));
        let notes = check.notes.iter().map(move |what| line(&format!("{endpoint}: note: {what}")));
        plugins.into_iter().chain(differences).chain(repaired).chain(notes)
    });
    columns(head, rows) + &details.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let text = table(&[sound(), repaired, damaged]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].ends_with("ok       as ADD left it"), "{text}");
        assert!(lines[2].ends_with("repaired") && lines[3].ends_with("DIFFERS"), "{text}");
        assert_eq!(
            lines[4..],
            [
                "0123456789ab: repaired: address 10.22.0.5/16 is missing",
                "0123456789ab: bridge says no",
                "0123456789ab: interface is down",
            ]
        );
    }
}
