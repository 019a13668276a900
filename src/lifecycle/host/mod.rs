//! What the driver shares with the rest of the host: its FORWARD chain, a conflist's plugins, and
//! its processors.

pub(crate) mod forward;
mod gate;
mod turns;

pub(crate) use gate::Gate;
pub(crate) use turns::Turns;
