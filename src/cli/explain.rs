//! `cnm-cni explain`: judges a network before it is made.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::answer_of;
use super::compose::{self, Project};
use super::folders::Folders;
use super::network_options;
use super::new_network::{self, NewNetwork};
use super::output::{Format, line, print};
use super::validate::capabilities;
use crate::cni::{NetworkConfigList, PluginConfig, Runtime};
use crate::lifecycle::{self, Explanation, Judgement};
use crate::translate::PORT_MAPPINGS;

const HELP: &str = "\
Examples:
  docker cni explain create web --conflist k8s-pod-network
  docker cni explain create web --subnet 10.22.0.0/16
  docker cni explain compose compose.yaml
  cnm-cni explain create web --format json | jq '.networks[].refusals'

Exit status: 0 if all networks would be made; 1 if one would be refused.";

/// Show what a network would be, before it is made
///
/// Judges it as the driver does when Docker asks for it: which conflist it would be on, which plugins
/// would run, who would choose the addresses, what would be published, and what would be refused. Nothing is
/// made, and neither Docker nor the driver need to run.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The network that 'docker cni create' would make with these flags
    #[command(after_help = network_options::HELP)]
    Create {
        #[command(flatten)]
        network: Box<new_network::Flags>,

        #[command(flatten)]
        how: How,
    },
    /// The networks of a compose file
    ///
    /// 'docker compose config' reads the file, with its variables and all that it includes.
    Compose {
        /// The file
        file: PathBuf,

        /// The driver's name in Docker: another one for the managed plugin
        #[arg(short, long, value_name = "DRIVER", default_value = "cni")]
        driver: String,

        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    /// Text for people, or JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    #[command(flatten)]
    folders: Folders,
}

/// The judgement of one network.
struct Explained {
    network: NewNetwork,
    /// Or why even its conflist is unknown.
    found: Result<Explanation, lifecycle::Error>,
    /// The conflist's file; none for the built-in one.
    file: Option<PathBuf>,
    /// What Docker itself would refuse for its containers.
    by_docker: Vec<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (project, how) = match &args.what {
        What::Create { network, how } => (Project::of(network.read()?), how),
        What::Compose { file, driver, how } => (compose::read(file, driver)?, how),
    };
    let runtime = how.folders.runtime()?;
    let explained: Vec<_> = answer_of(explain(project.networks, &how.folders, &runtime))??;
    let networks: Vec<Value> = explained.iter().map(Explained::json).collect();
    print(how.format, &json!({ "networks": networks }), |_| {
        let texts: Vec<String> = explained.iter().map(Explained::text).collect();
        let others = project.others.iter().map(|other| line(&format!("{other}: passed over")));
        texts.join("\n") + &others.collect::<String>()
    })?;
    let is_refused = explained.iter().any(|it| !it.refusals().is_empty());
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn explain(
    networks: Vec<compose::Of>,
    folders: &Folders,
    runtime: &Runtime,
) -> anyhow::Result<Vec<Explained>> {
    let folder = folders.conf_dir();
    let mut explained = Vec::new();
    for compose::Of { mut network, fixed } in networks {
        if let Ok(list) = lifecycle::listed(&folder, network.conflist()) {
            network.settle_ipam(list.as_ref());
        }
        let found = lifecycle::explain(&folder, runtime, &network.for_driver()?).await;
        let name = found.as_ref().ok().map(|it| it.list.name());
        let listed = folder.list().networks.into_iter();
        let file = listed.filter(|it| Some(it.list.name()) == name).map(|it| it.file).next();
        let mut by_docker = Vec::new();
        if network.is_by_cni() {
            by_docker = fixed;
            if !network.subnets.is_empty() {
                by_docker.push("Docker refuses a subnet beside --ipam-driver null".to_owned());
            }
        }
        explained.push(Explained { network, found, file, by_docker });
    }
    Ok(explained)
}

impl Explained {
    fn refusals(&self) -> Vec<String> {
        let by_driver = match &self.found {
            Ok(found) => found.refusals.clone(),
            Err(error) => vec![error.to_string()],
        };
        by_driver.into_iter().chain(self.by_docker.clone()).collect()
    }

    fn text(&self) -> String {
        let mut rows = vec![("network", self.network.name.clone())];
        if let Ok(found) = &self.found {
            rows.extend(self.rows(found));
        }
        let refusals = self.refusals();
        let result = if refusals.is_empty() { "would be made" } else { "would be refused" };
        rows.push(("result", result.to_owned()));
        let rows = rows.into_iter().map(|(what, is)| line(&format!("{what:<14}{is}")));
        let refusals = refusals.into_iter().map(|it| line(&format!("  refused: {it}")));
        let warnings = self.found.iter().flat_map(|it| &it.warnings);
        let warnings = warnings.map(|it| line(&format!("  beware: {it}")));
        rows.chain(refusals).chain(warnings).collect()
    }

    fn rows(&self, found: &Explanation) -> Vec<(&'static str, String)> {
        let Explanation { list, judgement, .. } = found;
        let file = match &self.file {
            Some(file) => format!("{}, {}", list.name(), file.display()),
            None => "none: the built-in network".to_owned(),
        };
        let mut rows = vec![("conflist", file)];
        for plugin in &judgement.validation.plugins {
            let of = plugin.ipam_of.as_ref().map(|it| format!(", for {it}")).unwrap_or_default();
            let is = match &plugin.program {
                Some(program) => program.display().to_string(),
                None => format!("{}, which is missing", plugin.plugin_type),
            };
            rows.push(("runs", is + &of));
        }
        let capabilities = match &capabilities(list)[..] {
            [] => "none".to_owned(),
            some => some.join(", "),
        };
        let ports = match publisher(list) {
            Some(plugin) => format!("-p is published by {plugin}"),
            None => "-p is refused: no plugin declares \"portMappings\"".to_owned(),
        };
        let bridge = match bridge(found) {
            Some(bridge) => bridge.to_owned(),
            None if found.is_own => "one of its own, named after the network's id".to_owned(),
            None => format!("none, {} makes the interface", maker(list)),
        };
        rows.push(("bridge", bridge));
        rows.push(("addresses", self.addresses(found)));
        rows.push(("ports", ports));
        rows.push(("isolation", isolation(found).to_owned()));
        rows.push(("capabilities", capabilities));
        rows.push(("command", self.network.command()));
        rows
    }

    fn addresses(&self, found: &Explanation) -> String {
        let subnets = subnets(found);
        let subnets = if subnets.is_empty() { "its IPAM's".to_owned() } else { subnets.join(", ") };
        match (self.network.is_by_cni(), &self.network.subnets[..]) {
            (true, _) => format!("chosen by CNI: {subnets}; --ip needs a network with --subnet"),
            (false, []) => "chosen by Docker, from a pool that it chooses".to_owned(),
            (false, pools) => {
                let pools: Vec<_> = pools.iter().map(|it| it.subnet.to_string()).collect();
                format!("chosen by Docker: {}; --ip works", pools.join(", "))
            }
        }
    }

    fn json(&self) -> Value {
        let mut json = json!({
            "name": self.network.name,
            "command": self.network.command(),
            "refusals": self.refusals(),
        });
        let Ok(found) = &self.found else { return json };
        let Explanation { list, options, judgement, warnings, .. } = found;
        let plugins = judgement.validation.plugins.iter().map(|plugin| {
            json!({
                "type": plugin.plugin_type,
                "ipam_of": plugin.ipam_of,
                "path": plugin.program,
            })
        });
        json["conflist"] = json!(list.name());
        json["file"] = json!(self.file);
        json["plugins"] = plugins.collect();
        json["bridge"] = json!(bridge(found));
        json["addresses"] = json!({
            "by": if self.network.is_by_cni() { "cni" } else { "docker" },
            "subnets": subnets(found),
        });
        json["publishes_ports"] = json!(judgement.prospects.publishes_ports);
        json["internal"] = json!(options.internal);
        json["isolated"] = json!(is_isolated(found));
        json["built_in"] = json!(found.is_own);
        json["capabilities"] = json!(capabilities(list));
        json["warnings"] = json!(warnings);
        json
    }
}

/// The plugin that makes the interface.
fn maker(list: &NetworkConfigList) -> &str {
    list.plugins().first().map(PluginConfig::plugin_type).unwrap_or_default()
}

/// The host's bridge, if the reference plugin makes one, and if its name is known before the network's id.
fn bridge(found: &Explanation) -> Option<&str> {
    let Explanation { list, options, is_own, .. } = found;
    if *is_own {
        return options.bridge.name.as_deref();
    }
    let plugin = list.plugins().first().filter(|plugin| plugin.plugin_type() == "bridge")?;
    Some(plugin.get("bridge").and_then(Value::as_str).unwrap_or("cni0"))
}

/// The plugin that publishes ports.
fn publisher(list: &NetworkConfigList) -> Option<&str> {
    let publishes = |plugin: &&PluginConfig| plugin.capabilities().any(|it| it == PORT_MAPPINGS);
    list.plugins().iter().find(publishes).map(PluginConfig::plugin_type)
}

/// Who can reach its containers, and whom they can reach.
fn isolation(found: &Explanation) -> &'static str {
    match (found.options.internal, is_isolated(found)) {
        (true, _) => "no way out of the network",
        (false, true) => "from other isolated networks of this host, and from Docker's own",
        (false, false) => "none from other networks of this host, as among pods",
    }
}

fn is_isolated(found: &Explanation) -> bool {
    found.options.isolate.unwrap_or(found.is_own)
}

/// The subnets in the conflist, and its plugins.
fn subnets(found: &Explanation) -> Vec<String> {
    let Judgement { prospects, validation, .. } = &found.judgement;
    prospects.subnets.iter().chain(&validation.subnets).map(ToString::to_string).collect()
}
