//! An attachment's interface: its place, what ADD left, and restoring that.

pub(crate) mod announce;
mod capture;
pub(crate) mod change;
mod default_route;
pub(crate) mod desired;
pub(crate) mod further_links;
mod interfaces;
pub(crate) mod lend;
pub(crate) mod netfilter;
mod new_namespace;
mod park;
pub(crate) mod place;
#[cfg(test)]
mod properties;
mod reconcile;
mod sandboxes;
mod settle;
pub(crate) mod staging;
mod user_settings;

pub(crate) use interfaces::Interfaces;
pub(crate) use new_namespace::Fresh;
pub(crate) use user_settings::is_ipv6_off;
