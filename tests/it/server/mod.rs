//! Docker's door, through the real router and the real socket.

mod activation;
mod bodies;
pub(crate) mod client;
pub(crate) mod dockerd;
mod door;
mod driver;
mod metrics;
pub(crate) mod process;
mod replay;
mod sequences;
mod wire;
