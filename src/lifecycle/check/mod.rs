//! CHECK: whether a container still has what ADD gave it, and the repair of what can be put back.
//!
//! Three things are checked: the answer of the chain's own CHECK ([`chain`]); the differences of the
//! interface from what settling would make ([`endpoint`]); and what the host has for it ([`host`]). Other
//! reasons why its packets may not arrive are reported separately ([`path`]). After the host's firewall was loaded
//! anew, [`reload`] puts back what was lost on the host.
//!
//! All endpoints are checked in one [`round`], a few at a time: what is the same for all of them is read
//! once, and an endpoint is held only while it is checked. A call of Docker's for it comes first.

mod chain;
mod container;
mod endpoint;
mod exemption;
mod fault;
mod host;
mod host_state;
mod known_bugs;
mod path;
mod reload;
mod report;
mod round;
mod rules;
mod shared;

pub use fault::Fault;
pub use report::{ChainCheck, Check};

use self::shared::Task;
use super::driver::Driver;

impl Driver {
    /// Checks the endpoints that `which` names, or all if it names none: by the beginning of an endpoint's
    /// id, by the path of its sandbox or the end of that path, or by an address. With `repair`, it puts
    /// back what can be put back, and checks again.
    ///
    /// The check of an endpoint is finished even if the caller stops waiting for it; then no further check
    /// begins. An error in the check of an endpoint is reported as one of its differences.
    pub async fn check(&self, which: &[String], repair: bool) -> Vec<Check> {
        let task = if repair { Task::Repair } else { Task::Look };
        let checks = round::run(self, which, task).await;
        if which.is_empty() {
            let of = |word| checks.iter().filter(|check| check.word() == word).count() as u64;
            let faults = checks.iter().map(|check| check.faults.len() as u64).sum();
            self.history.checked(&Check::WORDS.map(|word| (word, of(word))), faults);
        }
        checks
    }

    /// Checks the host's side of the endpoints that `which` names as for [`Driver::check`], or of all if it names
    /// none. Neither the plugins' CHECK is run, nor the container looked at, so all of many are checked at once.
    pub async fn check_host(&self, which: &[String]) -> Vec<Check> {
        round::run(self, which, Task::LookAtHost).await
    }

    /// Puts back what the host's rules have lost of the endpoints that `which` names as for
    /// [`Driver::check`], or of all if it names none. The report has what was put back, and as faults what
    /// is still missing. Neither the plugins' CHECK is run, nor the container looked at.
    pub async fn reload(&self, which: &[String]) -> Vec<Check> {
        round::run(self, which, Task::Reload).await
    }
}
