//! `cnm-cni validate`: judges networks before they are used.

mod row;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::json;

use super::folders::Folders;
use super::output::{Listing, line, print, write};
use crate::cni::{ConfigError, NetworkConfigList, Runtime};
use crate::{cni, lifecycle};
pub(super) use row::capabilities;
use row::{Network, Row, Unread, file_of, table};

const HELP: &str = "\
Columns:
  PLUGINS       the chain, each plugin with the IPAM plugin that it runs
  PORTS         whether 'docker run -p' publishes ports
  FIXED IP      what addresses 'docker run --ip' or Docker's IPAM can choose:
                several, one, or maybe, where the IPAM plugin may not listen
  FAMILIES      of addresses; ? where only the IPAM plugin or Docker knows
  FORWARD       whether containers are exempt from Docker's DROP policy; with
                -o forward=open they are also reached from other hosts
  STATUS        what the plugins say themselves, from CNI version 1.1.0 on
  RESULT        ok; failed: 'docker network create' refuses it; not ready: it
                can be made, and containers do not start yet; passed over: it
                makes no interface
  CAPABILITIES  with --format wide: what the plugins declare, and can be told by
                -o cni.capability.NAME

Examples:
  cnm-cni validate                    # every network in /etc/cni/net.d
  cnm-cni validate k8s-pod-network    # the one of that name; or a file
  cnm-cni validate --format json | jq '.networks[] | select(.ok | not).problems'

Exit status: 0 if all is well; 1 if a network cannot be used, or not yet, or a file cannot be read.";

/// Show whether networks can be used, and what they would do under Docker
///
/// Looks for every plugin and IPAM plugin, asks each which versions of CNI it supports, and
/// those of version 1.1.0 whether they are ready. No interface is touched.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// A network by its name, or a file (with a '/', or ending in .conflist, .conf or .json);
    /// all networks without it
    #[arg(value_name = "NAME|FILE")]
    what: Option<OsString>,

    #[command(flatten)]
    listing: Listing,

    #[command(flatten)]
    folders: Folders,
}

/// Judges the networks and prints the findings; fails if there is a problem.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let plugins = args.folders.runtime()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let rows = runtime.block_on(gather(&args, &plugins))?;
    let networks: Vec<_> = rows.iter().map(Row::json).collect();
    if args.listing.is_quiet() {
        write(&rows.iter().map(|row| line(row.name())).collect::<String>())?;
    } else {
        let style = args.listing.style();
        print(args.listing.format, &json!({ "networks": networks }), |_| match &args.what {
            None => table(&rows, &note(&args.folders.conf_dir(), &rows), style),
            Some(_) => table(&rows, "", style),
        })?;
    }
    let all_well = rows.iter().all(|row| row.is_passed_over || row.problems().is_empty());
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The network that Docker networks use by default, if that is not obvious.
fn note(folder: &cni::ConfDir, rows: &[Row]) -> String {
    let folder = folder.path().display();
    let default = rows.iter().find(|row| row.is_default);
    match (default, rows) {
        (Some(row), all) if row.is_built_in() => {
            let others = [" for containers", row.name()];
            let [whose, which] = if let [_] = all { ["", "this one"] } else { others };
            format!(
                "\n{folder} has no network{whose}; {which} is built in: each Docker network has a bridge \
                 and subnets of its own, and is isolated\n"
            )
        }
        (Some(first), [_, _, ..]) => {
            format!("\nwithout -o conflist=NAME, a network is on {}\n", first.name())
        }
        _ => String::new(),
    }
}

async fn gather(args: &Args, plugins: &Runtime) -> anyhow::Result<Vec<Row>> {
    let folder = args.folders.conf_dir();
    let found: Vec<(Option<PathBuf>, Result<NetworkConfigList, Unread>)> = match &args.what {
        Some(folder) if Path::new(folder).is_dir() && is_file(folder) => {
            let folder = Path::new(folder).display();
            bail!("{folder} is a folder; for the networks in it, use --conf-dir {folder}");
        }
        Some(file) if is_file(file) => {
            let read = NetworkConfigList::from_file_trusting(Path::new(file), args.folders.trust());
            let list = read.map_err(|problem| {
                let mut unread = Unread::new(problem);
                if !Path::new(file).exists() {
                    let folder = folder.path().display();
                    unread.problem +=
                        &format!("; 'cnm-cni validate' lists the networks of {folder}");
                }
                unread
            });
            vec![(Some(file.into()), list)]
        }
        Some(name) => vec![find(&folder, &name.to_string_lossy())?],
        None => {
            let listing = folder.list();
            let networks = listing.networks.into_iter().map(|it| (Some(it.file), Ok(it.list)));
            let problems = listing
                .problems
                .into_iter()
                .map(|problem| (file_of(&problem).map(Path::to_owned), Err(Unread::new(problem))));
            let mut all: Vec<_> = networks.chain(problems).collect();
            all.sort_by(|(one, _), (other, _)| one.cmp(other));
            let is_passed_over = |list: &NetworkConfigList| !list.makes_interface();
            if all.iter().all(|(_, list)| list.as_ref().is_ok_and(is_passed_over)) {
                // What the driver would use.
                all.push((None, Ok(lifecycle::embedded()?)));
            }
            all
        }
    };
    // If every file has an error, the driver itself would find no network.
    let default = lifecycle::choose(&folder, None).ok();
    let mut rows = Vec::new();
    for (file, list) in found {
        let is_default = list.is_ok() && list.as_ref().ok() == default.as_ref();
        let is_passed_over =
            args.what.is_none() && list.as_ref().is_ok_and(|list| !list.makes_interface());
        let content = match list {
            Ok(list) => {
                let mut judgement = lifecycle::judge_conflist(plugins, &list).await;
                let subnets = &mut judgement.prospects.subnets;
                subnets.extend(&judgement.validation.subnets);
                subnets.retain(|_| file.is_some()); // Else Docker's, or free ones.
                Ok(Network { list, judgement })
            }
            Err(unread) => Err(unread),
        };
        rows.push(Row { file, content, is_default, is_passed_over });
    }
    Ok(rows)
}

fn is_file(what: &OsStr) -> bool {
    let extension = Path::new(what).extension().and_then(OsStr::to_str);
    what.as_encoded_bytes().contains(&b'/')
        || extension.is_some_and(|it| matches!(it, "conflist" | "conf" | "json"))
}

/// The network of that name; the built-in one comes after those in the folder.
fn find(
    folder: &cni::ConfDir,
    name: &str,
) -> anyhow::Result<(Option<PathBuf>, Result<NetworkConfigList, Unread>)> {
    let listed = folder.list().networks.into_iter().find(|it| it.list.name() == name);
    if let Some(it) = listed {
        return Ok((Some(it.file), Ok(it.list)));
    }
    let embedded = lifecycle::embedded()?;
    if embedded.name() == name {
        return Ok((None, Ok(embedded)));
    }
    let unread =
        |problem: ConfigError| Unread { name: name.to_owned(), problem: problem.to_string() };
    let list = folder.load(name).map_err(unread);
    Ok((None, list))
}
