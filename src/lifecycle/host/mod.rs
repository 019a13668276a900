//! What the driver shares with the rest of the host: its conflists and plugins, and its rules.

mod chains;
mod conflist_locks;
mod docker_bridges;
pub(crate) mod filter;
pub(crate) mod forward;
pub(crate) mod host_side;
mod isolation;
mod isolation_nft;
mod isolation_rules;
pub(crate) mod kernel_routes;
pub(crate) mod masquerade;
mod names;
pub(crate) mod nat;
pub(crate) mod nft;
pub(crate) mod restore_masquerade;
mod shared_conflists;
pub(crate) mod tables;

pub(crate) use chains::Chains;
use conflist_locks::ConflistLocks;
pub(crate) use forward::Exemptions;
pub(crate) use isolation::Isolation;
pub(crate) use shared_conflists::SharedConflists;
