//! DEL: run in the background until it has succeeded, and what an attachment keeps until then.

mod claims;
pub(crate) mod orphans;
mod removals;
mod take_back;

pub(crate) use claims::Claims;
pub(crate) use removals::Removals;
