//! A network looked at before it is used: what would keep ADD from working.
//!
//! ADD itself asks nobody for versions. So this finds what else shows up with the first
//! container: a plugin that is missing or too old, or that says it is not ready.

use std::path::PathBuf;

use ipnet::IpNet;

use super::delegate::Delegate;
use super::{Error, NetworkConfigList, PluginConfig, Runtime};

/// What was found out about a network.
#[derive(Debug)]
pub struct Validation {
    /// Every plugin of the chain in its order, each followed by those that it runs: the IPAM plugin,
    /// or one that it hands over to, with its IPAM plugin.
    pub plugins: Vec<ValidatedPlugin>,
    /// The subnets of this host that a plugin has from the host's agent. The configuration does not
    /// tell them.
    pub subnets: Vec<IpNet>,
    /// What the plugins say to STATUS. None where nobody was asked: the network's version is
    /// from before 1.1.0, or a plugin is not usable.
    pub status: Option<Result<(), Error>>,
}

/// What was found out about one plugin.
#[derive(Debug)]
pub struct ValidatedPlugin {
    /// The plugin's type.
    pub plugin_type: String,
    /// The type of the plugin that runs it, if the chain itself does not.
    pub ipam_of: Option<String>,
    /// The capabilities that its configuration declares.
    pub capabilities: Vec<String>,
    /// Its executable, once it is found.
    pub program: Option<PathBuf>,
    /// The versions that it says it supports, once it has answered.
    pub versions: Vec<String>,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<Unusable>,
}

/// Why a plugin cannot serve its network.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is not there, cannot be executed, or does not answer VERSION.
    #[error(transparent)]
    Failed(#[from] Error),
    /// It does not support the network's version.
    #[error(
        "plugin {plugin} does not support config version {version:?}, only {}; install a newer \
         plugin, or set \"cniVersion\" to a version that all plugins of the network support",
        supported.join(", ")
    )]
    Version {
        /// The plugin's type.
        plugin: String,
        /// The network's version.
        version: String,
        /// The versions that it supports.
        supported: Vec<String>,
    },
    /// The host's agent has not said which subnet the plugin is to use.
    #[error(
        "cannot read the host's subnet from {}: {reason}; flanneld writes it once it has one",
        file.display()
    )]
    NoSubnet {
        /// Where it is to be.
        file: PathBuf,
        /// Why it is not.
        reason: String,
    },
}

impl Validation {
    /// Whether the network can be used as far as its plugins go.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.plugins.iter().all(|plugin| plugin.problem.is_none())
            && !matches!(self.status, Some(Err(_)))
    }
}

impl Runtime {
    /// Looks at a network: whether each plugin and IPAM plugin is there, answers VERSION, and
    /// supports the network's version; and, where all of them do and the version has it, what
    /// they say to STATUS.
    pub async fn validate(&self, list: &NetworkConfigList) -> Validation {
        let (mut plugins, mut subnets) = (Vec::new(), Vec::new());
        for plugin in list.plugins() {
            let mut of_chain = self.validate_plugin(plugin.plugin_type(), list).await;
            of_chain.capabilities = plugin.capabilities().map(str::to_owned).collect();
            let delegate = Delegate::of(plugin);
            match delegate.as_ref().map(Delegate::subnets) {
                Some(Ok(of_host)) => subnets.extend(of_host),
                Some(Err(problem)) => {
                    of_chain.problem.get_or_insert(problem);
                }
                None => {}
            }
            plugins.push(of_chain);
            for (runner, run) in runs(plugin, delegate.as_ref()) {
                let ipam_of = Some(runner.to_owned());
                plugins.push(ValidatedPlugin { ipam_of, ..self.validate_plugin(run, list).await });
            }
        }
        let usable = plugins.iter().all(|plugin| plugin.problem.is_none());
        let asks = usable && list.cni_version().has_gc_and_status();
        let status = if asks { Some(self.status(list).await) } else { None };
        Validation { plugins, subnets, status }
    }

    async fn validate_plugin(&self, plugin: &str, list: &NetworkConfigList) -> ValidatedPlugin {
        let mut seen = ValidatedPlugin {
            plugin_type: plugin.to_owned(),
            ipam_of: None,
            capabilities: Vec::new(),
            program: None,
            versions: Vec::new(),
            problem: None,
        };
        seen.problem = self.look_at(&mut seen, list).await.err();
        seen
    }

    async fn look_at(
        &self,
        seen: &mut ValidatedPlugin,
        list: &NetworkConfigList,
    ) -> Result<(), Unusable> {
        seen.program = Some(self.find(&seen.plugin_type)?);
        seen.versions = self.version(&seen.plugin_type).await?;
        let version = list.cni_version().to_string();
        if seen.versions.contains(&version) {
            return Ok(());
        }
        let (plugin, supported) = (seen.plugin_type.clone(), seen.versions.clone());
        Err(Unusable::Version { plugin, version, supported })
    }
}

/// The plugins that a plugin of a chain runs, each after the one that runs it.
fn runs<'p>(
    plugin: &'p PluginConfig,
    delegate: Option<&'p Delegate>,
) -> impl Iterator<Item = (&'p str, &'p str)> {
    let of_chain = plugin.plugin_type();
    let handed_over = delegate.map(|to| (of_chain, to.plugin_type.as_str()));
    let ipam = match delegate {
        Some(to) => Some((to.plugin_type.as_str(), to.ipam_type.as_str())),
        None => plugin.ipam_type().map(|ipam| (of_chain, ipam)),
    };
    handed_over.into_iter().chain(ipam)
}
