//! A network looked at before it is used: what would keep ADD from working.
//!
//! ADD itself asks nobody for versions. So this finds what else shows up with the first
//! container: a plugin that is missing or too old, or that says it is not ready.

use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::json;
use tokio::net::UnixStream;

use crate::cni::config::delegate::{Delegate, NoSubnet};
use crate::cni::exec::call::Call;
use crate::cni::exec::output::not_json;
use crate::cni::lenient::{self, Fields, Mismatch};
use crate::cni::{
    Error, Failure, NetworkConfigList, PluginConfig, PluginError, Runtime, Verb, Version,
};
use crate::trust::Untrusted;

/// The findings on a network.
#[derive(Debug)]
pub struct Validation {
    /// Every plugin of the chain in its order, each followed by those that it runs: the IPAM plugin,
    /// or one that it delegates to, with its IPAM plugin.
    pub plugins: Vec<ValidatedPlugin>,
    /// The subnets of this host that a plugin has from the host's agent. The configuration does not
    /// tell them.
    pub subnets: Vec<IpNet>,
    /// What the plugins say to STATUS. None where they were not asked: the network's version is
    /// from before 1.1.0, or a plugin is not usable.
    pub status: Option<Result<(), Error>>,
}

/// The findings on one plugin.
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
    #[error(transparent)]
    NoSubnet(#[from] NoSubnet),
    /// The plugin's daemon does not answer.
    #[error(
        "the daemon of plugin {plugin} does not answer on {}: {reason}; start it: systemctl enable --now \
         cni-dhcp.socket, or run 'dhcp daemon' of the plugins' folder",
        socket.display()
    )]
    NoDaemon {
        /// The plugin's type.
        plugin: String,
        /// Where it is to listen.
        socket: PathBuf,
        /// Why it cannot be reached.
        reason: std::io::Error,
    },
}

/// What a problem means for ADD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It always fails.
    Fails,
    /// It fails as things are, and that may pass.
    FailsNow,
    /// It may well succeed.
    Unknown,
}

impl Unusable {
    /// What it means for ADD.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        match self {
            Self::Version { .. } | Self::Failed(Error::NotFound(_) | Error::Untrusted(_)) => {
                Outlook::Fails
            }
            Self::Failed(Error::Plugin(error)) => match error.failure {
                Failure::NotFound(_) | Failure::Untrusted(_) | Failure::Unstarted { .. } => {
                    Outlook::Fails
                }
                // It only does not tell its versions.
                _ => Outlook::Unknown,
            },
            Self::Failed(_) => Outlook::Unknown,
            // flanneld may have its subnet by then, and the daemon may run.
            Self::NoSubnet(_) | Self::NoDaemon { .. } => Outlook::FailsNow,
        }
    }
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
    /// The executable of a plugin type. It is not run.
    ///
    /// # Errors
    ///
    /// There is none, and the error says where the driver looked; or others could change it.
    pub fn find(&self, plugin_type: &str) -> Result<PathBuf, Error> {
        Ok(self.plugins.find(plugin_type)?.path)
    }

    /// Makes sure that every plugin of the chain is there, and every IPAM plugin that one runs, and
    /// that others could change none of them, nor put one in a folder where they are looked for.
    ///
    /// # Errors
    ///
    /// The first folder that fails.
    pub fn find_all(&self, list: &NetworkConfigList) -> Result<(), Error> {
        self.judge_folders()?;
        for plugin in list.plugins() {
            self.plugins.find_for(plugin)?;
            if let Some(ipam) = plugin.ipam_type() {
                self.plugins.find(ipam)?;
            }
        }
        Ok(())
    }

    /// What others could change of the plugin folders and the files in them.
    #[must_use]
    pub fn untrusted(&self) -> Vec<Untrusted> {
        self.plugins.untrusted()
    }

    pub(in crate::cni) fn judge_folders(&self) -> Result<(), Error> {
        Ok(self.plugins.judge_folders()?)
    }

    /// VERSION: the versions of the specification that a plugin supports, as it wrote them.
    ///
    /// # Errors
    ///
    /// The plugin is missing, fails, or gives no proper answer.
    pub async fn version(&self, plugin_type: &str) -> Result<Vec<String>, Error> {
        let stdin = json!({ "cniVersion": Version::LATEST }).to_string().into_bytes();
        let program = self.plugins.find(plugin_type)?;
        let call = Call {
            verb: Verb::Version,
            plugin: plugin_type,
            position: 0,
            network: None,
            attachment: None,
            stdin: &stdin,
        };
        match self.plugins.call(&program, call, |stdout| read_versions(&stdout)).await {
            Ok(versions) => Ok(versions),
            Err(error) if is_from_before_version(&error) => Ok(vec![Version::V0_1_0.to_string()]),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at a network: whether each plugin and IPAM plugin is there, answers VERSION, and
    /// supports the network's version; and, where all of them do and the version has it, what
    /// they say to STATUS.
    pub async fn validate(&self, list: &NetworkConfigList) -> Validation {
        let (mut plugins, mut subnets) = (Vec::new(), Vec::new());
        for plugin in list.plugins() {
            let mut of_chain = self.validate_plugin(plugin.plugin_type(), list).await;
            if let (None, Err(problem)) = (&of_chain.problem, self.plugins.find_for(plugin)) {
                of_chain.problem = Some(Error::from(problem).into());
            }
            of_chain.capabilities = plugin.capabilities().map(str::to_owned).collect();
            let delegate = Delegate::of(plugin);
            match delegate.as_ref().map(Delegate::subnets) {
                Some(Ok(of_host)) => subnets.extend(of_host),
                Some(Err(problem)) => {
                    of_chain.problem.get_or_insert(problem.into());
                }
                None => {}
            }
            plugins.push(of_chain);
            for (runner, run) in runs(plugin, delegate.as_ref()) {
                let ipam_of = Some(runner.to_owned());
                let mut of_plugin = self.validate_plugin(run, list).await;
                if let Some(socket) = plugin.dhcp_socket()
                    && of_plugin.problem.is_none()
                    && let Err(reason) = UnixStream::connect(socket).await
                {
                    let (plugin, socket) = (run.to_owned(), socket.to_owned());
                    of_plugin.problem = Some(Unusable::NoDaemon { plugin, socket, reason });
                }
                plugins.push(ValidatedPlugin { ipam_of, ..of_plugin });
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
        self.judge_folders()?;
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

/// What plugins of the first version say to VERSION.
fn is_from_before_version(error: &PluginError) -> bool {
    matches!(&error.failure, Failure::Reported { msg, .. } if msg == "unknown CNI_COMMAND: VERSION")
}

fn read_versions(stdout: &[u8]) -> Result<Vec<String>, Failure> {
    let json = lenient::parse(stdout).map_err(|_| Failure::VersionInfo(not_json(stdout)))?;
    let malformed = |mismatch: Mismatch| Failure::VersionInfo(mismatch.to_string());
    let missing = |field: &str| Err(Failure::VersionInfo(format!("missing field {field}")));
    let mut fields = Fields::at("the answer", json).map_err(malformed)?;
    let version = fields.text("cniVersion").map_err(malformed)?;
    let supported = fields.texts("supportedVersions").map_err(malformed)?;
    match (version.as_deref(), supported.is_empty()) {
        (None, _) => missing("cniVersion"),
        (Some(_), false) => Ok(supported),
        (Some("0.2.0"), true) => Ok(vec![Version::V0_1_0.to_string(), Version::V0_2_0.to_string()]),
        (Some(_), true) => missing("supportedVersions"),
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
