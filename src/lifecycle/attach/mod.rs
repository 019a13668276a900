//! Making an attachment: what its chain is told, ADD in a staging namespace, and what ADD made.
//!
//! Docker wants the addresses before it names the container's namespace. So the chain runs
//! in a namespace of ours; Join hands the interface over.

mod chain_input;
mod maker;
mod requested_interface;

pub(crate) use chain_input::ChainInput;
pub(crate) use maker::Maker;
pub(crate) use requested_interface::RequestedInterface;
