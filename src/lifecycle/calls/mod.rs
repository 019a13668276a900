//! One file for each of Docker's calls about an endpoint.

mod create;
mod delete;
mod endpoints;
mod join;
mod program;
pub(crate) mod watch;

pub(crate) use endpoints::Endpoints;
