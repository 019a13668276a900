//! What the checks of one round have in common.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::rules::HostRules;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::host::Exemptions;
use crate::netns;

/// What is read once for all endpoints of a round.
pub(super) struct Shared {
    /// Whether to put back what is damaged.
    pub(super) repair: bool,
    exemptions: Arc<Exemptions>,
    /// The host's rules, as they were when the round began.
    rules: OnceCell<HostRules>,
    /// Pins that lay over other pins when the round began. A check has left each of them, or runs in
    /// another round.
    stacked: OnceCell<Vec<PathBuf>>,
    /// Whether networks are isolated, as it was when this was first asked; or why that is unknown.
    isolation: OnceCell<std::result::Result<bool, String>>,
}

impl Shared {
    pub(super) fn new(driver: &Driver, repair: bool) -> Self {
        Self {
            repair,
            exemptions: Arc::clone(&driver.exemptions),
            rules: OnceCell::new(),
            stacked: OnceCell::new(),
            isolation: OnceCell::new(),
        }
    }

    /// The host's rules when the first endpoint of this round was checked.
    pub(super) async fn rules(&self) -> &HostRules {
        self.rules.get_or_init(|| HostRules::read(&self.exemptions)).await
    }

    /// Whether networks are isolated; after a repair this is checked again.
    pub(super) async fn isolation(&self, driver: &Driver) -> std::result::Result<bool, String> {
        let look = async || {
            let (isolation, own) = (&driver.isolation, &driver.interfaces.own);
            let whole = isolation.is_whole(&driver.networks, own).await;
            whole.map_err(|error| chain(&error))
        };
        match self.repair {
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
