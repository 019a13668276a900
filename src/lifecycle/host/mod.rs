//! What the driver shares with the rest of the host: its conflists and plugins, and its rules.

mod chains;
mod docker_bridges;
pub(crate) mod filter;
pub(crate) mod forward;
mod isolation;
mod isolation_nft;
mod isolation_rules;
pub(crate) mod kernels;
mod lists;
pub(crate) mod masked_again;
pub(crate) mod masquerade;
mod names;
pub(crate) mod nat;
pub(crate) mod nft;
pub(crate) mod side;
pub(crate) mod tables;
mod turns;

pub(crate) use chains::Chains;
pub(crate) use forward::Exemptions;
pub(crate) use isolation::Isolation;
pub(crate) use lists::Lists;
use turns::Turns;
