//! `cnm-cni cni`: a network's chain, run by hand. A drop-in for the reference cnitool.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use serde_json::{Map, Value};
use sha2::{Digest, Sha512};

use super::folders::{Folders, unless_empty};
use super::output;
use super::serve::Signals;
use crate::cni::{
    AttachResult, Attachment, Cache, CacheError, CachedAttachment, NetworkConfigList, Runtime,
    ValidAttachment, Version,
};

const EXAMPLES: &str = "\
Examples:
  ip netns add testing
  cnm-cni cni add mynet /var/run/netns/testing       # prints the result
  cnm-cni cni check mynet /var/run/netns/testing
  cnm-cni cni del mynet /var/run/netns/testing

  CAP_ARGS='{\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":\"tcp\"}]}' \\
      cnm-cni cni add mynet /var/run/netns/testing   # as a variable, or as --capability-args

  ln -s cnm-cni cnitool                              # called so, it is 'cnm-cni cni'

An ADD that fails is not undone: follow it with del. The plugins' own messages are shown with \
--log-level debug.";

/// Run a network's CNI plugins by hand, as the reference cnitool does
///
/// Arguments, variables, results and exit status are those of cnitool, and so is what is kept
/// of an ADD, in /var/lib/cni/results: one can detach what the other has attached. CHECK and
/// DEL use the configuration and the arguments of the ADD where they are on record.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// The usage is written out: clap's own shows a flag as needed once its variable is set.
#[derive(Debug, Subcommand)]
enum Verb {
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
struct Target {
    /// Name of the network, as it stands in its configuration file
    network: String,

    /// Path of the network namespace
    netns: PathBuf,

    /// Name of the interface in the namespace [default: eth0]
    #[arg(short, long, value_name = "NAME", env = "CNI_IFNAME")]
    ifname: Option<String>,

    /// Id of the container [default: cnitool- and a digest of NETNS]
    #[arg(long, value_name = "ID")]
    container_id: Option<String>,

    /// CNI_ARGS for the plugins
    #[arg(long, value_name = "K=V;K=V…", env = "CNI_ARGS")]
    args: Option<String>,

    /// Capability arguments by name, for the plugins that declare them
    #[arg(long, value_name = "JSON", env = "CAP_ARGS")]
    capability_args: Option<String>,

    #[command(flatten)]
    cache: CacheDir,

    #[command(flatten)]
    folders: Folders,
}

#[derive(Debug, clap::Args)]
struct Collect {
    /// Name of the network, as it stands in its configuration file
    network: String,

    /// Not used; cnitool asks for it
    netns: Option<PathBuf>,

    /// An attachment that stays; may be given several times
    #[arg(long, value_name = "CONTAINER-ID/IFNAME", value_parser = read_kept)]
    keep: Vec<ValidAttachment>,

    #[command(flatten)]
    cache: CacheDir,

    #[command(flatten)]
    folders: Folders,
}

#[derive(Debug, clap::Args)]
struct Query {
    /// Name of the network, as it stands in its configuration file
    network: String,

    /// Not used; cnitool asks for it
    netns: Option<PathBuf>,

    #[command(flatten)]
    folders: Folders,
}

#[derive(Debug, clap::Args)]
struct CacheDir {
    /// Folder of what is kept of each ADD, below it in results/
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni")]
    cache_dir: PathBuf,
}

/// Several things went wrong, each with a line of its own.
#[derive(Debug)]
struct Several(Vec<String>);

impl std::error::Error for Several {}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Runs one verb. An error is printed as cnitool does: bare, on standard error.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new().context("cannot listen for signals")?;
        tokio::select! {
            // Plugins are in process groups of their own: they do not hear of the signal,
            // and are killed when what runs them is dropped.
            name = signals.next() => Err(anyhow!("stopped by {name}; detach with del")),
            outcome = execute(args.verb) => outcome,
        }
    });
    match outcome {
        Ok(None) => {}
        // The ADD stands, and is on record.
        Ok(Some(result)) => output::write(&(result + "\n"))?,
        Err(error) => {
            // The engine's errors tell the whole story by themselves.
            let lines = match error.downcast_ref() {
                Some(Several(errors)) => errors.iter().map(|error| output::line(error)).collect(),
                None => output::line(&error.to_string()),
            };
            output::complain(&lines);
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn execute(verb: Verb) -> anyhow::Result<Option<String>> {
    match verb {
        Verb::Add(target) => return target.add().await.map(Some),
        Verb::Del(target) => target.del().await?,
        Verb::Check(target) => target.check().await?,
        Verb::Gc(collect) => collect.run().await?,
        Verb::Status(query) => {
            let list = query.folders.conf_dir().load(&query.network)?;
            query.folders.runtime()?.status(&list).await?;
        }
    }
    Ok(None)
}

impl Target {
    async fn add(&self) -> anyhow::Result<String> {
        let list = self.folders.conf_dir().load(&self.network)?;
        let (cache, to) = (self.cache.open(), self.attachment()?);
        // What cannot be kept must not be made: nobody could undo it properly.
        match cache.get(list.name(), &to.container_id, &to.if_name) {
            Ok(_) | Err(CacheError::Malformed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let _turn = cache.turn_for_add().await?;
        let result = self.folders.runtime()?.add(&list, &to).await?;
        cache.put(&list, &to, &result).map_err(|error| {
            anyhow!("{error}; it is attached, and nothing is on record of it: detach it with del")
        })?;
        print(&list, &result)
    }

    async fn del(&self) -> anyhow::Result<()> {
        let (cache, wanted) = (self.cache.open(), self.attachment()?);
        let _turn = cache.turn_for_del().await?;
        let found = match cache.get(&self.network, &wanted.container_id, &wanted.if_name) {
            // No reason to leave the attachment behind.
            Err(problem @ CacheError::Malformed { .. }) => {
                tracing::warn!(%problem, "DEL goes without what ADD left");
                None
            }
            found => found?,
        };
        let Recorded { list, attachment, result } = self.recorded(wanted, found)?;
        self.folders.runtime()?.del(&list, &attachment, result.as_ref()).await?;
        Ok(cache.remove(list.name(), &attachment.container_id, &attachment.if_name)?)
    }

    async fn check(&self) -> anyhow::Result<()> {
        let wanted = self.attachment()?;
        let found = self.cache.open().get(&self.network, &wanted.container_id, &wanted.if_name)?;
        let Recorded { list, attachment, result } = self.recorded(wanted, found)?;
        if list.disables_check() {
            return Ok(());
        }
        let Some(result) = result else {
            bail!(
                "network {:?}: no ADD of container {:?}, interface {:?} is on record in {}, and \
                 CHECK needs its result",
                self.network,
                attachment.container_id,
                attachment.if_name,
                self.cache.cache_dir.join("results").display()
            );
        };
        Ok(self.folders.runtime()?.check(&list, &attachment, &result).await?)
    }

    /// What the command line says of the attachment.
    fn attachment(&self) -> anyhow::Result<Attachment> {
        let netns = absolute(&self.netns).context("cannot tell where the namespace is")?;
        let container_id = match &self.container_id {
            Some(id) => id.clone(),
            None => id_for(&netns),
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

    /// The chain and the arguments of the ADD, as far as they are on record. What the command
    /// line says goes first.
    fn recorded(
        &self,
        mut wanted: Attachment,
        found: Option<CachedAttachment>,
    ) -> anyhow::Result<Recorded> {
        let (mut list, mut result) = (None, None);
        if let Some(found) = found {
            (list, result) = (found.list, found.result);
            if wanted.args.is_empty() {
                wanted.args = found.attachment.args;
            }
            if wanted.capability_args.is_empty() {
                wanted.capability_args = found.attachment.capability_args;
            }
        }
        let list = match list {
            Some(list) => list,
            None => self.folders.conf_dir().load(&self.network)?,
        };
        Ok(Recorded { list, attachment: wanted, result })
    }
}

/// An attachment, with what its ADD left behind.
struct Recorded {
    list: NetworkConfigList,
    attachment: Attachment,
    result: Option<AttachResult>,
}

impl Collect {
    async fn run(&self) -> anyhow::Result<()> {
        let list = self.folders.conf_dir().load(&self.network)?;
        if list.disables_gc() {
            return Ok(());
        }
        let (cache, runtime) = (self.cache.open(), self.folders.runtime()?);
        let _turn = cache.turn_for_gc().await?;
        let mut problems = Vec::new();
        for found in cache.of_network(list.name())? {
            if !self.keeps(&found.attachment)
                && let Err(error) = detach(&runtime, &cache, &list, &found).await
            {
                let Attachment { container_id, if_name, .. } = &found.attachment;
                problems.push(format!(
                    "failed to delete stale attachment {container_id} {if_name}: {error}"
                ));
            }
        }
        problems.extend(runtime.gc(&list, &self.keep).await.err().map(|error| error.to_string()));
        if problems.is_empty() { Ok(()) } else { Err(Several(problems).into()) }
    }

    fn keeps(&self, attachment: &Attachment) -> bool {
        self.keep.iter().any(|kept| {
            kept.container_id == attachment.container_id && kept.if_name == attachment.if_name
        })
    }
}

async fn detach(
    runtime: &Runtime,
    cache: &Cache,
    list: &NetworkConfigList,
    found: &CachedAttachment,
) -> anyhow::Result<()> {
    let attachment = &found.attachment;
    let list = found.list.as_ref().unwrap_or(list);
    runtime.del(list, attachment, found.result.as_ref()).await?;
    Ok(cache.remove(&found.network, &attachment.container_id, &attachment.if_name)?)
}

impl CacheDir {
    fn open(&self) -> Cache {
        Cache::new(&self.cache_dir)
    }
}

/// The result in the network's version, laid out as cnitool does.
fn print(list: &NetworkConfigList, result: &AttachResult) -> anyhow::Result<String> {
    let json = result
        .to_version(list.cni_version())
        // The oldest versions have no form for a result without an address.
        .or_else(|_| result.to_version(Version::LATEST))?;
    let mut text = Vec::new();
    let layout = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, layout);
    serde::Serialize::serialize(&json, &mut writer)?;
    Ok(String::from_utf8(text)?)
}

/// The container id that cnitool gives to a namespace.
fn id_for(netns: &Path) -> String {
    let digest = Sha512::digest(netns.as_os_str().as_encoded_bytes());
    digest.iter().take(10).fold("cnitool-".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

/// The path as Go makes it absolute: `..` takes a name away, whatever a link there says. The
/// id is made of it.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    Ok(clean)
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

/// Whether the program was called by cnitool's name.
pub(super) fn is_cnitool(program: Option<&OsStr>) -> bool {
    let program = unless_empty(program).map(Path::new);
    program.and_then(Path::file_name).is_some_and(|name| name == "cnitool")
}

/// The command line of cnitool, as that of `cnm-cni`.
pub(super) fn from_cnitool(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    ["cnm-cni", "cni"].map(OsString::from).into_iter().chain(arguments.skip(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_the_id_that_cnitool_gives_it() {
        // printf %s /var/run/netns/testing | sha512sum | cut -c1-20
        assert_eq!(id_for(Path::new("/var/run/netns/testing")), "cnitool-77383ca0a0715733ca6f");
    }

    #[test]
    fn a_path_is_cleaned_as_go_does() {
        for (written, clean) in [
            ("/var/run/netns/a", "/var/run/netns/a"),
            ("/var//run/./netns/a/", "/var/run/netns/a"),
            ("/var/run/netns/../netns/a", "/var/run/netns/a"),
            ("/../a", "/a"),
        ] {
            assert_eq!(absolute(Path::new(written)).unwrap(), Path::new(clean), "{written}");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(Path::new("x/../a")).unwrap(), here.join("a"));
    }

    #[test]
    fn it_is_cnitool_when_it_is_called_so() {
        assert!(is_cnitool(Some("/usr/bin/cnitool".as_ref())));
        assert!(is_cnitool(Some("cnitool".as_ref())));
        assert!(!is_cnitool(Some("/usr/bin/cnm-cni".as_ref())));
        assert!(!is_cnitool(None));
    }
}
