//! What the driver shares with the rest of the host: its rules, a conflist's plugins, and its
//! attention.

pub(crate) mod filter;
pub(crate) mod forward;
mod gate;
pub(crate) mod masquerade;
pub(crate) mod nft;
pub(crate) mod side;
pub(crate) mod tables;
mod turns;

pub(crate) use gate::Gate;
pub(crate) use turns::Turns;
