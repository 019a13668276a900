//! Docker's words: the requests, answers and option keys of the remote driver protocol.
//!
//! Types and their JSON only; nothing here acts. Field names are those of moby's
//! `libnetwork/drivers/remote/api/api.go`. Requests accept what every Docker version sends:
//! unknown fields are ignored, and `null` stands for an absent value.

mod endpoint;
mod host_port;
mod id;
mod keys;
mod network;
mod options;
mod ports;
mod sandbox;
mod spares;
mod values;

pub use endpoint::{
    CreateEndpointRequest, CreateEndpointResponse, EndpointInterface, EndpointOperInfoResponse,
    EndpointRequest,
};
pub use host_port::HostPort;
pub use id::{EndpointId, Id, InvalidId, NetworkId};
pub use keys::{BRIDGE_NAME, InvalidOption, MASQUERADE};
pub use network::{
    Capabilities, CreateNetworkRequest, DeleteNetworkRequest, Empty, GwAllocCheckResponse,
    IpamData, Pool,
};
pub use options::{BridgeOptions, ChainOptions, EndpointOptions, Forward, NetworkOptions};
pub use ports::{PortBinding, Protocol};
pub use sandbox::{
    InterfaceName, JoinRequest, JoinResponse, ProgramExternalConnectivityRequest, RouteType,
    StaticRoute,
};
pub use spares::{MOST_SPARES, SpareCount};

use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default: Go marshals an empty slice or map as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
