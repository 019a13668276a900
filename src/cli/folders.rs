//! The flags that several verbs share: where configurations and plugins are.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Context;

use crate::cni::{ConfDir, Limits, Runtime};

const CONF_DIR: &str = "/etc/cni/net.d";
const CNI_PATH: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

/// An empty variable counts as none, as with libcni's tools.
#[derive(Debug, clap::Args)]
pub(super) struct Folders {
    /// Folder of the CNI configuration files [default: /etc/cni/net.d]
    #[arg(long, value_name = "DIR", env = "NETCONFPATH")]
    conf_dir: Option<OsString>,

    /// Folders of the CNI plugins, searched in order [default:
    /// /opt/cni/bin:/usr/lib/cni:/usr/libexec/cni]
    #[arg(long, value_name = "DIR:DIR…", env = "CNI_PATH")]
    cni_path: Option<OsString>,
}

impl Folders {
    /// The folder of the configuration files.
    pub(super) fn conf_dir(&self) -> ConfDir {
        ConfDir::new(unless_empty(self.conf_dir.as_deref()).unwrap_or(CONF_DIR.as_ref()).into())
    }

    /// A runtime on the folders of the plugins.
    pub(super) fn runtime(&self) -> anyhow::Result<Runtime> {
        let folders: Vec<PathBuf> = match unless_empty(self.cni_path.as_deref()) {
            Some(path) => std::env::split_paths(path).collect(),
            None => CNI_PATH.map(PathBuf::from).to_vec(),
        };
        // Plugins are given the paths too, and may run others from another place.
        let folders: Result<_, _> = folders
            .into_iter()
            .filter(|folder| !folder.as_os_str().is_empty())
            .map(std::path::absolute)
            .collect();
        let folders = folders.context("cannot tell where the plugin folders are")?;
        Ok(Runtime::new(folders, Limits::default()))
    }
}

/// The value of a variable, which may be set and empty.
pub(super) fn unless_empty(value: Option<&OsStr>) -> Option<&OsStr> {
    value.filter(|value| !value.is_empty())
}
