//! DEL: run in the background until it has succeeded, and what an attachment keeps until then.

mod claims;
pub(crate) mod orphans;
mod take_back;

pub(crate) use claims::Claims;
pub(crate) use orphans::{Cell, Orphans};
