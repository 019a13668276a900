//! Docker's names of a container and a network.

use serde::{Deserialize, Serialize};

use crate::cnm::NetworkId;

/// The names in the objects of every verb's JSON, and in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The container's name.
    pub container: Option<String>,
    /// The container's id.
    pub container_id: Option<String>,
    /// The project of `docker compose`.
    pub project: Option<String>,
    /// The service of `docker compose`.
    pub service: Option<String>,
    /// The name of Docker's network.
    pub network_name: Option<String>,
}

impl Named {
    /// The container's name, or `-`.
    #[must_use]
    pub fn container(&self) -> &str {
        self.container.as_deref().unwrap_or("-")
    }

    /// The network's name; if it is unknown, the beginning of its id.
    #[must_use]
    pub fn network<'n>(&'n self, id: &'n NetworkId) -> &'n str {
        self.network_name.as_deref().unwrap_or_else(|| id.short())
    }

    /// Takes from `other` what is unknown here.
    pub fn complete(&mut self, other: &Self) {
        if self.container_id.is_none() {
            self.container.clone_from(&other.container);
            self.container_id.clone_from(&other.container_id);
            self.project.clone_from(&other.project);
            self.service.clone_from(&other.service);
        }
        if self.network_name.is_none() {
            self.network_name.clone_from(&other.network_name);
        }
    }
}
