//! `cnm-cni status`, and `cnm-cni` alone: the whole state on one screen.

use std::fmt::Write as _;
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::disagreements::disagreements;
use super::known::{Known, Sources, state};
use super::{net, plugins, pools};
use crate::cli::output::{Format, line, print};
use crate::cli::time::age;
use crate::docker::Wanted;
use crate::lifecycle::inventory::Phase;
use crate::lifecycle::{DriverInfo, Fault};

const HELP: &str = "\
Examples:
  cnm-cni                             # the same as 'cnm-cni status'
  cnm-cni status --format json | jq -r '.problems[] | [.what, .remedy] | @tsv'

Exit status: 0 if there is no problem; 1 if there is one.

See also: 'cnm-cni doctor', which looks closer, into containers and the host.";

/// Show everything on one screen: driver, networks, pools, problems and what helps
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// A screen for people, or a JSON object
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    #[command(flatten)]
    sources: Sources,
}

/// The whole state, as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct Status<'k> {
    /// None if it does not answer.
    driver: Option<&'k DriverInfo>,
    /// Whether Docker answers.
    docker: bool,
    networks: Vec<net::Row<'k>>,
    pools: Vec<pools::Fill>,
    attachments: Counts,
    /// Those of the last hour.
    plugins: Vec<plugins::Row>,
    problems: Vec<Fault>,
}

/// How many attachments there are in each state.
#[derive(Debug, Default, Serialize)]
struct Counts {
    up: usize,
    starting: usize,
    removing: usize,
    orphan: usize,
    spare: usize,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<ExitCode> {
    let known = args.sources.ask(outer)?;
    let now = Timestamp::now();
    let plugins =
        plugins::of_last_hour(args.sources.state_dir(known.inventory.driver.as_ref()), now);
    let status = Status::of(&known, plugins, now);
    print(args.format, &status, |status| status.screen(args.format, now))?;
    Ok(if status.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl<'k> Status<'k> {
    pub(super) fn of(known: &'k Known, plugins: Vec<plugins::Row>, now: Timestamp) -> Self {
        let ready = known.inventory.spares.iter().filter(|it| it.phase == Phase::Spare);
        let spare = ready.count();
        let mut attachments = Counts { spare, ..Counts::default() };
        for attachment in &known.inventory.attachments {
            match state(attachment) {
                "up" => attachments.up += 1,
                "starting" => attachments.starting += 1,
                "removing" => attachments.removing += 1,
                _ => attachments.orphan += 1,
            }
        }
        Self {
            driver: known.inventory.driver.as_ref(),
            docker: known.names.unknown.is_none(),
            networks: net::rows(known),
            pools: pools::fills(known),
            problems: problems(known, now),
            plugins,
            attachments,
        }
    }

    pub(super) fn screen(&self, format: Format, now: Timestamp) -> String {
        let mut text = String::new();
        let driver = match self.driver {
            Some(info) => format!(
                "{}, for {}, with conflists in {}",
                info.version,
                age(info.started, now),
                info.conf_dir.display()
            ),
            None => "does not answer".to_owned(),
        };
        let Counts { up, starting, removing, orphan, spare } = self.attachments;
        let docker = if self.docker { "answers" } else { "does not answer" };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}{}{}",
            line(&format!("driver       {driver}")),
            line(&format!("docker       {docker}")),
            line(&format!(
                "attachments  up {up}, starting {starting}, removing {removing}, orphans {orphan}, \
                 spares {spare}"
            )),
        );
        let style = format.style();
        if !self.networks.is_empty() {
            let _ = write!(text, "\n{}", net::table(&self.networks).text(style));
        }
        if !self.pools.is_empty() {
            let _ = write!(text, "\n{}", pools::table(&self.pools).text(style));
        }
        if !self.plugins.is_empty() {
            let _ = write!(
                text,
                "\nPlugins of the last hour:\n{}",
                plugins::table(&self.plugins).text(style)
            );
        }
        match self.problems.is_empty() {
            true => text += "\nNo problems; 'cnm-cni doctor' looks closer.\n",
            false => text += "\nProblems:\n",
        }
        for problem in &self.problems {
            text += &line(&format!("  {problem}"));
        }
        text
    }
}

/// The problems that the records show, each with the command that helps.
pub(super) fn problems(known: &Known, now: Timestamp) -> Vec<Fault> {
    let mut problems = Vec::new();
    if known.inventory.driver.is_none() {
        problems.push(Fault::new(
            "the driver does not answer: containers keep their networks, and none can start or stop; its log \
             is 'journalctl -u cnm-cni'",
            "systemctl start cnm-cni.socket cnm-cni.service",
        ));
    }
    if let Some(why) = &known.names.unknown {
        problems.push(Fault::new(format!("names are unknown: {why}"), "systemctl status docker"));
    }
    problems.extend(known.no_room.clone());
    for problem in &known.inventory.problems {
        problems.push(Fault::new(problem.clone(), "cnm-cni validate"));
    }
    for row in net::rows(known).iter().filter(|row| !row.usable) {
        problems.push(Fault::new(
            format!(
                "network {} is on conflist {}, which is not there: no container can start on it",
                row.name(),
                row.network.conflist
            ),
            "cnm-cni validate",
        ));
    }
    for fill in pools::fills(known).iter().filter(|fill| fill.is_short()) {
        let left = match fill.left() {
            0 => "is full: no container can start on it".to_owned(),
            free => format!("has {free} of {} addresses left", fill.pool.size),
        };
        problems.push(Fault::new(
            format!("pool {} of conflist {} {left}", fill.pool.subnet, fill.conflist),
            format!("cnm-cni pools {}", fill.conflist),
        ));
    }
    let orphans = known.inventory.attachments.iter().filter(|it| state(it) == "orphan").count();
    if orphans > 0 {
        problems.push(Fault::new(
            format!("attachments whose DEL has failed: {orphans}"),
            "cnm-cni orphans",
        ));
    }
    problems.extend(disagreements(known, now));
    problems
}
