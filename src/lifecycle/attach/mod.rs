//! Making an attachment: the input of its chain, ADD in a staging namespace, and what ADD made.
//!
//! Docker wants the addresses before it names the namespace of the container. So the chain runs in a namespace
//! of the driver, and Join hands the interface over.

mod chain_input;
mod maker;
mod requested_interface;

pub(crate) use chain_input::ChainInput;
pub(crate) use maker::Maker;
pub(crate) use requested_interface::RequestedInterface;
