//! What the driver shares with the rest of the host: its FORWARD chain, and a conflist's plugins.

pub(crate) mod forward;
pub(crate) mod tables;
mod turns;

pub(crate) use turns::Turns;
