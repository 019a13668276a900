//! What the driver shares with the rest of the host: its conflists and plugins, its FORWARD chain.

mod chains;
pub(crate) mod forward;
mod lists;
pub(crate) mod nat;
mod turns;

pub use chains::embedded;

pub(crate) use chains::Chains;
pub(crate) use lists::Lists;
use turns::Turns;
