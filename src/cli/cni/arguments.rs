//! The command line of `cnm-cni cni`.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use serde_json::{Map, Value};

use super::cnitool;
use crate::cli::folders::Folders;
use crate::cni::{Attachment, Cache, ValidAttachment};

const EXAMPLES: &str = "\
Examples:
  ip netns add testing
  cnm-cni cni add mynet /var/run/netns/testing       # prints the result
  cnm-cni cni check mynet /var/run/netns/testing
  cnm-cni cni del mynet /var/run/netns/testing

  export CAP_ARGS='{\"portMappings\": [
      {\"hostPort\": 8080, \"containerPort\": 80, \"protocol\": \"tcp\"}]}'
  cnm-cni cni add mynet /var/run/netns/testing       # or --capability-args

  ln -s cnm-cni cnitool               # called so, it is 'cnm-cni cni'

An ADD that fails is not undone: follow it with del. The plugins' own messages are shown with \
--log-level debug.

Exit status: 0; 1 if a plugin fails, or the command line of 'cnitool' is not understood.";

/// Run a network's CNI plugins by hand, as the reference cnitool does
///
/// Arguments, variables, results and exit status are those of cnitool, and so is what is kept
/// of an ADD, in /var/lib/cni/results: one can detach what the other has attached. CHECK and
/// DEL use the configuration and the arguments of the ADD where they are on record.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// The usage is written out: clap's own shows a flag as needed once its variable is set.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Attach a network namespace to a network, and print the result
    #[command(override_usage = "cnm-cni cni add [OPTIONS] <NETWORK> <NETNS>")]
    Add(Target),
    /// Detach it again; succeeds also when it is not attached
    #[command(override_usage = "cnm-cni cni del [OPTIONS] <NETWORK> <NETNS>")]
    Del(Target),
    /// See whether the attachment is as ADD left it
    #[command(override_usage = "cnm-cni cni check [OPTIONS] <NETWORK> <NETNS>")]
    Check(Target),
    /// Detach everything on record that is not kept, and let the plugins free the rest
    ///
    /// Other runtimes, containerd for example, keep their attachments in the same place:
    /// without --keep for each, those are detached too, under running pods.
    #[command(override_usage = "cnm-cni cni gc [OPTIONS] <NETWORK>")]
    Gc(Collect),
    /// See whether the network's plugins are ready for an ADD
    #[command(override_usage = "cnm-cni cni status [OPTIONS] <NETWORK>")]
    Status(Query),
}

/// What add, del and check are about.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Name of the network, as it stands in its configuration file
    pub(super) network: String,

    /// Path of the network namespace
    pub(super) netns: PathBuf,

    /// Name of the interface in the namespace [default: eth0]
    #[arg(short, long, value_name = "NAME", env = "CNI_IFNAME")]
    pub(super) ifname: Option<String>,

    /// Id of the container [default: cnitool- and a digest of NETNS]
    #[arg(long, value_name = "ID")]
    pub(super) container_id: Option<String>,

    /// CNI_ARGS for the plugins
    #[arg(long, value_name = "K=V;K=V…", env = "CNI_ARGS")]
    pub(super) args: Option<String>,

    /// Capability arguments by name, for the plugins that declare them
    #[arg(long, value_name = "JSON", env = "CAP_ARGS")]
    pub(super) capability_args: Option<String>,

    #[command(flatten)]
    pub(super) cache: CacheDir,

    #[command(flatten)]
    pub(super) folders: Folders,
}

#[derive(Debug, clap::Args)]
pub(super) struct Collect {
    /// Name of the network, as it stands in its configuration file
    pub(super) network: String,

    /// Not used; cnitool asks for it
    pub(super) netns: Option<PathBuf>,

    /// An attachment that stays; may be given several times
    #[arg(long, value_name = "CONTAINER-ID/IFNAME", value_parser = read_kept)]
    pub(super) keep: Vec<ValidAttachment>,

    #[command(flatten)]
    pub(super) cache: CacheDir,

    #[command(flatten)]
    pub(super) folders: Folders,
}

#[derive(Debug, clap::Args)]
pub(super) struct Query {
    /// Name of the network, as it stands in its configuration file
    pub(super) network: String,

    /// Not used; cnitool asks for it
    pub(super) netns: Option<PathBuf>,

    #[command(flatten)]
    pub(super) folders: Folders,
}

#[derive(Debug, clap::Args)]
pub(super) struct CacheDir {
    /// Folder of what is kept of each ADD, below it in results/
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni")]
    pub(super) cache_dir: PathBuf,
}

impl Target {
    /// What the command line says of the attachment.
    pub(super) fn attachment(&self) -> anyhow::Result<Attachment> {
        let netns = cnitool::absolute(&self.netns)
            .context("cannot make the path of the namespace absolute")?;
        let container_id = match &self.container_id {
            Some(id) => id.clone(),
            None => cnitool::id_for(&netns),
        };
        let if_name = self.ifname.as_deref().filter(|name| !name.is_empty()).unwrap_or("eth0");
        Ok(Attachment {
            container_id,
            netns: Some(netns),
            if_name: if_name.to_owned(),
            args: Attachment::parse_args(self.args.as_deref().unwrap_or_default())?,
            capability_args: read_capability_args(
                self.capability_args.as_deref().unwrap_or_default(),
            )?,
        })
    }
}

impl Collect {
    pub(super) fn keeps(&self, attachment: &Attachment) -> bool {
        self.keep.iter().any(|kept| {
            kept.container_id == attachment.container_id && kept.if_name == attachment.if_name
        })
    }
}

impl CacheDir {
    pub(super) fn open(&self) -> Cache {
        Cache::new(&self.cache_dir)
    }
}

fn read_capability_args(text: &str) -> anyhow::Result<Map<String, Value>> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    let read: Option<Map<_, _>> = serde_json::from_str(text).map_err(|error| {
        anyhow!("CAP_ARGS is not a JSON object of capability arguments by name: {error}")
    })?;
    Ok(read.unwrap_or_default())
}

fn read_kept(text: &str) -> Result<ValidAttachment, &'static str> {
    match text.split_once('/') {
        Some((id, name)) if !id.is_empty() && !name.is_empty() => {
            Ok(ValidAttachment { container_id: id.to_owned(), if_name: name.to_owned() })
        }
        _ => Err("expected CONTAINER-ID/IFNAME, for example 0a1b2c/eth0"),
    }
}
