//! The words of an endpoint: create, inspect, delete.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::network::empty_as_none;
use super::{EndpointId, NetworkId, null_as_default};

/// `NetworkDriver.CreateEndpoint`.
#[derive(Debug, Clone, Deserialize)]
pub struct CreateEndpointRequest {
    /// The network that the endpoint joins a container to.
    #[serde(rename = "NetworkID")]
    pub network_id: NetworkId,
    /// The endpoint that is made.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: EndpointId,
    /// What Docker has already decided about the interface.
    #[serde(rename = "Interface", default, deserialize_with = "null_as_default")]
    pub interface: EndpointInterface,
    /// The raw options; [`super::EndpointOptions`] reads them.
    #[serde(rename = "Options", default, deserialize_with = "null_as_default")]
    pub options: Map<String, Value>,
}

/// The addresses of an endpoint's interface. In a request: what Docker has decided. In an
/// answer: what the driver adds; a field that the request had must stay out of it, or
/// Docker rolls the endpoint back (moby, `libnetwork/drivers/remote/driver.go`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInterface {
    /// IPv4 address with prefix length.
    #[serde(
        rename = "Address",
        default,
        deserialize_with = "empty_as_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub address: Option<Ipv4Net>,
    /// IPv6 address with prefix length.
    #[serde(
        rename = "AddressIPv6",
        default,
        deserialize_with = "empty_as_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub address_ipv6: Option<Ipv6Net>,
    /// Hardware address, as `aa:bb:cc:dd:ee:ff`.
    #[serde(
        rename = "MacAddress",
        default,
        deserialize_with = "empty_as_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub mac_address: Option<String>,
}

impl EndpointInterface {
    /// The addresses of both families that are set, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> {
        let ipv4 = self.address.map(IpNet::V4);
        ipv4.into_iter().chain(self.address_ipv6.map(IpNet::V6))
    }

    /// The address that Docker has decided for the family of `other`.
    #[must_use]
    pub fn address_like(&self, other: IpAddr) -> Option<IpNet> {
        self.addresses().find(|address| address.addr().is_ipv4() == other.is_ipv4())
    }
}

/// Answer to `NetworkDriver.CreateEndpoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateEndpointResponse {
    /// What the driver decided, where Docker had not.
    pub interface: EndpointInterface,
}

/// The body of every method that names an endpoint and nothing else: `EndpointOperInfo`,
/// `RevokeExternalConnectivity`, `Leave` and `DeleteEndpoint`.
#[derive(Debug, Clone, Deserialize)]
pub struct EndpointRequest {
    /// The endpoint's network.
    #[serde(rename = "NetworkID")]
    pub network_id: NetworkId,
    /// The endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: EndpointId,
}

/// Answer to `NetworkDriver.EndpointOperInfo`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointOperInfoResponse {
    /// What the driver knows about the endpoint. Docker shows none of it to users, and
    /// ignores keys that it does not know.
    pub value: Map<String, Value>,
}
