//! CHECK: whether a container still has what ADD gave it, and putting back what can be.
//!
//! Three things are looked at: what the chain's own CHECK says ([`chain`]); how the interface differs
//! from what settling would make it ([`endpoint`]); and what the host has for it ([`host`]). What else may
//! keep its packets from arriving is told apart from them ([`path`]).
//!
//! All endpoints are checked in one [`round`], a few at a time: what is the same for all of them is read
//! once, and an endpoint is held only while it is worked on. A call of Docker's for it goes first.

pub(crate) mod chain;
mod endpoint;
mod fault;
mod found;
mod host;
mod known;
mod path;
mod report;
mod round;
mod shared;

pub use fault::Fault;
pub use report::{ChainCheck, Check};

use super::driver::Driver;

impl Driver {
    /// Checks the endpoints that `which` names, or all if it names none: by the beginning of
    /// an endpoint's id, by the path of its sandbox or the end of that, or by an address. With
    /// `repair`, what can be put back is, and it is looked at again.
    ///
    /// The check of an endpoint is finished even if the caller stops waiting for it; no further one is
    /// begun then. What goes wrong with an endpoint's is one of its differences.
    pub async fn check(&self, which: &[String], repair: bool) -> Vec<Check> {
        round::check(self, which, repair).await
    }
}
