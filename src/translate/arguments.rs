//! What Docker asks for an endpoint, as arguments for the chain's plugins.

use serde_json::{Map, Value, json};

use super::conflist::{declares, gives, host_local_ranges};
use super::ipv6::{is_of_ipv6, is_without_ipv6};
use super::{IP_RANGES, Refusal, ipam};
use crate::cni::NetworkConfigList;
use crate::cnm::{ChainOptions, EndpointInterface, EndpointOptions, IpamData, Pool, PortBinding};

/// What a chain's plugins get besides their configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments {
    /// Pairs of `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Capability arguments by name (CONVENTIONS.md).
    pub capabilities: Map<String, Value>,
    /// The addresses to ask for by `args.cni.ips`, where that is the only way.
    pub ips: Vec<String>,
    /// The MAC that Docker decided.
    pub mac: Option<String>,
}

impl Arguments {
    /// The chain, with what must be in its configuration.
    #[must_use]
    pub fn applied_to(&self, list: NetworkConfigList) -> NetworkConfigList {
        let list = match &self.mac {
            Some(mac) => list.with_cni_arg(|_| true, "mac", &json!(mac)),
            None => list,
        };
        if self.ips.is_empty() {
            return list;
        }
        let ips = json!(self.ips);
        list.with_cni_arg(|plugin| plugin.ipam_type().is_some(), "ips", &ips)
    }
}

/// The arguments for an endpoint: options of the network and of the endpoint, and the addresses and the MAC that
/// Docker decided. Ports are separate ([`port_mappings`]), because they change while the endpoint exists.
///
/// # Errors
/// The chain has no way to get something that was asked for.
pub fn arguments(
    list: &NetworkConfigList,
    network: &ChainOptions,
    endpoint: &EndpointOptions,
    interface: &EndpointInterface,
    pools: &[IpamData],
) -> Result<Arguments, Refusal> {
    let chosen = network.clone().overlaid_with(&endpoint.chain);
    declares(list, &chosen)?;
    // Without this, plugins refuse CNI_ARGS that they do not know.
    let mut args = vec![("IgnoreUnknown".to_owned(), "1".to_owned())];
    args.extend(chosen.args);
    let mut capabilities = chosen.capabilities;

    let mut ips = Vec::new();
    let addresses = wanted_addresses(endpoint, interface)?;
    gives(list, interface.addresses().map(|net| net.addr()).chain(endpoint.ips.iter().copied()))?;
    let ipam = ipam(list).and_then(|ipam| ipam["type"].as_str());
    if !addresses.is_empty() {
        // `static` has no subnet to look the prefix up in; `host-local` takes none.
        let written = |address: &str| match ipam {
            Some("static") => address.to_owned(),
            _ => address.split('/').next().unwrap_or(address).to_owned(),
        };
        if list.declares("ips") {
            capabilities.insert("ips".to_owned(), json!(addresses));
        } else if let [address] = addresses.as_slice() {
            args.push(("IP".to_owned(), written(address)));
        } else if let Some("host-local" | "static") = ipam {
            ips = addresses.iter().map(|address| written(address)).collect();
        } else {
            return Err(Refusal::Addresses {
                conflist: list.name().to_owned(),
                addresses: addresses.join(" and "),
            });
        }
    }
    if list.declares(IP_RANGES) && host_local_ranges(list).is_empty() {
        let mut pools = pools.to_vec();
        if is_without_ipv6(interface, endpoint, &pools) {
            pools.retain(|pool| !is_of_ipv6(pool));
        }
        let ranges = ip_ranges(&pools);
        if !ranges.is_empty() {
            capabilities.insert(IP_RANGES.to_owned(), json!(ranges));
        }
    }
    let mac = interface.mac_address.clone();
    if let Some(mac) = &mac {
        // Each plugin reads one or the other; its configuration does not say which.
        args.retain(|(key, _)| key != "MAC");
        args.push(("MAC".to_owned(), mac.clone()));
        if list.declares("mac") {
            capabilities.insert("mac".to_owned(), json!(mac));
        }
    }
    Ok(Arguments { args, capabilities, ips, mac })
}

/// The addresses to ask the chain for: Docker's own, and those of the `ip` option.
fn wanted_addresses(
    endpoint: &EndpointOptions,
    interface: &EndpointInterface,
) -> Result<Vec<String>, Refusal> {
    let mut wanted: Vec<_> = interface.addresses().map(|address| address.to_string()).collect();
    for &asked in &endpoint.ips {
        match interface.address_like(asked) {
            None => wanted.push(asked.to_string()),
            Some(decided) if decided.addr() == asked => {}
            Some(decided) => {
                return Err(Refusal::DockerDecides { asked, decided: decided.addr() });
            }
        }
    }
    Ok(wanted)
}

/// Docker's pools as ranges of `host-local`: one set for each family. A container gets one address of each set.
pub(super) fn ip_ranges(pools: &[IpamData]) -> Vec<Vec<Value>> {
    let of_family = |is_ipv4: bool| {
        let ranges = pools.iter().filter_map(move |data| {
            let Pool::Subnet(subnet) = data.pool else { return None };
            let mut range = json!({ "subnet": subnet });
            if let Some(gateway) = data.gateway {
                range["gateway"] = json!(gateway.addr());
            }
            (subnet.addr().is_ipv4() == is_ipv4).then_some(range)
        });
        ranges.collect::<Vec<_>>()
    };
    [true, false].map(of_family).into_iter().filter(|set| !set.is_empty()).collect()
}

/// What a chain that was made for Kubernetes asks for. There is no pod, so these name the
/// attachment: the values stay the same from ADD to DEL, and differ between attachments.
#[must_use]
pub fn kubernetes_args(container_id: &str) -> [(String, String); 3] {
    // As long as Docker shows an id.
    let short = container_id.get(..12).unwrap_or(container_id);
    [
        ("K8S_POD_NAMESPACE", "docker".to_owned()),
        ("K8S_POD_NAME", format!("attachment-{short}")),
        ("K8S_POD_INFRA_CONTAINER_ID", container_id.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
}

/// The `portMappings` capability's argument for ports whose host ports are settled.
#[must_use]
pub fn port_mappings(ports: &[PortBinding]) -> Value {
    let mappings = ports.iter().map(|binding| {
        let mut mapping = json!({
            "hostPort": binding.host_port,
            "containerPort": binding.port,
            "protocol": binding.proto.name(),
        });
        if let Some(host_ip) = binding.host_ip {
            mapping["hostIP"] = json!(host_ip);
        }
        mapping
    });
    mappings.collect()
}
