//! Attachments whose removal nobody will ask for any more, and what they left on the host.

pub(crate) mod collect;
pub(crate) mod dockerds;
mod exclusive;
mod in_use;
pub(crate) mod lost;
mod networks;
mod rebuild;
pub(crate) mod remains;
pub(crate) mod start;
mod unowned_leases;
