//! Leases of IPAM plugin `dhcp`, which move into the container.
//!
//! The plugin's daemon renews a lease from a thread in the namespace that ADD was given. The chain's ADD
//! runs in staging, so the lease begins there; once Docker has put the interface into the container, the
//! lease follows ([`move_in`]):
//!
//! ```text
//!   ADD of the chain   staging     DISCOVER, REQUEST: the address
//!   (Docker moves the interface, and sets the address)
//!   DEL of dhcp        staging     the daemon forgets the lease; without its interface it cannot release it
//!   ADD of dhcp        container   DISCOVER, REQUEST: the same client id and MAC get the same address
//!   …                  container   the daemon renews, rebinds, and ends with the interface
//!   DEL of dhcp        container   at Leave: RELEASE, while the interface is still there
//! ```
//!
//! The daemon keeps its leases in memory alone. So where a lease is kept is observed, never recorded: a
//! thread of the daemon is in the container's namespace ([`kept`]). An attachment is settled once its lease
//! has moved. A driver that is killed between the two steps moves it again.

mod daemon;
mod explain;
mod host_name;
mod moving;

pub(crate) use daemon::{answers, kept};
pub(crate) use explain::explained;
pub(crate) use moving::{fault, is_leased, move_in, release};
