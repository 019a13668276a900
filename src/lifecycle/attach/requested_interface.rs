//! What Docker asks of an interface, and the chain has to make.

use std::net::IpAddr;

use crate::cnm::{EndpointInterface, EndpointOptions};
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::Network;
use crate::netlink::Mac;
use crate::sysctl::Sysctls;

/// What Docker, or the user, has decided about an interface: ADD has to make it so.
pub(crate) struct RequestedInterface<'w> {
    pub(super) interface: &'w EndpointInterface,
    /// The interface's MAC, parsed; none leaves the choice to the chain.
    pub(super) mac: Option<Mac>,
    /// The interface's MTU in bytes; none leaves the choice to the chain.
    pub(super) mtu: Option<u32>,
    /// The addresses of the `ip` option.
    pub(super) ips: &'w [IpAddr],
    /// The interface's settings that the user has decided.
    pub(super) sysctls: &'w Sysctls,
}

impl<'w> RequestedInterface<'w> {
    /// What is decided for an endpoint of the network.
    ///
    /// # Errors
    /// The MAC is not valid.
    pub(crate) fn of(
        network: &Network,
        options: &'w EndpointOptions,
        interface: &'w EndpointInterface,
    ) -> Result<Self> {
        let mac = interface.mac_address.as_deref().map(str::parse).transpose()?;
        let mtu = options.mtu.or(network.options.mtu);
        Ok(Self { interface, mac, mtu, ips: &options.ips, sysctls: &options.sysctls })
    }

    /// The chain's error, with a remedy if Docker's choice is the cause.
    pub(super) fn explained(&self, error: Error) -> Error {
        /// The message of host-local, in every version.
        const TAKEN: &str = "is not available in range set";
        let Error::Cni(refusal) = error else { return error };
        let said = refusal.to_string();
        let mut addresses = self.interface.addresses().map(|net| net.addr());
        match addresses.find(|ip| said.contains(&format!("{ip} {TAKEN}"))) {
            Some(address) => Error::NotAvailable { address, refusal: Box::new(refusal) },
            None => Error::Cni(refusal),
        }
    }
}
