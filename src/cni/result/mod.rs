//! What ADD gives: interfaces, addresses, routes, name servers (SPEC.md section 5).
//!
//! Results are held in the form of the latest version. [`conversion`] reads and
//! writes the forms of all versions; fields that the specification does not know stay with
//! the object that they came in.

mod conversion;

pub use conversion::InvalidResult;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::cni::Version;

/// Fields that the specification does not know, in their order. Nearly always there are none, and an empty map would be
/// three times as large.
type Other = Vec<(String, Value)>;

/// The result of an ADD. Its own JSON is that of the latest version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachResult {
    /// The interfaces that the attachment made, in the container and on the host.
    pub interfaces: Vec<Interface>,
    /// The addresses that were assigned.
    pub ips: Vec<IpConfig>,
    /// The routes that were made in the container.
    pub routes: Vec<Route>,
    /// Name servers and what goes with them.
    pub dns: Dns,
    /// Fields that the specification does not know.
    pub other: Other,
}

/// A network interface in a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, where it has one.
    pub mac: Option<String>,
    /// Its MTU in bytes. From version 1.1.0.
    pub mtu: Option<u32>,
    /// Path of the network namespace that it is in; none for the host's.
    pub sandbox: Option<String>,
    /// Path of the socket of a user-space interface. From version 1.1.0.
    pub socket_path: Option<String>,
    /// The PCI device behind it. From version 1.1.0.
    pub pci_id: Option<String>,
    /// Fields that the specification does not know.
    pub other: Other,
}

/// An address in a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpConfig {
    /// The address, with the length of its subnet's prefix.
    pub address: IpNet,
    /// The subnet's gateway, where it has one.
    pub gateway: Option<IpAddr>,
    /// Which of the result's interfaces has it, from 0.
    pub interface: Option<usize>,
    /// Fields that the specification does not know.
    pub other: Other,
}

/// A route in a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub dst: IpNet,
    /// Over what; without it, the gateway of an address of the same family is meant.
    pub gw: Option<IpAddr>,
    /// The MTU along the path, in bytes.
    pub mtu: Option<u32>,
    /// The TCP segment size to announce, in bytes.
    pub advmss: Option<u32>,
    /// The metric; lower goes first.
    pub priority: Option<u32>,
    /// The routing table.
    pub table: Option<u32>,
    /// The scope: 0 global, 253 link, 254 host.
    pub scope: Option<u8>,
    /// Fields that the specification does not know.
    pub other: Other,
}

/// Name resolution in a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of name servers, the preferred ones first.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// Domains to search for short names.
    pub search: Vec<String>,
    /// Options for the resolver.
    pub options: Vec<String>,
    /// Fields that the specification does not know.
    pub other: Other,
}

impl AttachResult {
    /// The interface that `ip` is on, where the result has it.
    #[must_use]
    pub fn interface_of(&self, ip: &IpConfig) -> Option<&Interface> {
        self.interfaces.get(ip.interface?)
    }
}

impl IpConfig {
    /// An address without gateway or interface.
    #[must_use]
    pub fn new(address: IpNet) -> Self {
        Self { address, gateway: None, interface: None, other: Other::new() }
    }
}

impl Route {
    /// A route to `dst` with nothing else said about it.
    #[must_use]
    pub fn new(dst: IpNet) -> Self {
        Self {
            dst,
            gw: None,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
            other: Other::new(),
        }
    }
}

impl Dns {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Serialize for AttachResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_version(Version::LATEST).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AttachResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        Self::from_json(json, Version::LATEST).map_err(serde::de::Error::custom)
    }
}
