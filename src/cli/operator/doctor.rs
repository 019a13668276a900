//! `cnm-cni doctor`: why a container has no network, and what puts it right.
//!
//! The driver checks containers and the host ([`Check`]). This file checks the rest: a driver or a Docker
//! that does not run, records that do not agree, pools that are full, and containers that never got an
//! attachment.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use jiff::Timestamp;
use serde::Serialize;

use super::candidates;
use super::disagreements::disagreements;
use super::known::{Known, Sources};
use super::names::Container;
use super::ping::ping;
use super::status::problems;
use super::{pools, show};
use crate::cli::client::answer_of;
use crate::cli::output::{Format, complain, line, print};
use crate::cli::progress::Progress;
use crate::cni::{ConfDir, Limits, Runtime, Trust};
use crate::cnm::NetworkId;
use crate::docker::Wanted;
use crate::lifecycle::inventory::Network;
use crate::lifecycle::{self, ChainCheck, Check, Fault, chain};
use crate::server::control::{CHECK, WhatToCheck};

const HELP: &str = "\
What is looked at:
  in the container  interface, addresses, routes, rules and sysctls as ADD left
                    them; the plugins' CHECK
  on the host       links up and in place, the gateway's address, masquerading,
                    published ports, FORWARD and what goes before it,
                    ip_forward, br_netfilter, rp_filter, MTU along the path
  in records        leases, pools, conflist and plugins as at ADD; whether
                    Docker's records and the driver's agree
  with --ping       an answer from the gateway, asked from in the container

Examples:
  cnm-cni doctor                      # everything
  cnm-cni doctor db                   # why a container has no network
  cnm-cni doctor 10.22.0.17 --ping    # of an address; and ask the gateway
  cnm-cni doctor --format json | jq -r '.[] | [.what, .remedy] | @tsv'

Exit status: 0 if nothing was found; 1 if something was, or there is no such thing.

See also: 'cnm-cni check', which runs the plugins' CHECK and can repair; 'cnm-cni show'.";

/// Find out why containers have no network, and what helps
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// A container, or whatever 'cnm-cni show' takes; everything without it
    #[arg(value_name = "THING", add = candidates::containers())]
    thing: Option<String>,

    /// Also ask the gateway for an answer, from inside of each container that is looked at
    #[arg(long)]
    ping: bool,

    /// What was found, a paragraph each; or JSON: an array with an object for each
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    #[command(flatten)]
    sources: Sources,
}

/// What was found, as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) what: String,
    /// The command that corrects it.
    pub(super) remedy: Option<String>,
    /// The containers that have it; empty if it concerns no single container.
    pub(super) containers: Vec<String>,
}

/// The findings, each once, in the order in which they were found.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, container: Option<&str>, fault: Fault) {
        let remedy = match (fault.remedy, fault.restart, container) {
            (Some(remedy), _, _) => Some(remedy),
            (None, true, Some(container)) => Some(format!("docker restart {container}")),
            (None, ..) => None,
        };
        let known = self.0.iter_mut().find(|it| it.what == fault.what && it.remedy == remedy);
        match (known, container) {
            (Some(known), Some(container)) => known.containers.push(container.to_owned()),
            (Some(_), None) => {}
            (None, container) => {
                let containers = container.map(str::to_owned).into_iter().collect();
                self.0.push(Finding { what: fault.what, remedy, containers });
            }
        }
    }
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<ExitCode> {
    let known = args.sources.ask(outer)?;
    let mut findings = Findings::default();
    let mut looked_at = 0;
    let which = match &args.thing {
        None => Vec::new(),
        Some(thing) => args.which(&known, thing, &mut findings)?,
    };
    if args.thing.is_none() {
        for problem in problems(&known, Timestamp::now()) {
            findings.add(None, problem);
        }
    } else if known.inventory.driver.is_none() {
        for problem in problems(&known, Timestamp::now()).into_iter().take(1) {
            findings.add(None, problem);
        }
    }
    if known.inventory.driver.is_some() && (args.thing.is_none() || !which.is_empty()) {
        let wanted = WhatToCheck { which, repair: false, host_only: false };
        let progress = Progress::of("checking");
        let checks: Vec<Check> = args.sources.socket.ask(CHECK, &wanted)?;
        for (number, check) in (1..).zip(&checks) {
            of_check(&known, check, &mut findings);
            if args.ping {
                progress.tell(&format!("asking the gateway of {number} of {}", checks.len()));
                of_ping(&known, check, &mut findings)?;
            }
        }
        looked_at = checks.len();
    }
    let findings = findings.0;
    print(args.format, &findings, |findings| text(findings, looked_at))?;
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Args {
    /// The endpoints of the thing; and the findings for a container without endpoints.
    fn which(
        &self,
        known: &Known,
        text: &str,
        findings: &mut Findings,
    ) -> anyhow::Result<Vec<String>> {
        let attachments = show::found(known, text);
        let containers = known.names.containers_called(text);
        if attachments.is_empty() && containers.is_empty() {
            bail!(show::nowhere(known, text));
        }
        if let Some(note) = show::also(known, text) {
            complain(&line(&note));
        }
        let before = findings.0.len();
        for container in containers {
            of_container(known, container, findings);
        }
        if attachments.is_empty() && findings.0.len() == before {
            bail!(known.names.nothing_called(text));
        }
        if !attachments.is_empty() && attachments.iter().all(|it| it.spare) {
            bail!(
                "{text} is of a spare, an attachment that no container has yet: the driver compares each \
                 before it gives it out; 'cnm-cni show {text}' tells about it"
            );
        }
        Ok(attachments.iter().map(|it| it.endpoint.to_string()).collect())
    }
}

/// The check of all attachments, or of their host's side only; none if no driver answers.
///
/// # Errors
/// The driver refuses.
pub(super) fn checks(
    sources: &Sources,
    known: &Known,
    host_only: bool,
) -> anyhow::Result<Vec<Check>> {
    if known.inventory.driver.is_none() {
        return Ok(Vec::new());
    }
    sources.socket.ask(CHECK, &WhatToCheck { which: Vec::new(), repair: false, host_only })
}

/// All that can be found with these checks.
pub(super) fn everything(known: &Known, checks: &[Check]) -> Vec<Finding> {
    let mut findings = Findings::default();
    for problem in problems(known, Timestamp::now()) {
        findings.add(None, problem);
    }
    checks.iter().for_each(|check| of_check(known, check, &mut findings));
    findings.0
}

/// Why a container has no attachment on a network that it is on in Docker.
fn of_container(known: &Known, container: &Container, findings: &mut Findings) {
    let name = Some(container.name.as_str());
    if known.attachments_of(container).next().is_none() && container.state != "running" {
        let what =
            format!("the container does not run: Docker says that it is {}", container.state);
        findings.add(name, Fault::new(what, format!("docker start {}", container.name)));
    }
    for disagreement in disagreements(known, Timestamp::now()) {
        if disagreement.what.contains(&format!("container {} is on network", container.name)) {
            findings.add(name, disagreement);
        }
    }
    // Those that it has an attachment on are the driver's to check.
    let is_attached = |id: &NetworkId| known.attachments_of(container).any(|it| it.network == *id);
    let ids = container.ends.iter().filter_map(|end| end.network_id.as_ref());
    let networks = ids
        .filter(|id| !is_attached(id))
        .filter_map(|id| known.inventory.networks.iter().find(|it| it.network == *id));
    let conflists: BTreeMap<_, _> = networks.map(|it| (it.conflist.as_str(), it)).collect();
    for (conflist, network) in conflists {
        if let Some(fault) = unusable(known, network) {
            findings.add(name, fault);
        }
        for fill in pools::fills(known).iter().filter(|fill| fill.conflist == conflist) {
            if fill.left() == 0 {
                let what = format!(
                    "pool {} of conflist {conflist} is full: no container can start on network {}",
                    fill.pool.subnet,
                    known.network_name(network)
                );
                findings.add(name, Fault::new(what, format!("cnm-cni pools {conflist}")));
            }
        }
    }
}

/// Why no container can be attached by a conflist: it is not there, or a plugin of it.
fn unusable(known: &Known, network: &Network) -> Option<Fault> {
    let info = known.inventory.driver.as_ref()?;
    let conf_dir = ConfDir::new(info.conf_dir.clone()).trusting(Trust::Root);
    // A network's own chain has the plugins of the built-in one.
    let conflist = match known.own_network(&network.conflist) {
        Some(_) => lifecycle::EMBEDDED_NAME,
        None => &network.conflist,
    };
    let remedy = format!("cnm-cni validate {conflist}");
    match lifecycle::choose(&conf_dir, Some(conflist)) {
        Err(error) => Some(Fault::new(chain(&error), remedy)),
        Ok(list) => {
            let plugins = Runtime::trusting(info.cni_path.clone(), Limits::default(), Trust::Root);
            plugins.find_all(&list).err().map(|error| Fault::new(chain(&error), remedy))
        }
    }
}

/// The driver's findings in a container, and on the host for it.
fn of_check(known: &Known, check: &Check, findings: &mut Findings) {
    let names = known.names.of(&check.endpoint, &check.network);
    let name = names.container.as_deref().unwrap_or_else(|| check.endpoint.short());
    for fault in faults(name, check) {
        findings.add(Some(name), fault);
    }
}

/// All that is wrong with a container of that name, and on the host for it.
pub(super) fn faults(name: &str, check: &Check) -> Vec<Fault> {
    let of_host: Vec<String> = check.faults.iter().map(ToString::to_string).collect();
    let mut faults = check.faults.clone();
    // Things in the container can be put back while it runs.
    let of_container = check.differences.iter().filter(|it| !of_host.contains(it));
    let repair = || format!("cnm-cni check {name} --repair");
    faults.extend(of_container.map(|difference| Fault::new(difference.as_str(), repair())));
    if let ChainCheck::Failed(reason) = &check.chain
        && !is_told(&check.faults, reason)
    {
        faults.push(Fault::by_restart(format!("the plugins' CHECK fails: {reason}")));
    }
    faults
}

/// Whether the plugins' CHECK fails for what a fault tells already, as a plugin that is not there. To
/// start the container again would not help then: it would not start.
fn is_told(faults: &[Fault], reason: &str) -> bool {
    let mut causes = faults.iter().filter_map(|fault| fault.what.split_once(": "));
    causes.any(|(_, cause)| reason.ends_with(cause))
}

/// Whether the gateways answer the container.
fn of_ping(known: &Known, check: &Check, findings: &mut Findings) -> anyhow::Result<()> {
    let attachment = known.inventory.attachments.iter().find(|it| it.endpoint == check.endpoint);
    let (Some(attachment), Some(sandbox)) = (attachment, &check.sandbox) else { return Ok(()) };
    let names = known.names.of(&check.endpoint, &check.network);
    let name = names.container.as_deref().unwrap_or_else(|| check.endpoint.short());
    for gateway in &attachment.gateways {
        let interface = check.interface.clone();
        if let Err(why) = answer_of(ping(sandbox, *gateway, interface))? {
            let what = format!("the gateway {gateway} does not answer a ping from inside: {why}");
            findings.add(Some(name), Fault::without_remedy(what));
        }
    }
    Ok(())
}

pub(super) fn text(findings: &[Finding], looked_at: usize) -> String {
    let mut text = String::new();
    for Finding { what, remedy, containers } in findings {
        text += &line(what);
        if !containers.is_empty() {
            text += &line(&format!("  of   {}", containers.join(", ")));
        }
        if let Some(remedy) = remedy {
            text += &line(&format!("  run  {remedy}"));
        }
    }
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let found = match findings.len() {
        0 => "nothing is amiss".to_owned(),
        count => format!("{count} thing{} found", s(count)),
    };
    text + &format!("{looked_at} attachment{} looked at; {found}.\n", s(looked_at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::operator::names::Names;
    use crate::lifecycle::inventory::Inventory;

    #[test]
    fn a_network_with_a_chain_of_its_own_needs_plugins_and_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let inventory: Inventory = serde_json::from_value(json!({
            "version": 1, "attachments": [], "conflists": [], "problems": [],
            "driver": {"version": "0.1.0", "started": "2026-08-01T02:00:00Z", "state_dir": "/",
                       "conf_dir": folder.path(), "cni_path": [folder.path()], "max_networks": 1,
                       "max_attachments": 1},
            "networks": [{"network": "a1", "conflist": "cnia1", "internal": false, "options": {},
                          "docker_pools": []}],
        }))
        .unwrap();
        let network = inventory.networks[0].clone();
        let known = Known { inventory, names: Names::default(), no_room: None };
        let fault = unusable(&known, &network).unwrap();
        assert!(fault.what.contains("bridge"), "{}", fault.what);
        assert_eq!(fault.remedy.as_deref(), Some("cnm-cni validate cnm-cni-default"));
        let other = Network { conflist: "gone".into(), ..network };
        let fault = unusable(&known, &other).unwrap();
        assert_eq!(fault.remedy.as_deref(), Some("cnm-cni validate gone"));
    }

    #[test]
    fn what_is_the_same_for_several_containers_is_told_once() {
        let mut findings = Findings::default();
        let down = || Fault::new("interface cni0 of the host is down", "ip link set cni0 up");
        for name in ["web", "db"] {
            findings.add(Some(name), down());
            findings.add(Some(name), Fault::by_restart("there is no lease"));
        }
        findings.add(None, Fault::without_remedy("a pool is full"));
        assert_eq!(
            text(&findings.0, 2),
            "interface cni0 of the host is down\n  of   web, db\n  run  ip link set cni0 up\n\
             there is no lease\n  of   web\n  run  docker restart web\n\
             there is no lease\n  of   db\n  run  docker restart db\n\
             a pool is full\n\
             2 attachments looked at; 4 things found.\n"
        );
        assert_eq!(text(&[], 1), "1 attachment looked at; nothing is amiss.\n");
    }

    #[test]
    fn a_plugin_that_is_not_there_is_told_once_and_not_to_be_mended_by_a_restart() {
        let missing = "failed to find plugin \"portmap\" in path [/opt/cni/bin]";
        let fault = Fault::new(format!("conflist \"back\": {missing}"), "cnm-cni validate back");
        let reason = format!("plugin type=\"portmap\" name=\"back\" failed (check): {missing}");
        let is_told = |fault: Fault| is_told(&[fault], &reason);
        assert!(is_told(fault));
        assert!(!is_told(Fault::by_restart("interface back0 of the host is gone")));
    }
}
