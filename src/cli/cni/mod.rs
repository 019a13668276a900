//! `cnm-cni cni`: a network's chain, run by hand. A drop-in for the reference cnitool.

mod arguments;
mod cnitool;

pub(super) use arguments::Args;
pub(super) use cnitool::{from_cnitool, is_cnitool};

use std::fmt;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};

use super::output;
use super::serve::Signals;
use crate::cni::{
    AttachResult, Attachment, Cache, CacheError, CachedAttachment, NetworkConfigList, Runtime,
    Version,
};
use arguments::{Collect, Target, Verb};

/// Several errors, a line each.
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
            // Plugins are in process groups of their own: they do not get the signal,
            // and are killed when what runs them is dropped.
            name = signals.next() => Err(anyhow!("stopped by {name}; detach with del")),
            outcome = execute(args.verb) => outcome,
        }
    });
    match outcome {
        Ok(None) => {}
        // The ADD has succeeded, and is on record.
        Ok(Some(result)) => output::write(&(result + "\n"))?,
        Err(error) => {
            // The engine's errors are complete.
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
        // What cannot be recorded must not be made: it could not be undone properly.
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
            // This error is no reason to leave the attachment.
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

    /// The chain and the arguments of the ADD, if they are on record. The command line takes precedence.
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
