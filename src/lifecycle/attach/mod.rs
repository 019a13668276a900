//! Making an attachment: what its chain is told, ADD in a staging namespace, and what ADD made.
//!
//! Docker wants the addresses before it names the container's namespace. So the chain runs
//! in a namespace of ours; Join hands the interface over.

mod maker;
mod told;
mod wanted;

pub(crate) use maker::Maker;
pub(crate) use told::Told;
pub(crate) use wanted::Wanted;
