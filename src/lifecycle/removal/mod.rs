//! DEL: it runs in the background until it has succeeded; what an attachment keeps until then.

mod attempts;
mod claims;
mod operator;
mod orphans;
mod removals;
mod sandbox;
mod take_back;
mod traces;
pub(crate) mod waits;
mod withdrawals;

pub use operator::Retried;
pub use orphans::{Orphan, orphans};

pub(crate) use claims::Claims;
pub(crate) use orphans::Cell;
use orphans::Orphans;
pub(crate) use removals::Removals;
use withdrawals::Withdrawals;
