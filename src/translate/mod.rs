//! The translation between Docker's terms and CNI's; pure.
//!
//! | file | from | to |
//! |---|---|---|
//! | `conflist` | a network configuration list | what a Docker network on it can do |
//! | `arguments` | what Docker asks for an endpoint | the arguments for the chain's plugins |
//! | `built_in` | a Docker network without a conflist | a conflist of its own |
//! | `pools` | a network configuration list | the addresses that it gives |
//! | `ipv6` | a container without IPv6 | the chain that gives it none |
//! | `lease` | the file of a lease | who has the address |
//! | `answers` | what ADD made | Docker's answers to CreateEndpoint and Join |
//! | `mtu` | the MTU that Docker decides | the chain that makes its interface with it |
//! | `refusal` | what does not fit | the reason and the remedy |
//!
//! Nothing here reads or changes anything.

mod answers;
mod arguments;
mod built_in;
mod conflist;
mod fitness;
mod ipv6;
mod lease;
mod mtu;
mod pools;
mod refusal;
#[cfg(test)]
mod tests;

pub use answers::{endpoint_interface, join_answer, widened};
pub use arguments::{Arguments, arguments, kubernetes_args, port_mappings};
pub use built_in::{built_in, is_own_name, own_name};
pub use conflist::{
    Prospects, TakesAddress, attaches, carries_over, declares, device, dhcp_host_name_arg,
    dhcp_socket, has_options, hides_leases, masquerades, masters, prospects, publishes, serves,
};
pub use fitness::{Fitness, Unfit};
pub use ipv6::{is_without_ipv6, without_ipv6};
pub use lease::{LeaseOwner, lease_folder, lease_owner};
pub use mtu::with_mtu;
pub use pools::{AddressPool, pools};
pub use refusal::{DockersChoice, OtherAddress, Refusal};

use serde_json::Value;

use crate::cni::{NetworkConfigList, PluginConfig};

/// The capability of a plugin that publishes ports (CONVENTIONS.md).
pub const PORT_MAPPINGS: &str = "portMappings";

/// The capability of a plugin that takes the ranges of its addresses (CONVENTIONS.md).
const IP_RANGES: &str = "ipRanges";

/// The IPAM plugin that has addresses leased by a DHCP server.
pub const DHCP: &str = PluginConfig::DHCP;

fn ipam(list: &NetworkConfigList) -> Option<&Value> {
    list.plugins().iter().find_map(|plugin: &PluginConfig| plugin.get("ipam"))
}
