//! The words of a container's sandbox: join, and what follows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{EndpointId, NetworkId, null_as_default};

/// `NetworkDriver.Join`.
#[derive(Debug, Clone, Deserialize)]
pub struct JoinRequest {
    /// The endpoint's network.
    #[serde(rename = "NetworkID")]
    pub network_id: NetworkId,
    /// The endpoint that enters a sandbox.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: EndpointId,
    /// Path of the container's network namespace. Before Docker 28 nothing is there yet
    /// when a container starts.
    #[serde(rename = "SandboxKey", default, deserialize_with = "null_as_default")]
    pub sandbox_key: String,
}

/// Answer to `NetworkDriver.Join`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JoinResponse {
    /// The interface that Docker shall move into the sandbox.
    pub interface_name: InterfaceName,
    /// The IPv4 gateway, where the container shall have a default route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// The IPv6 gateway, where the container shall have a default route.
    #[serde(rename = "GatewayIPv6", skip_serializing_if = "Option::is_none")]
    pub gateway_ipv6: Option<Ipv6Addr>,
    /// Routes beside the default one.
    pub static_routes: Vec<StaticRoute>,
    /// Keeps Docker from adding an interface on `docker_gwbridge` to a sandbox without a
    /// gateway.
    pub disable_gateway_service: bool,
}

impl JoinResponse {
    /// The gateways of both families.
    #[must_use]
    pub fn gateways(&self) -> Vec<IpAddr> {
        let gateways = [self.gateway.map(IpAddr::from), self.gateway_ipv6.map(IpAddr::from)];
        gateways.into_iter().flatten().collect()
    }
}

/// How Docker finds and names the interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InterfaceName {
    /// Its present name, in dockerd's own namespace.
    pub src_name: String,
    /// What its name in the sandbox begins with; Docker appends a number.
    pub dst_prefix: String,
}

/// A route that Docker sets in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StaticRoute {
    /// Where it leads.
    pub destination: IpNet,
    /// Over a gateway or on the link.
    pub route_type: RouteType,
    /// The gateway; empty for [`RouteType::Connected`].
    #[serde(serialize_with = "display_or_empty")]
    pub next_hop: Option<std::net::IpAddr>,
}

/// moby's `libnetwork/types`: `NEXTHOP` and `CONNECTED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteType {
    /// 0: over a next hop, which must be reachable already.
    NextHop,
    /// 1: on the interface that was just moved.
    Connected,
}

impl Serialize for RouteType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            Self::NextHop => 0,
            Self::Connected => 1,
        })
    }
}

fn display_or_empty<S: Serializer>(
    value: &Option<std::net::IpAddr>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_str(""),
    }
}

/// `NetworkDriver.ProgramExternalConnectivity`: the endpoint now holds the sandbox's
/// default gateway.
#[derive(Debug, Clone, Deserialize)]
pub struct ProgramExternalConnectivityRequest {
    /// The endpoint's network.
    #[serde(rename = "NetworkID")]
    pub network_id: NetworkId,
    /// The endpoint that became the sandbox's gateway.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: EndpointId,
    /// Exposed ports and port bindings, again.
    #[serde(rename = "Options", default, deserialize_with = "null_as_default")]
    pub options: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_answer_has_the_fields_that_docker_reads() {
        let answer = JoinResponse {
            interface_name: InterfaceName { src_name: "cni0".into(), dst_prefix: "eth".into() },
            gateway: Some(Ipv4Addr::new(169, 254, 1, 1)),
            gateway_ipv6: None,
            static_routes: vec![StaticRoute {
                destination: "169.254.1.1/32".parse().unwrap(),
                route_type: RouteType::Connected,
                next_hop: None,
            }],
            disable_gateway_service: true,
        };
        assert_eq!(
            serde_json::to_value(&answer).unwrap(),
            serde_json::json!({
                "InterfaceName": {"SrcName": "cni0", "DstPrefix": "eth"},
                "Gateway": "169.254.1.1",
                "StaticRoutes": [
                    {"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""}
                ],
                "DisableGatewayService": true
            })
        );
    }
}
