//! What the checks of one round have in common.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use tokio::sync::{Mutex, OnceCell};

use super::fault::Fault;
use super::host_state::HostState;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::lease;
use crate::netns::{self, Identity};

/// What is done with each endpoint of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// It is checked.
    Look,
    /// The host's side of it is checked: its namespace is not entered, and its plugins are not asked.
    LookAtHost,
    /// It is checked, what differs is put back, and it is checked again.
    Repair,
    /// What the host's rules have lost of it is put back.
    Reload,
}

/// The name of a conflist, and the types of the plugins that ADD ran.
pub(super) type ChainKey = (String, Vec<String>);

/// What is read once for all endpoints of a round.
pub(super) struct Shared {
    pub(super) task: Task,
    /// The host, as it was when the first endpoint was checked.
    host: OnceCell<HostState>,
    /// Pins that lay over other pins when the round began. A check has left each of them, or runs in
    /// another round.
    stacked: OnceCell<Vec<PathBuf>>,
    /// Whether networks are isolated, as it was when this was first asked; or why that is unknown.
    isolation: OnceCell<std::result::Result<bool, String>>,
    /// What is wrong with a conflist or its plugins, as it was when this was first asked.
    pub(super) conflists: Mutex<HashMap<ChainKey, Vec<Fault>>>,
    /// The namespaces in which leases of `dhcp` are kept, as it was when this was first asked.
    leases: OnceCell<HashSet<Identity>>,
}

impl Shared {
    pub(super) fn new(task: Task) -> Self {
        Self {
            task,
            host: OnceCell::new(),
            stacked: OnceCell::new(),
            isolation: OnceCell::new(),
            conflists: Mutex::default(),
            leases: OnceCell::new(),
        }
    }

    /// The host when the first endpoint of this round was checked.
    pub(super) async fn host(&self, driver: &Driver) -> &HostState {
        self.host.get_or_init(|| HostState::read(driver)).await
    }

    /// The namespaces in which leases are kept; after a repair this is looked at again.
    pub(super) async fn leases(&self) -> Result<Cow<'_, HashSet<Identity>>> {
        match self.task {
            Task::Repair => Ok(Cow::Owned(lease::kept().await?)),
            Task::Look | Task::LookAtHost | Task::Reload => {
                Ok(Cow::Borrowed(self.leases.get_or_try_init(lease::kept).await?))
            }
        }
    }

    /// Whether networks are isolated: as it was when this was first asked, or, where something may have been
    /// put back, as it is now.
    pub(super) async fn isolation(
        &self,
        driver: &Driver,
        now: bool,
    ) -> std::result::Result<bool, String> {
        let look = async || {
            let (isolation, own) = (&driver.isolation, &driver.interfaces.own);
            let whole = isolation.is_whole(&driver.networks, own).await;
            whole.map_err(|error| chain(&error))
        };
        match now {
            true => look().await,
            false => self.isolation.get_or_init(look).await.clone(),
        }
    }

    /// Whether a pin lies over another one at `staging`, left by a check that could not be ended. The
    /// caller holds the endpoint.
    pub(super) async fn is_stacked(&self, driver: &Driver, staging: &Path) -> Result<bool> {
        let stacked = async || {
            let folder = driver.interfaces.netns_dir().to_owned();
            on_blocking_thread(move || Ok(netns::stacked(&folder)?)).await
        };
        let is_among = |stacked: &[PathBuf]| stacked.iter().any(|pin| pin == staging);
        let at_first = self.stacked.get_or_try_init(stacked).await?;
        // A check of another round has ended by now, because the endpoint is held.
        Ok(is_among(at_first) && is_among(&stacked().await?))
    }
}
