//! The parts that the others are made of.

use std::sync::Arc;

use super::background::{Background, Gate};
use super::history::History;
use super::host::{Chains, Exemptions, Isolation};
use super::interface::Interfaces;
use super::record::{Endpoints, Networks, Records};

/// The parts that several rooms use. Each owns its state, and knows none of the others. What is made of them
/// takes from here what it needs. Clones share the parts.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) networks: Arc<Networks>,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) records: Arc<Records>,
    pub(crate) chains: Arc<Chains>,
    pub(crate) exemptions: Arc<Exemptions>,
    pub(crate) isolation: Arc<Isolation>,
    pub(crate) interfaces: Arc<Interfaces>,
    pub(crate) history: History,
    pub(crate) gate: Gate,
    pub(crate) background: Background,
}
