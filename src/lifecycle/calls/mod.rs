//! One file for each of Docker's calls, and for the operator's.

mod create;
mod delete;
pub(super) mod explain;
mod host_rules;
mod join;
mod network;
mod orphans;
mod program;
pub(crate) mod watch;
