//! What is translated, on conflists, requests and results of every form.

mod answers;
mod arguments;
mod built_in;
mod conflist;
mod fitness;

use serde_json::{Value, json};

use super::*;
use crate::cni::AttachResult;
use crate::cnm::{
    ChainOptions, EndpointInterface, EndpointOptions, IpamData, JoinResponse, PortBinding,
};

fn list(ipam: &Value, capabilities: &Value) -> NetworkConfigList {
    let conflist = json!({
        "cniVersion": "1.0.0", "name": "k8snet",
        "plugins": [{"type": "bridge", "ipam": ipam, "capabilities": capabilities}],
    });
    NetworkConfigList::parse(conflist.to_string().as_bytes()).unwrap()
}

fn host_local() -> NetworkConfigList {
    let ranges = json!([[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]]);
    list(&json!({"type": "host-local", "ranges": ranges}), &json!({"portMappings": true}))
}

fn pools(json: Value) -> Vec<IpamData> {
    serde_json::from_value(json).unwrap()
}

fn interface(json: Value) -> EndpointInterface {
    serde_json::from_value(json).unwrap()
}

fn published(ports: &Value) -> Vec<PortBinding> {
    serde_json::from_value(ports.clone()).unwrap()
}

/// The result of a chain that made `cni0` in a container and `veth0` on the host.
fn result(ips: &Value, routes: &Value) -> AttachResult {
    serde_json::from_value(json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "veth0"}, {"name": "cni0", "sandbox": "/run/netns/x"}],
        "ips": ips,
        "routes": routes,
    }))
    .unwrap()
}

fn sent(list: &NetworkConfigList, wanted: Value) -> Result<Arguments, Refusal> {
    let none = ChainOptions::default();
    arguments(list, &none, &EndpointOptions::default(), &interface(wanted), &[])
}

/// Without options of the user.
fn serves(list: &NetworkConfigList, pools: &[IpamData]) -> Result<(), Refusal> {
    crate::translate::serves(list, pools, &ChainOptions::default())
}

fn capabilities(json: Value) -> ChainOptions {
    serde_json::from_value(json!({ "capabilities": json })).unwrap()
}

fn chain(plugins: Value) -> NetworkConfigList {
    let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": plugins});
    NetworkConfigList::parse(list.to_string().as_bytes()).unwrap()
}

fn ignore_unknown() -> (String, String) {
    ("IgnoreUnknown".to_owned(), "1".to_owned())
}
