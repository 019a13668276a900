//! What the driver shares with the rest of the host: its FORWARD chain, and a conflist's plugins.

pub(crate) mod forward;
mod turns;

pub(crate) use turns::Turns;
