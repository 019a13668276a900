//! The flags that several verbs share: where configurations and plugins are.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Context;
use clap::builder::BoolishValueParser;

use crate::cni::{ConfDir, Limits, Runtime, Trust};

/// Folder of the CNI configuration files, unless the user says otherwise.
pub(super) const CONF_DIR: &str = "/etc/cni/net.d";
const CNI_PATH: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

/// Said when the driver's records cannot be read: they are root's.
pub(super) const UNREADABLE_RECORDS: &str =
    "cannot read the driver's records: are you root, and is --state-dir that of 'cnm-cni serve'?";

/// Where configurations are. An empty variable counts as none, as with libcni's tools.
#[derive(Debug, clap::Args)]
pub(super) struct Configurations {
    /// Folder of the CNI configuration files (*.conflist, *.conf, *.json)
    /// [default: /etc/cni/net.d]
    #[arg(long, value_name = "DIR", env = "NETCONFPATH")]
    conf_dir: Option<OsString>,

    /// Use conflists and plugins that others than root can change: they can have root run anything
    #[arg(long, env = "CNM_CNI_ALLOW_WRITABLE", value_parser = BoolishValueParser::new())]
    allow_writable: bool,
}

/// Where configurations and plugins are.
#[derive(Debug, clap::Args)]
pub(super) struct Folders {
    #[command(flatten)]
    configurations: Configurations,

    /// Folders of the CNI plugins, searched in order [default:
    /// /opt/cni/bin:/usr/lib/cni:/usr/libexec/cni]
    #[arg(long, value_name = "DIR:DIR…", env = "CNI_PATH")]
    cni_path: Option<OsString>,
}

impl Configurations {
    /// The networks in the folder.
    pub(super) fn conf_dir(&self) -> ConfDir {
        ConfDir::new(self.folder()).trusting(self.trust())
    }

    fn folder(&self) -> PathBuf {
        unless_empty(self.conf_dir.as_deref()).unwrap_or(CONF_DIR.as_ref()).into()
    }

    fn trust(&self) -> Trust {
        if self.allow_writable { Trust::Anybody } else { Trust::Root }
    }
}

impl Folders {
    /// The folder of the configuration files, as it was given.
    pub(super) fn configurations(&self) -> PathBuf {
        self.configurations.folder()
    }

    /// The networks in it.
    pub(super) fn conf_dir(&self) -> ConfDir {
        self.configurations.conf_dir()
    }

    /// The folders of the plugins, as absolute paths: plugins are given them too, and may run
    /// others from another place.
    pub(super) fn plugins(&self) -> anyhow::Result<Vec<PathBuf>> {
        let folders: Vec<PathBuf> = match unless_empty(self.cni_path.as_deref()) {
            Some(path) => std::env::split_paths(path).collect(),
            None => CNI_PATH.map(PathBuf::from).to_vec(),
        };
        let folders = folders.into_iter().filter(|folder| !folder.as_os_str().is_empty());
        let absolute: Result<_, _> = folders.map(std::path::absolute).collect();
        absolute.context("cannot make the plugin folders absolute")
    }

    /// A runtime on the folders of the plugins.
    pub(super) fn runtime(&self) -> anyhow::Result<Runtime> {
        Ok(Runtime::trusting(self.plugins()?, Limits::default(), self.trust()))
    }

    /// Whose configurations and plugins are used.
    pub(super) fn trust(&self) -> Trust {
        self.configurations.trust()
    }
}

/// The value of a variable, which may be set and empty.
pub(super) fn unless_empty(value: Option<&OsStr>) -> Option<&OsStr> {
    value.filter(|value| !value.is_empty())
}
