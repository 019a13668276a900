//! Black-box tests: what the crate does as a whole, in one binary, one module a room.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise"
)]
#![allow(clippy::print_stdout, reason = "figures, shown with --nocapture")]

mod alone;
mod cli;
mod cni;
mod contrib;
mod crash;
mod docs;
mod e2e;
mod hostile;
mod lifecycle;
mod netlink;
mod server;
