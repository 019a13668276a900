//! The driver's own words and those of the network: capabilities, create, delete.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{NetworkId, null_as_default};

/// The answer that says nothing but "done". Docker takes an empty body for a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Answer to `NetworkDriver.GetCapabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Capabilities {
    /// `local`: every host decides about its own networks.
    pub scope: &'static str,
    /// Whether containers on different hosts may reach each other: `local` or `global`.
    pub connectivity_scope: &'static str,
    /// Whether Docker 28 and later shall ask `GwAllocCheck` before it reserves gateways.
    pub gw_alloc_checker: bool,
}

/// Answer to `NetworkDriver.GwAllocCheck` (Docker 28 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GwAllocCheckResponse {
    /// Docker need not reserve an IPv4 gateway.
    #[serde(rename = "SkipIPv4")]
    pub skip_ipv4: bool,
    /// Docker need not reserve an IPv6 gateway.
    #[serde(rename = "SkipIPv6")]
    pub skip_ipv6: bool,
}

/// `NetworkDriver.CreateNetwork`.
#[derive(Debug, Clone, Deserialize)]
pub struct CreateNetworkRequest {
    /// The network that is made.
    #[serde(rename = "NetworkID")]
    pub network_id: NetworkId,
    /// The raw options; [`super::NetworkOptions`] reads them.
    #[serde(rename = "Options", default, deserialize_with = "null_as_default")]
    pub options: Map<String, Value>,
    /// The IPv4 pools that Docker's IPAM gave the network.
    #[serde(rename = "IPv4Data", default, deserialize_with = "null_as_default")]
    pub ipv4: Vec<IpamData>,
    /// The IPv6 pools that Docker's IPAM gave the network.
    #[serde(rename = "IPv6Data", default, deserialize_with = "null_as_default")]
    pub ipv6: Vec<IpamData>,
}

/// One pool of a network, as Docker's IPAM describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IpamData {
    /// The IPAM driver's name for the space that the pool belongs to; `null` with
    /// `--ipam-driver null`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub address_space: String,
    /// The pool's subnet.
    #[serde(default, deserialize_with = "null_as_default")]
    pub pool: Pool,
    /// The gateway that Docker reserved, with the pool's prefix length.
    #[serde(default, deserialize_with = "empty_as_none", skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpNet>,
    /// Addresses that Docker reserved on the user's behalf (`--aux-address`), by name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub aux_addresses: BTreeMap<String, IpNet>,
}

/// The subnet of a pool, where Docker has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pool {
    /// Docker allocates nothing: the network was created with `--ipam-driver null`, and
    /// the addresses are CNI's to choose. On the wire `0.0.0.0/0`, `::/0` or nothing.
    #[default]
    Unmanaged,
    /// Docker allocates addresses from this subnet.
    Subnet(IpNet),
}

impl TryFrom<String> for Pool {
    type Error = ipnet::AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            return Ok(Self::Unmanaged);
        }
        let subnet: IpNet = text.parse()?;
        Ok(if subnet.prefix_len() == 0 { Self::Unmanaged } else { Self::Subnet(subnet) })
    }
}

impl From<Pool> for String {
    fn from(pool: Pool) -> Self {
        match pool {
            Pool::Unmanaged => Self::new(),
            Pool::Subnet(subnet) => subnet.to_string(),
        }
    }
}

/// `NetworkDriver.DeleteNetwork`.
#[derive(Debug, Clone, Deserialize)]
pub struct DeleteNetworkRequest {
    /// The network that goes.
    #[serde(rename = "NetworkID")]
    pub network_id: NetworkId,
}

/// Reads an address that may be absent: `null`, or an empty string.
pub(super) fn empty_as_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    match Option::<String>::deserialize(deserializer)? {
        Some(text) if !text.is_empty() => text
            .parse()
            .map(Some)
            .map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}"))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_dockers_own_ipam_is_read() {
        let request: CreateNetworkRequest = serde_json::from_str(
            r#"{"NetworkID":"ab12","Options":{"com.docker.network.enable_ipv6":false},
                "IPv4Data":[{"AddressSpace":"LocalX","AuxAddresses":{"a":"10.77.0.5/16"},
                             "Gateway":"10.77.0.1/16","Pool":"10.77.0.0/16"}],"IPv6Data":null}"#,
        )
        .unwrap();
        let data = &request.ipv4[0];
        assert_eq!(data.pool, Pool::Subnet("10.77.0.0/16".parse().unwrap()));
        assert_eq!(data.gateway, Some("10.77.0.1/16".parse().unwrap()));
        assert_eq!(data.aux_addresses["a"], "10.77.0.5/16".parse().unwrap());
        assert!(request.ipv6.is_empty());
    }

    #[test]
    fn the_null_driver_has_no_pool() {
        for pool in ["\"0.0.0.0/0\"", "\"::/0\"", "\"\"", "null"] {
            let data: IpamData =
                serde_json::from_str(&format!(r#"{{"AddressSpace":"null","Pool":{pool}}}"#))
                    .unwrap();
            assert_eq!(data.pool, Pool::Unmanaged, "{pool}");
        }
    }
}
