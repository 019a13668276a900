//! The driver and its parts.

use std::sync::Arc;

use super::attach::Maker;
use super::background::{Background, Gate};
use super::config::Maximum;
use super::driver_info::DriverInfo;
use super::error::Result;
use super::history::History;
use super::host::{Chains, Exemptions, Isolation};
use super::interface::Interfaces;
use super::ports::{Ports, Publisher};
use super::record::{Endpoints, Inherited, Networks, Records, UnreadRules, Watched};
use super::removal::Removals;
use super::spares::Spares;
use crate::journal::Journal;

/// The driver: every method of the remote driver protocol, without the wire.
///
/// Every method may be called again with the same ids, at any time, and then gives the same answer: dockerd
/// repeats a call when the connection fails.
///
/// Each part owns its state; a call uses a few methods of the parts. Clones are the same driver.
#[derive(Debug, Clone)]
pub struct Driver {
    /// What is reported to the operator about the driver itself.
    pub(crate) info: Arc<DriverInfo>,
    /// The kernel's id of the current boot.
    pub(crate) boot_id: Arc<str>,
    pub(crate) history: History,
    pub(crate) maker: Arc<Maker>,
    pub(crate) maximum: Maximum,
    /// Whether DeleteEndpoint is answered only once DEL has run.
    pub(crate) sync_delete: bool,
    pub(crate) networks: Arc<Networks>,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) inherited: Arc<Inherited>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) unread_rules: Arc<UnreadRules>,
    pub(crate) records: Arc<Records>,
    pub(crate) chains: Arc<Chains>,
    pub(crate) exemptions: Arc<Exemptions>,
    pub(crate) isolation: Arc<Isolation>,
    pub(crate) interfaces: Arc<Interfaces>,
    pub(crate) ports: Arc<Ports>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) removals: Arc<Removals>,
    /// Held while metrics are gathered.
    pub(crate) scraping: Arc<tokio::sync::Mutex<()>>,
    pub(crate) spares: Arc<Spares>,
    /// Held while garbage is collected.
    pub(crate) collecting: Arc<tokio::sync::Mutex<()>>,
    pub(crate) gate: Gate,
    pub(crate) background: Background,
}

impl Driver {
    /// Makes the isolation rules that the networks on record need.
    pub(crate) async fn isolate(&self) -> Result<()> {
        self.isolation.ensure(&self.networks, &self.interfaces.own).await
    }

    /// The history of this driver, for those who know names.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.history.journal().clone()
    }

    /// Waits until the work in the background has ended.
    pub async fn drain(&self) {
        self.background.drain().await;
        self.history.stopped().await;
    }
}
