//! An attachment's interface: where it stands, what ADD left, and making it so again.

pub(crate) mod announce;
mod capture;
mod default_route;
mod fresh;
mod interfaces;
pub(crate) mod place;
pub(crate) mod reconcile;
mod sandboxes;
mod settle;
pub(crate) mod staging;
mod users;

pub(crate) use fresh::Fresh;
pub(crate) use interfaces::Interfaces;
