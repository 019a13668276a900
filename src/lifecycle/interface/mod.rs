//! An attachment's interface: where it stands, what ADD left, and making it so again.

pub(crate) mod announce;
mod capture;
pub(crate) mod change;
mod default_route;
pub(crate) mod desired;
mod fresh;
mod interfaces;
pub(crate) mod place;
#[cfg(test)]
mod properties;
mod reconcile;
mod sandboxes;
mod settle;
pub(crate) mod staging;
mod users;

pub(crate) use fresh::Fresh;
pub(crate) use interfaces::Interfaces;
