//! `cnm-cni validate`: judges networks before they are used.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::folders::Folders;
use super::output::{Listing, line, print, write};
use super::table::{Cell, Style, Table};
use crate::cni::{ConfigError, NetworkConfigList, Runtime, ValidatedPlugin};
use crate::lifecycle::Judgement;
use crate::translate::{Prospects, TakesAddress};
use crate::{cni, lifecycle};

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
  RESULT        ok; failed, where CreateNetwork refuses it too, or a plugin is
                not ready; passed over, because it makes no interface
  CAPABILITIES  with --format wide: what the plugins declare, and can be told by
                -o cni.capability.NAME

Examples:
  cnm-cni validate                    # every network in /etc/cni/net.d
  cnm-cni validate k8s-pod-network    # the one of that name; or a file
  cnm-cni validate --format json | jq '.networks[] | select(.ok | not).problems'

Exit status: 0 if all is well; 1 if a network cannot be used, or a file cannot be read.";

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

/// A network, or why a file contains none.
struct Row {
    /// Its file; none if it is built in, or was not found.
    file: Option<PathBuf>,
    content: Result<Network, Unread>,
    /// A Docker network without `-o conflist=NAME` uses it.
    is_default: bool,
    /// It makes no interface, and was not asked for by its name.
    is_passed_over: bool,
}

struct Network {
    list: NetworkConfigList,
    judgement: Judgement,
}

struct Unread {
    /// Its name from the user or the folder.
    name: String,
    problem: ConfigError,
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
            let list = read.map_err(Unread::new);
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
    let list = folder.load(name).map_err(|problem| Unread { name: name.to_owned(), problem });
    Ok((None, list))
}

/// The file that a problem is about.
fn file_of(problem: &ConfigError) -> Option<&Path> {
    match problem {
        ConfigError::InFile { path, .. } | ConfigError::Unreadable { path, .. } => Some(path),
        ConfigError::Hidden { file, .. } => Some(file),
        _ => None,
    }
}

impl Unread {
    fn new(problem: ConfigError) -> Self {
        let name = file_of(&problem).and_then(Path::file_name).unwrap_or_default();
        Self { name: name.to_string_lossy().into_owned(), problem }
    }
}

impl Row {
    fn name(&self) -> &str {
        match &self.content {
            Ok(network) => network.list.name(),
            Err(unread) => &unread.name,
        }
    }

    fn is_built_in(&self) -> bool {
        self.file.is_none() && self.content.is_ok()
    }

    /// The problems, a sentence each.
    fn problems(&self) -> Vec<String> {
        let Judgement { validation, refusals, .. } = match &self.content {
            Ok(network) => &network.judgement,
            Err(unread) => return vec![unread.problem.to_string()],
        };
        let mut problems: Vec<String> = Vec::new();
        for problem in validation.plugins.iter().filter_map(|it| it.problem.as_ref()) {
            let problem = problem.to_string();
            // A chain may have a plugin twice.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems.extend(refusals.iter().map(ToString::to_string));
        if let Some(Err(error)) = &validation.status {
            problems.push(error.to_string());
        }
        problems
    }

    /// A cell for each column of [`table`].
    fn cells(&self) -> [Cell; 10] {
        let result = match self.problems().is_empty() {
            true => "ok",
            false if self.is_passed_over => "passed over",
            false => "failed",
        };
        let result = Cell::from(result).bad_if(result == "failed");
        let none = || "-".to_owned();
        let Ok(Network { list, judgement: Judgement { validation, prospects, .. } }) =
            &self.content
        else {
            let mut cells = std::array::from_fn(|_| none().into());
            cells[0] = self.name().into();
            cells[7] = result;
            return cells;
        };
        let capabilities = capabilities(list);
        [
            list.name().into(),
            chain(&validation.plugins).into(),
            if prospects.publishes_ports { "yes" } else { "no" }.into(),
            takes_address(prospects).into(),
            families(prospects).into(),
            if lifecycle::exempts_by_default(list) { "exempt" } else { "policy" }.into(),
            match &validation.status {
                None => none().into(),
                Some(Ok(())) => "ready".into(),
                Some(Err(error)) => Cell::from(match error.code() {
                    Some(code) => format!("not ready ({code})"),
                    None => "not ready".to_owned(),
                })
                .bad(),
            },
            result,
            list.cni_version().to_string().into(),
            if capabilities.is_empty() { none() } else { capabilities.join(",") }.into(),
        ]
    }

    fn json(&self) -> Value {
        let problems = self.problems();
        let mut json = json!({
            "name": self.content.as_ref().ok().map(|network| network.list.name()),
            "file": self.file,
            "ok": problems.is_empty(),
            "problems": problems,
            "default": self.is_default,
            "passed_over": self.is_passed_over,
        });
        let Ok(Network { list, judgement: Judgement { validation, prospects, .. } }) =
            &self.content
        else {
            return json;
        };
        json["cni_version"] = json!(list.cni_version());
        json["plugins"] = validation.plugins.iter().map(plugin_json).collect();
        json["capabilities"] = json!(capabilities(list));
        json["status"] = match &validation.status {
            None => Value::Null,
            Some(Ok(())) => json!({ "ready": true }),
            Some(Err(error)) => {
                json!({ "ready": false, "code": error.code(), "message": error.to_string() })
            }
        };
        json["needs_docker_ipam"] = json!(prospects.needs_docker_ipam);
        json["docker"] = json!({
            "publishes_ports": prospects.publishes_ports,
            "fixed_addresses": takes_address(prospects),
            "subnets": prospects.subnets,
            "dual_stack": has_families(prospects).map(|(ipv4, ipv6)| ipv4 && ipv6),
            "forward_exempt": lifecycle::exempts_by_default(list),
            "isolated": self.is_built_in(),
        });
        json
    }
}

fn plugin_json(plugin: &ValidatedPlugin) -> Value {
    json!({
        "type": plugin.plugin_type,
        "ipam_of": plugin.ipam_of,
        "path": plugin.program,
        "supported_versions": plugin.versions,
        "capabilities": plugin.capabilities,
        "problem": plugin.problem.as_ref().map(ToString::to_string),
    })
}

/// `bridge/host-local portmap`.
fn chain(plugins: &[ValidatedPlugin]) -> String {
    plugins.iter().fold(String::new(), |chain, plugin| match (&plugin.ipam_of, chain.as_str()) {
        (Some(_), _) => format!("{chain}/{}", plugin.plugin_type),
        (None, "") => plugin.plugin_type.clone(),
        (None, _) => format!("{chain} {}", plugin.plugin_type),
    })
}

/// What the chain's plugins declare, each once.
pub(super) fn capabilities(list: &NetworkConfigList) -> Vec<&str> {
    let mut names: Vec<_> = list.plugins().iter().flat_map(|it| it.capabilities()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn takes_address(prospects: &Prospects) -> &'static str {
    match prospects.takes_address {
        TakesAddress::Several => "several",
        TakesAddress::One => "one",
        TakesAddress::Maybe => "maybe",
    }
}

/// Whether there are addresses of IPv4, and of IPv6.
fn has_families(prospects: &Prospects) -> Option<(bool, bool)> {
    let has = |ipv4| prospects.subnets.iter().any(|subnet| subnet.addr().is_ipv4() == ipv4);
    (!prospects.subnets.is_empty()).then(|| (has(true), has(false)))
}

fn families(prospects: &Prospects) -> String {
    match has_families(prospects) {
        None => "?",
        Some((true, true)) => "IPv4+IPv6",
        Some((true, false)) => "IPv4",
        Some((false, _)) => "IPv6",
    }
    .to_owned()
}

/// The rows, then the note, and the problems.
fn table(rows: &[Row], note: &str, style: Style) -> String {
    let head =
        ["NETWORK", "PLUGINS", "PORTS", "FIXED IP", "FAMILIES", "FORWARD", "STATUS", "RESULT"];
    let mut table = Table::new(head).and_wide(["VERSION", "CAPABILITIES"]);
    rows.iter().for_each(|row| table.row(row.cells()));
    let text = table.text(style) + note;
    let problems = rows.iter().flat_map(|row| {
        row.problems().into_iter().map(|problem| match &row.content {
            Ok(network) => line(&format!("{}: {problem}", network.list.name())),
            // It contains the name or the file.
            Err(_) => line(&problem),
        })
    });
    let of_docker = rows.iter().filter_map(|row| row.content.as_ref().ok());
    let of_docker = of_docker.filter(|it| it.judgement.prospects.needs_docker_ipam).map(|it| {
        format!(
            "{}: Docker chooses its addresses, so not with --ipam-driver null\n",
            it.list.name()
        )
    });
    let problems: String = problems.chain(of_docker).collect();
    if problems.is_empty() { text } else { text + "\n" + &problems }
}
