//! The conflists of this host, and running their plugins.
//!
//! Any number of ADDs and DELs of a conflist run at once, or one GC ([`super::ConflistLocks`]).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::timeout;

use super::{ConflistLocks, SharedConflists};
use crate::cni::{
    self, AttachResult, ConfDir, ConfigError, Listing, NetworkConfigList, Observer, PluginConfig,
    Runtime, Trust, ValidAttachment,
};
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::config::Config;
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::judgement::{Plan, Wishes, choose, embedded, judge, plan};
use crate::lifecycle::record::Network;
use crate::translate::{self, PORT_MAPPINGS};

/// The conflists of this host and their plugins.
#[derive(Debug)]
pub(crate) struct Chains {
    conf_dir: ConfDir,
    runtime: Runtime,
    locks: ConflistLocks,
    lists: SharedConflists,
    /// How long the ADD of a whole chain may take.
    add_within: Duration,
}

impl Chains {
    /// `observer` is told of each run of a plugin, as are those of the configuration.
    pub(crate) fn new(
        config: &Config,
        lists: SharedConflists,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let trust = if config.allow_writable { Trust::Anybody } else { Trust::Root };
        let mut observers = config.observers.clone();
        observers.extend([observer, config.metrics.plugins.clone()]);
        Self {
            conf_dir: ConfDir::new(config.conf_dir.clone()).trusting(trust),
            runtime: Runtime::observed(
                config.cni_path.clone(),
                config.limits.clone(),
                trust,
                observers,
            ),
            locks: ConflistLocks::default(),
            lists,
            add_within: config.add_within,
        }
    }

    /// The folder of the conflists.
    pub(crate) fn conf_dir(&self) -> &ConfDir {
        &self.conf_dir
    }

    /// Logs at start which files will be refused because users other than root could change them.
    pub(crate) fn warn_of_untrusted(&self) {
        for problem in self.runtime.untrusted() {
            tracing::warn!(%problem, "no such plugin will be run");
        }
        for problem in self.conf_dir.list().problems.iter().filter(|it| it.is_untrusted()) {
            tracing::warn!(%problem, "no such configuration will be used");
        }
    }

    /// The conflist of that name; without a name the default one.
    fn conflist(&self, name: Option<&str>) -> Result<NetworkConfigList> {
        let list = choose(&self.conf_dir, name)?;
        translate::attaches(&list)?;
        // Docker sets up the loopback interface of a container; the one in staging is up already.
        Ok(list.without("loopback"))
    }

    /// The chain of a new network. A subnet that is chosen for it overlaps none of `taken`.
    ///
    /// # Errors
    /// Its conflist does not exist, or cannot do what Docker asks for.
    pub(crate) async fn plan(
        self: &Arc<Self>,
        wishes: Wishes<'_>,
        taken: Vec<IpNet>,
    ) -> Result<Plan> {
        let folder = self.conf_dir.clone();
        let (id, options, pools) =
            (wishes.id.clone(), wishes.options.clone(), wishes.pools.to_vec());
        on_blocking_thread(move || {
            plan(&folder, Wishes { id: &id, options: &options, pools: &pools }, &taken)
        })
        .await
    }

    /// Judges whether Docker can have this network on the conflist.
    ///
    /// # Errors
    /// The network cannot be used; the error has the reason and the remedy.
    pub(crate) async fn judge(&self, list: &NetworkConfigList, wishes: Wishes<'_>) -> Result<()> {
        self.find_plugins(list)?;
        judge(&self.runtime, list, Some(wishes)).await.verdict(list)
    }

    /// Reads the conflist of that name, or without a name the default one.
    ///
    /// # Errors
    /// It does not exist, or cannot be read.
    pub(crate) async fn read(self: &Arc<Self>, name: Option<&str>) -> Result<NetworkConfigList> {
        let (chains, name) = (Arc::clone(self), name.map(str::to_owned));
        on_blocking_thread(move || chains.conflist(name.as_deref())).await
    }

    /// The network's own chain, or its conflist as the file has it now, if the plugins can be run.
    ///
    /// # Errors
    /// It cannot be read; a plugin is missing, or others than root could change it.
    pub(crate) async fn ready(self: &Arc<Self>, network: &Network) -> Result<NetworkConfigList> {
        let (chains, own) = (Arc::clone(self), network.own_chain.clone());
        let name = network.conflist.clone();
        on_blocking_thread(move || {
            let list = own.map_or_else(|| chains.conflist(Some(&name)), Ok)?;
            chains.find_plugins(&list)?;
            Ok(list)
        })
        .await
    }

    /// The conflists of this host, and the embedded one; and for each unusable file the reason.
    pub(crate) async fn known(
        self: &Arc<Self>,
    ) -> Result<(Vec<NetworkConfigList>, Option<String>)> {
        let folder = self.conf_dir.clone();
        on_blocking_thread(move || {
            let Listing { networks, problems } = folder.list();
            let lists = networks.into_iter().map(|listed| listed.list).chain(embedded().ok());
            // A conflist of the same name in an earlier file hides this one. It is read already, and its
            // leases have the same name.
            let unread =
                problems.iter().find(|problem| !matches!(problem, ConfigError::Hidden { .. }));
            Ok((lists.collect(), unread.map(|problem| chain(problem))))
        })
        .await
    }

    /// The conflist in memory that is equal to `list`, or `list` itself if there is none.
    pub(crate) fn share(&self, list: NetworkConfigList) -> Arc<NetworkConfigList> {
        self.lists.share(list)
    }

    /// Looks for every plugin of the chain, and for the IPAM plugins that these run.
    ///
    /// # Errors
    /// One is missing, or others than root could change it.
    pub(crate) fn find_plugins(&self, list: &NetworkConfigList) -> Result<()> {
        self.runtime.find_all(list).map_err(|source| Error::Plugin {
            conflist: list.name().to_owned(),
            source: Box::new(source.into()),
        })
    }

    /// Runs the chain's ADD, within the time limit for the whole chain. `see` gets what each plugin gives.
    pub(crate) async fn add(
        &self,
        list: &NetworkConfigList,
        parameters: &cni::Attachment,
        see: impl FnMut(&PluginConfig, &AttachResult),
    ) -> Result<AttachResult> {
        let _shared = self.locks.shared(list.name()).await;
        self.within_limit(list, self.runtime.add_step_by_step(list, parameters, see)).await
    }

    /// Runs the chain's DEL. If ADD has no result, the other plugins run their DEL even if one fails.
    pub(crate) async fn del(
        &self,
        list: &NetworkConfigList,
        parameters: &cni::Attachment,
        result: Option<&AttachResult>,
    ) -> Result<()> {
        let _shared = self.locks.shared(list.name()).await;
        match result {
            Some(result) => Ok(self.runtime.del(list, parameters, Some(result)).await?),
            None => Ok(self.runtime.undo(list, parameters).await?),
        }
    }

    /// Runs the chain's CHECK.
    pub(crate) async fn check(
        &self,
        list: &NetworkConfigList,
        parameters: &cni::Attachment,
        result: &AttachResult,
    ) -> Result<()> {
        Ok(self.runtime.check(list, parameters, result).await?)
    }

    /// Publishes the ports of `parameters`: runs ADD of the plugins that declare `portMappings`, on
    /// top of the chain's result.
    pub(crate) async fn publish(
        &self,
        list: &NetworkConfigList,
        parameters: &cni::Attachment,
        result: &AttachResult,
    ) -> Result<()> {
        let _shared = self.locks.shared(list.name()).await;
        Ok(self.runtime.add_capability(list, parameters, PORT_MAPPINGS, result).await?)
    }

    /// Withdraws published ports: runs DEL of the plugins that declare `portMappings`.
    pub(crate) async fn unpublish(
        &self,
        list: &NetworkConfigList,
        parameters: &cni::Attachment,
        result: &AttachResult,
    ) -> Result<()> {
        let _shared = self.locks.shared(list.name()).await;
        Ok(self.runtime.del_capability(list, parameters, PORT_MAPPINGS, result).await?)
    }

    /// Runs ADD of the plugins of one type behind the first one, on top of the chain's result.
    pub(crate) async fn add_type(
        &self,
        list: &NetworkConfigList,
        parameters: &cni::Attachment,
        plugin_type: &str,
        result: &AttachResult,
    ) -> Result<()> {
        let _shared = self.locks.shared(list.name()).await;
        Ok(self.runtime.add_type(list, parameters, plugin_type, result).await?)
    }

    /// Runs ADD of the chain's IPAM plugin alone, within the time limit for the whole chain.
    pub(crate) async fn add_ipam(
        &self,
        list: &NetworkConfigList,
        ipam: &str,
        parameters: &cni::Attachment,
    ) -> Result<Option<AttachResult>> {
        let _shared = self.locks.shared(list.name()).await;
        self.within_limit(list, self.runtime.add_ipam(list, ipam, parameters)).await
    }

    /// Runs an ADD within the time limit for the whole chain. A plugin that still runs at the limit is killed with
    /// all its children.
    async fn within_limit<T>(
        &self,
        list: &NetworkConfigList,
        add: impl Future<Output = std::result::Result<T, cni::Error>>,
    ) -> Result<T> {
        match timeout(self.add_within, add).await {
            Ok(ended) => Ok(ended?),
            Err(_) => {
                let conflist = list.name().to_owned();
                Err(Error::TooSlow { conflist, limit: self.add_within })
            }
        }
    }

    /// Runs DEL of the chain's IPAM plugin alone.
    pub(crate) async fn del_ipam(
        &self,
        list: &NetworkConfigList,
        ipam: &str,
        parameters: &cni::Attachment,
    ) -> Result<()> {
        let _shared = self.locks.shared(list.name()).await;
        Ok(self.runtime.del_ipam(list, ipam, parameters).await?)
    }

    /// Runs the chain's GC. The caller holds [`Chains::exclusive`], so that no other verb of the conflist runs.
    pub(crate) async fn gc(
        &self,
        list: &NetworkConfigList,
        valid: &[ValidAttachment],
    ) -> Result<()> {
        Ok(self.runtime.gc(list, valid).await?)
    }

    /// Waits until no verb of the conflist runs, and lets no other begin.
    pub(crate) async fn exclusive(&self, conflist: &str) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        self.locks.exclusive(conflist).await
    }

    /// Ends plugins of an earlier driver that still run for these attachments.
    pub(crate) async fn end_strays(&self, attachments: HashSet<String>) {
        self.runtime.end_strays(attachments).await;
    }
}
