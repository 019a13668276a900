//! Docker's door, through the real router and the real socket.

mod activation;
mod bodies;
mod client;
mod dockerd;
mod door;
mod driver;
mod process;
mod replay;
mod wire;
