//! A Docker network, as the operator is shown it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cnm::{BRIDGE_NAME, MASQUERADE, NetworkId, Pool};
use crate::lifecycle::record;

/// A Docker network, as the operator is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Docker's id of it.
    pub network: NetworkId,
    /// The conflist that attaches its containers.
    pub conflist: String,
    /// It was made with `--internal`.
    pub internal: bool,
    /// Its containers are isolated from those of other networks.
    #[serde(default)]
    pub isolated: bool,
    /// Its other options, as `docker network create -o` takes them.
    pub options: BTreeMap<String, String>,
    /// The pools that Docker's IPAM has for it; none if the conflist chooses the addresses.
    pub docker_pools: Vec<IpNet>,
}

impl Network {
    pub(super) fn of(record: &record::Network) -> Self {
        let pools = record.pools.iter().filter_map(|data| match data.pool {
            Pool::Subnet(subnet) => Some(subnet),
            Pool::Unmanaged => None,
        });
        Self {
            network: record.id.clone(),
            conflist: record.conflist.clone(),
            internal: record.options.internal,
            isolated: record.is_isolated(),
            options: options(record),
            docker_pools: pools.collect(),
        }
    }
}

/// The options as they were written, without those that have their default value.
fn options(record: &record::Network) -> BTreeMap<String, String> {
    let options = &record.options;
    let mut told = BTreeMap::new();
    if let Some(conflist) = &options.conflist {
        told.insert("conflist".to_owned(), conflist.clone());
    }
    let forward = serde_json::to_value(options.forward).ok();
    if let Some(forward) = forward.as_ref().and_then(Value::as_str).filter(|it| *it != "auto") {
        told.insert("forward".to_owned(), forward.to_owned());
    }
    if let Some(mtu) = options.mtu {
        told.insert("com.docker.network.driver.mtu".to_owned(), mtu.to_string());
    }
    if let Some(isolate) = options.isolate {
        told.insert("isolate".to_owned(), isolate.to_string());
    }
    if let Some(spares) = options.spares {
        told.insert("spares".to_owned(), spares.to_string());
    }
    if let Some(name) = &options.bridge.name {
        told.insert(BRIDGE_NAME.to_owned(), name.clone());
    }
    if let Some(masquerade) = options.bridge.masquerade {
        told.insert(MASQUERADE.to_owned(), masquerade.to_string());
    }
    for (key, value) in &options.chain.args {
        told.insert(format!("cni.args.{key}"), value.clone());
    }
    for (name, value) in &options.chain.capabilities {
        told.insert(format!("cni.capability.{name}"), value.to_string());
    }
    told
}
