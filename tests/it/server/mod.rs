//! Docker's door, through the real router and the real socket.

mod bodies;
mod client;
mod door;
mod process;
mod wire;
