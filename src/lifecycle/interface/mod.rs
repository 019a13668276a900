//! An attachment's interface: its place, what ADD left, and restoring that.

pub(crate) mod announce;
mod capture;
pub(crate) mod change;
mod default_route;
pub(crate) mod desired;
mod fresh;
pub(crate) mod further;
mod interfaces;
pub(crate) mod lend;
pub(crate) mod netfilter;
mod park;
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
