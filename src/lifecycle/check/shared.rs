//! What the checks of one round have in common.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::rules::HostRules;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::host::Exemptions;
use crate::lifecycle::lease;
use crate::netns::{self, Identity};

/// What is done with each endpoint of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// It is checked.
    Look,
    /// It is checked, what differs is put back, and it is checked again.
    Repair,
    /// What the host's rules have lost of it is put back.
    Reload,
}

/// What is read once for all endpoints of a round.
pub(super) struct Shared {
    pub(super) task: Task,
    exemptions: Arc<Exemptions>,
    /// The host's rules, as they were when the round began.
    rules: OnceCell<HostRules>,
    /// Pins that lay over other pins when the round began. A check has left each of them, or runs in
    /// another round.
    stacked: OnceCell<Vec<PathBuf>>,
    /// Whether networks are isolated, as it was when this was first asked; or why that is unknown.
    isolation: OnceCell<std::result::Result<bool, String>>,
    /// The namespaces in which leases of `dhcp` are kept, as it was when this was first asked.
    leases: OnceCell<HashSet<Identity>>,
}

impl Shared {
    pub(super) fn new(driver: &Driver, task: Task) -> Self {
        Self {
            task,
            exemptions: Arc::clone(&driver.exemptions),
            rules: OnceCell::new(),
            stacked: OnceCell::new(),
            isolation: OnceCell::new(),
            leases: OnceCell::new(),
        }
    }

    /// The host's rules when the first endpoint of this round was checked.
    pub(super) async fn rules(&self) -> &HostRules {
        self.rules.get_or_init(|| HostRules::read(&self.exemptions)).await
    }

    /// The namespaces in which leases are kept; after a repair this is looked at again.
    pub(super) async fn leases(&self) -> Result<Cow<'_, HashSet<Identity>>> {
        match self.task {
            Task::Repair => Ok(Cow::Owned(lease::kept().await?)),
            Task::Look | Task::Reload => {
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
