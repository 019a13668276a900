//! CHECK: whether a container still has what ADD gave it, and the repair of what can be put back.
//!
//! Three things are checked: the answer of the chain's own CHECK ([`chain`]); the differences of the
//! interface from what settling would make ([`endpoint`]); and what the host has for it ([`host`]). Other
//! reasons why its packets may not arrive are reported separately ([`path`]).
//!
//! All endpoints are checked in one [`round`], a few at a time: what is the same for all of them is read
//! once, and an endpoint is held only while it is checked. A call of Docker's for it comes first.

pub(crate) mod chain;
mod endpoint;
mod exemption;
mod fault;
mod found;
mod host;
mod known;
mod path;
mod report;
mod round;
mod rules;
mod shared;

pub use fault::Fault;
pub use report::{ChainCheck, Check};

use super::driver::Driver;

impl Driver {
    /// Checks the endpoints that `which` names, or all if it names none: by the beginning of an endpoint's
    /// id, by the path of its sandbox or the end of that path, or by an address. With `repair`, it puts
    /// back what can be put back, and checks again.
    ///
    /// The check of an endpoint is finished even if the caller stops waiting for it; then no further check
    /// begins. An error in the check of an endpoint is reported as one of its differences.
    pub async fn check(&self, which: &[String], repair: bool) -> Vec<Check> {
        round::check(self, which, repair).await
    }
}
