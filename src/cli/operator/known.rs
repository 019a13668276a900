//! What the driver has, with Docker's names: all that the operator's verbs show.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::statvfs::{FsFlags, statvfs};
use serde::Serialize;

use super::docker;
use super::names::{Container, Named, Names, is_beginning_of_id};
use crate::cli::client::{DockerArgs, NoDriver, Socket};
use crate::cli::folders::{CONF_DIR, UNREADABLE_RECORDS};
use crate::cli::output::{Listing, complain, line};
use crate::cni::{ConfDir, Trust};
use crate::docker::Wanted;
use crate::lifecycle::inventory::{self, Attachment, Conflist, Inventory, Network, Phase};
use crate::lifecycle::{DriverInfo, Fault};
use crate::server::control::{Everything, INVENTORY};
use crate::translate::own_name;

/// Where the records are, unless somebody says otherwise.
const USUAL: &str = "/var/lib/cnm-cni";

/// Where the verbs ask.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Sources {
    #[command(flatten)]
    pub(super) socket: Socket,

    #[command(flatten)]
    pub(super) docker: DockerArgs,

    /// Read the records in this folder, and do not ask the driver [default: /var/lib/cnm-cni, where no
    /// driver answers]
    #[arg(long, value_name = "DIR", env = "CNM_CNI_STATE_DIR")]
    state_dir: Option<PathBuf>,

    /// Folder of the CNI configuration files, where no driver answers
    #[arg(long, value_name = "DIR", env = "NETCONFPATH", default_value = CONF_DIR)]
    conf_dir: PathBuf,
}

/// A list of what is in the driver's records, whether or not it runs.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Records {
    /// Folder of the driver's records, as for 'cnm-cni serve'
    #[arg(long, value_name = "DIR", env = "CNM_CNI_STATE_DIR", default_value = "/var/lib/cnm-cni")]
    pub(super) state_dir: PathBuf,

    #[command(flatten)]
    pub(super) listing: Listing,

    #[command(flatten)]
    pub(super) docker: DockerArgs,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) inventory: Inventory,
    pub(super) names: Names,
    /// Why no record can be written; none if one can.
    pub(super) no_room: Option<Fault>,
}

/// An attachment with its names, as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct Row<'k> {
    #[serde(flatten)]
    pub(super) names: Named,
    /// See [`state`].
    pub(super) state: &'static str,
    #[serde(flatten)]
    pub(super) attachment: &'k Attachment,
}

/// Why no record can be written to that folder; none if one can, or if that is not known: a managed plugin's
/// folder is in its own mount namespace.
fn no_room(state_dir: &Path) -> Option<Fault> {
    let disk = statvfs(state_dir).ok()?;
    let why = if disk.flags().contains(FsFlags::ST_RDONLY) {
        "is read-only"
    } else if disk.blocks_free() == 0 || (disk.files() > 0 && disk.files_free() == 0) {
        "is full"
    } else {
        return None;
    };
    let folder = state_dir.display();
    let what =
        format!("the disk of {folder} {why}: no record can be written, and no container can start");
    Some(Fault::new(what, format!("df -h {folder}; df -i {folder}")))
}

impl Sources {
    /// Asks the driver and Docker. If one does not answer, a line tells the user so.
    ///
    /// # Errors
    /// The driver refuses; or it does not run, and its records cannot be read.
    pub(super) fn ask(&self, outer: &Wanted) -> anyhow::Result<Known> {
        let inventory = self.inventory()?;
        let no_room = no_room(self.state_dir(inventory.driver.as_ref()));
        Ok(Known { inventory, names: docker::names(&self.docker, outer), no_room })
    }

    /// The folder of the records: the user's, else the one that the driver tells, else the usual one.
    pub(super) fn state_dir<'k>(&'k self, driver: Option<&'k DriverInfo>) -> &'k Path {
        let of_driver = driver.map(|info| info.state_dir.as_path());
        self.state_dir.as_deref().or(of_driver).unwrap_or(Path::new(USUAL))
    }

    /// The folder of the configurations, unless a driver tells another.
    pub(super) fn conf_dir(&self) -> &Path {
        &self.conf_dir
    }

    /// The same sources, where the driver's answer may take no longer than this.
    pub(super) fn within(&self, limit: Duration) -> Self {
        Self { socket: self.socket.within(limit), ..self.clone() }
    }

    /// What the driver has; where none answers, what its records tell.
    pub(super) fn inventory(&self) -> anyhow::Result<Inventory> {
        if let Some(state_dir) = &self.state_dir {
            return self.read(state_dir);
        }
        match self.socket.ask(INVENTORY, &Everything {}) {
            Ok(Inventory { version, .. }) if version != inventory::VERSION => anyhow::bail!(
                "the driver tells what it has in version {version}, and this program reads version {}; \
                 start the driver of this program's version",
                inventory::VERSION
            ),
            Ok(inventory) => Ok(inventory),
            Err(error) if error.is::<NoDriver>() => {
                let note = format!("note: {error}; what follows is from the records in {USUAL}");
                complain(&line(&note));
                self.read_records()
            }
            Err(error) => Err(error),
        }
    }

    /// The same without a word to the user; none if nothing can be had in this time.
    pub(super) fn quietly(&self, limit: Duration) -> Option<Inventory> {
        if self.state_dir.is_none()
            && let Ok(inventory) = self.socket.within(limit).ask(INVENTORY, &Everything {})
        {
            return Some(inventory);
        }
        self.read_records().ok()
    }

    /// What the records tell, without asking a driver.
    pub(super) fn read_records(&self) -> anyhow::Result<Inventory> {
        self.read(self.state_dir(None))
    }

    fn read(&self, state_dir: &Path) -> anyhow::Result<Inventory> {
        let conf_dir = ConfDir::new(self.conf_dir.clone()).trusting(Trust::Root);
        Inventory::read(state_dir, &conf_dir).context(UNREADABLE_RECORDS)
    }
}

impl Known {
    /// An attachment with its names.
    pub(super) fn row<'k>(&'k self, attachment: &'k Attachment) -> Row<'k> {
        let names = self.names.of(&attachment.endpoint, &attachment.network);
        Row { names, state: state(attachment), attachment }
    }

    /// All spares: attachments that no container has yet.
    pub(super) fn spares(&self) -> impl Iterator<Item = Row<'_>> {
        self.inventory.spares.iter().map(|spare| self.row(spare))
    }

    /// All attachments that containers have, or had.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.inventory.attachments.iter().map(|attachment| self.row(attachment))
    }

    /// The attachments of a container that runs.
    pub(super) fn attachments_of<'k>(
        &'k self,
        container: &'k Container,
    ) -> impl Iterator<Item = &'k Attachment> {
        self.inventory.attachments.iter().filter(|it| container.has(&it.endpoint))
    }

    /// The conflist of that name.
    pub(super) fn conflist(&self, name: &str) -> Option<&Conflist> {
        self.inventory.conflists.iter().find(|it| it.conflist == name)
    }

    /// The network that has this chain of its own; none if others can have it too.
    pub(super) fn own_network(&self, conflist: &str) -> Option<&Network> {
        self.inventory.networks.iter().find(|it| own_name(&it.network) == conflist)
    }

    /// The networks of exactly that name; if there is none, the networks whose id begins so.
    pub(super) fn networks_called(&self, name: &str) -> Vec<&Network> {
        let networks = || self.inventory.networks.iter();
        let names = &self.names.networks;
        let is_named = |it: &&Network| names.get(&it.network).is_some_and(|it| it == name);
        let named: Vec<&Network> = networks().filter(is_named).collect();
        if !named.is_empty() || !is_beginning_of_id(name) {
            return named;
        }
        networks().filter(|it| it.network.as_str().starts_with(name)).collect()
    }

    /// The same, where there has to be one.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn wanted_networks(&self, name: &str) -> anyhow::Result<Vec<&Network>> {
        let networks = self.networks_called(name);
        if networks.is_empty() {
            anyhow::bail!("no network of this driver is called {name:?}; 'cnm-cni net' lists them");
        }
        Ok(networks)
    }

    /// Docker's name of a network; if that is unknown, the beginning of its id.
    pub(super) fn network_name<'k>(&'k self, network: &'k Network) -> &'k str {
        let name = self.names.networks.get(&network.network);
        name.map_or_else(|| network.network.short(), String::as_str)
    }
}

/// The state of an attachment, in a word: spare, starting, up, removing, or orphan once its DEL has failed.
pub(super) fn state(attachment: &Attachment) -> &'static str {
    let failed = attachment.removal.as_ref().is_some_and(|removal| removal.error.is_some());
    match attachment.phase {
        Phase::Spare => "spare",
        Phase::Adding | Phase::Staged => "starting",
        Phase::Joined | Phase::Settled => "up",
        Phase::Deleting if failed => "orphan",
        Phase::Deleting => "removing",
    }
}

/// Whether an attachment's id, or its endpoint's, begins with this.
pub(super) fn has_id(attachment: &Attachment, beginning: &str) -> bool {
    is_beginning_of_id(beginning)
        && (attachment.attachment.starts_with(beginning)
            || attachment.endpoint.as_str().starts_with(beginning))
}

/// The innermost of the host's links that an attachment's packets pass.
pub(super) fn host_link(attachment: &Attachment) -> Option<&str> {
    attachment.host_links.first().map(String::as_str)
}

/// The ports of an attachment: `*:8080->80/tcp`.
pub(super) fn ports(attachment: &Attachment) -> impl Iterator<Item = String> {
    attachment.ports.iter().map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::super::snapshots::sample;

    #[test]
    fn the_exact_name_of_a_network_wins_over_the_beginning_of_an_id() {
        let mut known = sample();
        let ids = |known: &super::Known, name: &str| -> Vec<String> {
            known.networks_called(name).iter().map(|it| it.network.short().to_owned()).collect()
        };
        assert_eq!(ids(&known, "a1b2"), ["a1b2c3d4e5f6"]);
        let second = known.inventory.networks[1].network.clone();
        known.names.networks.insert(second, "a1b2".to_owned());
        assert_eq!(ids(&known, "a1b2"), ["b2c3d4e5f607"]);
        let told = known.wanted_networks("a1").unwrap_err().to_string();
        assert_eq!(told, "no network of this driver is called \"a1\"; 'cnm-cni net' lists them");
    }
}
