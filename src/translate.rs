//! The dictionary between Docker's words and CNI's; pure.
//!
//! Two directions: what Docker asks for becomes the arguments of a chain
//! ([`serves`], [`arguments`]), and what a chain's ADD made becomes Docker's answers
//! ([`endpoint_interface`], [`join_answer`]). Nothing here reads or changes anything.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::cni::{AttachResult, IpConfig, NetworkConfigList, PluginConfig, Route};
use crate::cnm::{
    ChainOptions, EndpointId, EndpointInterface, EndpointOptions, InterfaceName, IpamData,
    JoinResponse, Pool, PortBinding, RouteType, StaticRoute,
};

/// A wish of Docker's that the conflist cannot fulfil.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Docker's IPAM has a pool that the conflist does not allocate from.
    #[error(
        "conflist {conflist:?} cannot allocate from Docker's pool {pool}: {reason}; create the \
         network with --ipam-driver null to let CNI choose the addresses{or}",
        or = .alternative.as_ref().map(|flags| format!(", or with {flags}")).unwrap_or_default()
    )]
    Pool {
        /// The network configuration list.
        conflist: String,
        /// The pool that Docker chose or was given.
        pool: IpNet,
        /// Why not.
        reason: String,
        /// Flags of `docker network create` that would work too.
        alternative: Option<String>,
    },
    /// The chain makes something that lives and dies with the namespace that it ran in.
    #[error(
        "conflist {conflist:?} cannot be carried over to a Docker container: {reason}; {remedy}"
    )]
    NotCarriedOver {
        /// The network configuration list.
        conflist: String,
        /// What cannot be carried over.
        reason: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The chain cannot be told which addresses to use.
    #[error(
        "conflist {conflist:?} cannot be given the addresses {addresses}: for more than one, its \
         IPAM plugin must be host-local or static, or a plugin of the chain must declare the \
         \"ips\" capability"
    )]
    Addresses {
        /// The network configuration list.
        conflist: String,
        /// What was asked for.
        addresses: String,
    },
    /// The user asks for one address, and Docker has decided on another one.
    #[error(
        "option ip={asked}: Docker chooses the addresses of this network, and has chosen \
         {decided}; use --ip or --ip6, or create the network with --ipam-driver null"
    )]
    DockerDecides {
        /// The option's value.
        asked: IpAddr,
        /// Docker's address.
        decided: IpAddr,
    },
    /// A published port that nothing would publish.
    #[error(
        "conflist {conflist:?} cannot publish port {port}: no plugin of the chain declares the \
         \"portMappings\" capability; add {{\"type\": \"portmap\", \"capabilities\": \
         {{\"portMappings\": true}}}} to its plugins, or start the container without -p"
    )]
    Publish {
        /// The network configuration list.
        conflist: String,
        /// The port, as `docker run -p` writes it.
        port: String,
    },
}

/// A chain's result is not what Docker decided; the attachment has to be undone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "conflist {conflist:?} gave {}, but {wanted} was decided on, by Docker or by the option ip; \
     create the network with --ipam-driver null to let CNI choose the addresses",
    .given.as_deref().unwrap_or("no address")
)]
pub struct OtherAddress {
    /// The network configuration list.
    pub conflist: String,
    /// The address that was asked for.
    pub wanted: IpAddr,
    /// The chain's addresses of that family.
    pub given: Option<String>,
}

/// What a chain's plugins are told beside their configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments {
    /// Pairs of `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Capability arguments by name (CONVENTIONS.md).
    pub capabilities: Map<String, Value>,
    /// The addresses to ask for, where the chain has to be told by `args.cni.ips`.
    pub ips: Vec<String>,
}

impl Arguments {
    /// The chain, told what only its configuration can say.
    #[must_use]
    pub fn applied_to(&self, list: NetworkConfigList) -> NetworkConfigList {
        if self.ips.is_empty() {
            return list;
        }
        let ips = json!(self.ips);
        list.with_cni_arg(|plugin| plugin.ipam_type().is_some(), "ips", &ips)
    }
}

/// The capability of a plugin that publishes ports (CONVENTIONS.md).
pub const PORT_MAPPINGS: &str = "portMappings";

/// Whether what a chain makes can be handed over from the namespace that it ran in to the
/// container's.
///
/// # Errors
/// The first plugin whose work cannot, with what to do instead.
pub fn carries_over(list: &NetworkConfigList) -> Result<(), Refusal> {
    for plugin in list.plugins() {
        let reason_and_remedy = if plugin.ipam_type() == Some("dhcp") {
            Some((
                "its dhcp lease is renewed in the namespace that it was asked for in".to_owned(),
                "use host-local with a range that the DHCP server leaves alone",
            ))
        } else if plugin.get("linkInContainer") == Some(&Value::Bool(true)) {
            Some((
                format!(
                    "linkInContainer has plugin {:?} look for its master there",
                    plugin.plugin_type()
                ),
                "use a master on the host",
            ))
        } else if plugin.plugin_type() == "vrf" {
            Some((
                "plugin \"vrf\" makes a second interface, and Docker moves one".to_owned(),
                "use a routing table of its own, as plugin \"sbr\" makes it",
            ))
        } else {
            None
        };
        if let Some((reason, remedy)) = reason_and_remedy {
            return Err(Refusal::NotCarriedOver {
                conflist: list.name().to_owned(),
                reason,
                remedy,
            });
        }
    }
    Ok(())
}

/// Whether a chain can allocate from the pools that Docker's IPAM has for the network.
///
/// # Errors
/// The first pool that it cannot allocate from, with the flags that would work.
pub fn serves(list: &NetworkConfigList, pools: &[IpamData]) -> Result<(), Refusal> {
    for data in pools {
        let Pool::Subnet(pool) = data.pool else { continue };
        let refusal = |reason: String, alternative: Option<String>| Refusal::Pool {
            conflist: list.name().to_owned(),
            pool,
            reason,
            alternative,
        };
        let ranges = host_local_ranges(list);
        if ranges.is_empty() {
            // It can be told the pool, or trusted to be told any address.
            if !list.declares("ipRanges") && !list.declares("ips") {
                let reason = "it declares neither the \"ips\" nor the \"ipRanges\" capability";
                return Err(refusal(reason.to_owned(), None));
            }
            continue;
        }
        let Some(range) = ranges.iter().find(|range| range.subnet == pool) else {
            let subnets: Vec<_> = ranges.iter().map(|range| range.subnet.to_string()).collect();
            let same_family =
                ranges.iter().find(|range| range.subnet.addr().is_ipv4() == pool.addr().is_ipv4());
            return Err(refusal(
                format!("it allocates from {}", subnets.join(" and ")),
                same_family.map(Range::docker_flags),
            ));
        };
        if let (Some(ours), Some(theirs)) = (range.gateway, data.gateway)
            && ours != theirs.addr()
        {
            return Err(refusal(
                format!("its gateway is {ours}, and Docker reserved {}", theirs.addr()),
                Some(range.docker_flags()),
            ));
        }
    }
    Ok(())
}

/// A range of the reference `host-local` IPAM plugin.
struct Range {
    subnet: IpNet,
    gateway: Option<IpAddr>,
}

impl Range {
    fn docker_flags(&self) -> String {
        let gateway = self.gateway.map(|gateway| format!(" --gateway {gateway}"));
        let ipv6 = if self.subnet.addr().is_ipv6() { "--ipv6 " } else { "" };
        format!("{ipv6}--subnet {}{}", self.subnet, gateway.unwrap_or_default())
    }
}

/// Every subnet that `host-local` allocates from: the old single `subnet`, then `ranges`.
fn host_local_ranges(list: &NetworkConfigList) -> Vec<Range> {
    let Some(ipam) = ipam(list).filter(|ipam| ipam["type"] == "host-local") else {
        return Vec::new();
    };
    let sets = ipam["ranges"].as_array().into_iter().flatten();
    std::iter::once(ipam)
        .chain(sets.flat_map(|set| set.as_array().into_iter().flatten()))
        .filter_map(|range| {
            Some(Range {
                subnet: range["subnet"].as_str()?.parse::<IpNet>().ok()?.trunc(),
                gateway: range["gateway"].as_str().and_then(|gateway| gateway.parse().ok()),
            })
        })
        .collect()
}

/// What a chain lets a Docker network do, as far as its configuration tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospects {
    /// Whether `docker run -p` publishes ports.
    pub publishes_ports: bool,
    /// Whether the chain takes an address that Docker or the user chose.
    pub takes_address: TakesAddress,
    /// The subnets that addresses come from. Known of the reference IPAM plugins `host-local`
    /// and `static`; empty for others.
    pub subnets: Vec<IpNet>,
}

/// Whether a chain takes an address that somebody else chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakesAddress {
    /// It declares the `ips` capability: one address or several.
    Several,
    /// One, through `IP=` in `CNI_ARGS`.
    One,
    /// It is sent one through `CNI_ARGS`, and its IPAM plugin may ignore that.
    Maybe,
}

/// What a Docker network on this chain can do.
#[must_use]
pub fn prospects(list: &NetworkConfigList) -> Prospects {
    let ipam_type = ipam(list).and_then(|ipam| ipam["type"].as_str());
    let takes_address = match ipam_type {
        _ if list.declares("ips") => TakesAddress::Several,
        Some("host-local" | "static") => TakesAddress::One,
        _ => TakesAddress::Maybe,
    };
    let fixed = ipam(list).filter(|_| ipam_type == Some("static"));
    let fixed = fixed.and_then(|ipam| ipam["addresses"].as_array()).into_iter().flatten();
    let fixed = fixed.filter_map(|entry| entry["address"].as_str()?.parse::<IpNet>().ok());
    Prospects {
        publishes_ports: list.declares("portMappings"),
        takes_address,
        subnets: host_local_ranges(list)
            .iter()
            .map(|range| range.subnet)
            .chain(fixed.map(|address| address.trunc()))
            .collect(),
    }
}

fn ipam(list: &NetworkConfigList) -> Option<&Value> {
    list.plugins().iter().find_map(|plugin: &PluginConfig| plugin.get("ipam"))
}

/// What the chain is told for an endpoint: the network's and the endpoint's own options,
/// the addresses and the MAC that Docker decided. Ports are another matter, because they come
/// and go while the endpoint lives: [`port_mappings`].
///
/// # Errors
/// A wish that the chain has no way to fulfil.
pub fn arguments(
    list: &NetworkConfigList,
    network: &ChainOptions,
    endpoint: &EndpointOptions,
    interface: &EndpointInterface,
    pools: &[IpamData],
) -> Result<Arguments, Refusal> {
    let chosen = network.clone().overlaid_with(&endpoint.chain);
    // Plugins refuse CNI_ARGS that they do not know unless told otherwise.
    let mut args = vec![("IgnoreUnknown".to_owned(), "1".to_owned())];
    args.extend(chosen.args);
    let mut capabilities = chosen.capabilities;

    let mut ips = Vec::new();
    let addresses = wanted_addresses(endpoint, interface)?;
    let ipam = ipam(list).and_then(|ipam| ipam["type"].as_str());
    if !addresses.is_empty() {
        // `static` has no subnet to look the prefix up in; `host-local` takes none.
        let told = |address: &str| match ipam {
            Some("static") => address.to_owned(),
            _ => address.split('/').next().unwrap_or(address).to_owned(),
        };
        if list.declares("ips") {
            capabilities.insert("ips".to_owned(), json!(addresses));
        } else if let [address] = addresses.as_slice() {
            args.push(("IP".to_owned(), told(address)));
        } else if let Some("host-local" | "static") = ipam {
            ips = addresses.iter().map(|address| told(address)).collect();
        } else {
            return Err(Refusal::Addresses {
                conflist: list.name().to_owned(),
                addresses: addresses.join(" and "),
            });
        }
    }
    if list.declares("ipRanges") && host_local_ranges(list).is_empty() {
        let ranges = ip_ranges(pools);
        if !ranges.is_empty() {
            capabilities.insert("ipRanges".to_owned(), Value::Array(ranges));
        }
    }
    if let Some(mac) = &interface.mac_address
        && list.declares("mac")
    {
        capabilities.insert("mac".to_owned(), json!(mac));
    }
    Ok(Arguments { args, capabilities, ips })
}

/// The addresses to ask the chain for: Docker's own, and the one of the `ip` option.
fn wanted_addresses(
    endpoint: &EndpointOptions,
    interface: &EndpointInterface,
) -> Result<Vec<String>, Refusal> {
    let mut wanted: Vec<_> = interface.addresses().map(|address| address.to_string()).collect();
    if let Some(asked) = endpoint.ip {
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

/// The `ipRanges` capability's argument: a range set for each of Docker's pools.
fn ip_ranges(pools: &[IpamData]) -> Vec<Value> {
    let sets = pools.iter().filter_map(|data| {
        let Pool::Subnet(subnet) = data.pool else { return None };
        let mut range = json!({ "subnet": subnet });
        if let Some(gateway) = data.gateway {
            range["gateway"] = json!(gateway.addr());
        }
        Some(json!([range]))
    });
    sets.collect()
}

/// What a chain that was made for Kubernetes asks for. There is no pod, so these name the
/// endpoint: the values stay the same from ADD to DEL, and differ between endpoints.
#[must_use]
pub fn kubernetes_args(endpoint: &EndpointId, container_id: &str) -> [(String, String); 3] {
    [
        ("K8S_POD_NAMESPACE", "docker".to_owned()),
        ("K8S_POD_NAME", format!("endpoint-{}", endpoint.short())),
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

/// Makes sure that the chain can publish these ports.
///
/// # Errors
/// There are some, and no plugin would publish them.
pub fn publishes(list: &NetworkConfigList, ports: &[PortBinding]) -> Result<(), Refusal> {
    match ports.first() {
        Some(first) if !list.declares(PORT_MAPPINGS) => Err(Refusal::Publish {
            conflist: list.name().to_owned(),
            port: format!("{}:{}/{}", first.host_port, first.port, first.proto.name()),
        }),
        _ => Ok(()),
    }
}

/// The answer to CreateEndpoint: the first address of each family and the MAC, each only
/// where Docker has not decided it already.
///
/// `mac` is that of the interface as it stands, `asked` the address of the `ip` option.
///
/// # Errors
/// The chain did not give an address that Docker or the user had decided.
pub fn endpoint_interface(
    list: &NetworkConfigList,
    wanted: &EndpointInterface,
    asked: Option<IpAddr>,
    result: &AttachResult,
    if_name: &str,
    mac: Option<String>,
) -> Result<EndpointInterface, OtherAddress> {
    let given: Vec<IpNet> = container_ips(result, if_name).map(|ip| ip.address).collect();
    for decided in wanted.addresses().map(|decided| decided.addr()).chain(asked) {
        if !given.iter().any(|address| address.addr() == decided) {
            let same_family: Vec<_> = given
                .iter()
                .filter(|address| address.addr().is_ipv4() == decided.is_ipv4())
                .map(ToString::to_string)
                .collect();
            return Err(OtherAddress {
                conflist: list.name().to_owned(),
                wanted: decided,
                given: (!same_family.is_empty()).then(|| same_family.join(" and ")),
            });
        }
    }
    // The one that was asked for is the first of its family, whatever else there is.
    let given: Vec<IpNet> =
        (given.iter().filter(|net| Some(net.addr()) == asked)).chain(&given).copied().collect();
    let ipv4 =
        given.iter().find_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None });
    let ipv6 =
        given.iter().find_map(|net| if let IpNet::V6(net) = net { Some(*net) } else { None });
    Ok(EndpointInterface {
        address: ipv4.filter(|_| wanted.address.is_none()),
        address_ipv6: ipv6.filter(|_| wanted.address_ipv6.is_none()),
        mac_address: mac.filter(|_| wanted.mac_address.is_none()),
    })
}

/// The addresses of a result that belong to the container's interface: those that say so,
/// and those that name no interface at all (SPEC.md, "ADD Success": `ips.interface`).
fn container_ips<'r>(
    result: &'r AttachResult,
    if_name: &'r str,
) -> impl Iterator<Item = &'r IpConfig> {
    result.ips.iter().filter(move |ip| {
        match ip.interface.map(|index| result.interfaces.get(index)) {
            Some(Some(interface)) => interface.name == if_name && interface.sandbox.is_some(),
            Some(None) => false,
            None => true,
        }
    })
}

/// The answer to Join: the interface for Docker to move, and the routes for it to set.
///
/// Docker is given a gateway if and only if the chain made a default route: a pod without
/// one gets none here either. Routes of tables other than the main one cannot be told.
#[must_use]
pub fn join_answer(result: &AttachResult, if_name: &str, internal: bool) -> JoinResponse {
    let mut answer = JoinResponse {
        interface_name: InterfaceName {
            src_name: if_name.to_owned(),
            dst_prefix: "eth".to_owned(),
        },
        gateway: None,
        gateway_ipv6: None,
        static_routes: Vec::new(),
        disable_gateway_service: true,
    };
    let addresses: Vec<&IpConfig> = container_ips(result, if_name).collect();
    // What is on the link without a route of its own: the subnets of the two addresses
    // that Docker sets.
    let is_v4 = |ip: &&&IpConfig| ip.address.addr().is_ipv4();
    let on_link: Vec<IpNet> =
        [addresses.iter().find(is_v4), addresses.iter().find(|ip| !is_v4(ip))]
            .into_iter()
            .flatten()
            .map(|ip| ip.address)
            .collect();

    for route in result.routes.iter().filter(|route| in_main_table(route)) {
        let gateway = route.gw.or_else(|| gateway_of_family(&addresses, route.dst));
        let default = route.dst.prefix_len() == 0;
        // On an internal network only the link itself is reachable.
        if internal && (default || gateway.is_some()) {
            continue;
        }
        if let Some(gateway) = gateway {
            reach(&mut answer.static_routes, &on_link, gateway);
        }
        match (default, gateway) {
            (true, Some(IpAddr::V4(gateway))) => answer.gateway = answer.gateway.or(Some(gateway)),
            (true, Some(IpAddr::V6(gateway))) => {
                answer.gateway_ipv6 = answer.gateway_ipv6.or(Some(gateway));
            }
            // Docker has no words for a default route without a gateway.
            (true, None) => {}
            (false, gateway) => push_once(&mut answer.static_routes, route.dst, gateway),
        }
    }
    answer
}

/// The answer with every host route on the link wider by so many bits: it still covers its
/// address, and is another route than the same one of another network.
#[must_use]
pub fn widened(mut answer: JoinResponse, bits: u8) -> JoinResponse {
    for route in &mut answer.static_routes {
        let net = route.destination;
        if route.route_type == RouteType::Connected && net.prefix_len() == net.max_prefix_len() {
            let wider = IpNet::new(net.addr(), net.prefix_len().saturating_sub(bits));
            route.destination = wider.map_or(net, |wider| wider.trunc());
        }
    }
    answer
}

/// The kernel's main routing table; a route that names none goes there.
fn in_main_table(route: &Route) -> bool {
    const RT_TABLE_UNSPEC: u32 = 0;
    const RT_TABLE_MAIN: u32 = 254;
    matches!(route.table, None | Some(RT_TABLE_UNSPEC | RT_TABLE_MAIN))
}

/// The gateway of a route that has none of its own (SPEC.md, "ADD Success": `routes.gw`).
fn gateway_of_family(addresses: &[&IpConfig], dst: IpNet) -> Option<IpAddr> {
    addresses
        .iter()
        .filter(|ip| ip.address.addr().is_ipv4() == dst.addr().is_ipv4())
        .find_map(|ip| ip.gateway)
}

/// Makes sure that `next_hop` is reachable: one outside the subnet gets a host route on
/// the link, as with a /32 address behind 169.254.1.1.
fn reach(routes: &mut Vec<StaticRoute>, on_link: &[IpNet], next_hop: IpAddr) {
    let connected = routes
        .iter()
        .filter(|route| route.route_type == RouteType::Connected)
        .map(|route| route.destination);
    if !on_link.iter().copied().chain(connected).any(|net| net.contains(&next_hop)) {
        push_once(routes, IpNet::from(next_hop), None);
    }
}

fn push_once(routes: &mut Vec<StaticRoute>, destination: IpNet, next_hop: Option<IpAddr>) {
    let route_type = if next_hop.is_some() { RouteType::NextHop } else { RouteType::Connected };
    let route = StaticRoute { destination: destination.trunc(), route_type, next_hop };
    if !routes.contains(&route) {
        routes.push(route);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn told(list: &NetworkConfigList, wanted: Value) -> Result<Arguments, Refusal> {
        let none = ChainOptions::default();
        arguments(list, &none, &EndpointOptions::default(), &interface(wanted), &[])
    }

    fn ignore_unknown() -> (String, String) {
        ("IgnoreUnknown".to_owned(), "1".to_owned())
    }

    #[test]
    fn the_null_ipam_driver_suits_every_conflist() {
        let null = pools(json!([{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]));
        serves(&host_local(), &null).unwrap();
        serves(&list(&json!({"type": "dhcp"}), &json!({})), &null).unwrap();
    }

    #[test]
    fn what_cannot_be_carried_over_is_refused_with_what_to_do_instead() {
        carries_over(&host_local()).unwrap();
        let conflist = |plugin: Value| {
            let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [plugin]});
            NetworkConfigList::parse(list.to_string().as_bytes()).unwrap()
        };
        for (plugin, told) in [
            (json!({"type": "macvlan", "ipam": {"type": "dhcp"}}), "host-local"),
            (json!({"type": "vlan", "linkInContainer": true}), "a master on the host"),
            (json!({"type": "vrf", "vrfname": "red"}), "sbr"),
        ] {
            let text = carries_over(&conflist(plugin)).unwrap_err().to_string();
            assert!(text.contains(told) && text.contains("\"n\""), "{text}");
        }
        carries_over(&conflist(json!({"type": "macvlan", "linkInContainer": false}))).unwrap();
    }

    #[test]
    fn a_pool_that_host_local_has_is_served() {
        serves(&host_local(), &pools(json!([{"Pool": "10.22.0.0/16", "Gateway": "10.22.0.1/16"}])))
            .unwrap();
        serves(&host_local(), &pools(json!([{"Pool": "fd00:22::/64"}]))).unwrap();
        let old = list(&json!({"type": "host-local", "subnet": "10.22.0.0/16"}), &json!({}));
        serves(&old, &pools(json!([{"Pool": "10.22.0.0/16"}]))).unwrap();
    }

    #[test]
    fn a_pool_that_docker_made_up_is_refused_with_what_would_work() {
        let error = serves(&host_local(), &pools(json!([{"Pool": "172.18.0.0/16"}]))).unwrap_err();
        let text = error.to_string();
        for part in ["k8snet", "172.18.0.0/16", "--ipam-driver null", "--subnet 10.22.0.0/16"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn another_gateway_than_the_conflists_is_refused() {
        let ipam = json!({"type": "host-local", "subnet": "10.22.0.0/16", "gateway": "10.22.9.9"});
        let pool = pools(json!([{"Pool": "10.22.0.0/16", "Gateway": "10.22.0.1/16"}]));
        let text = serves(&list(&ipam, &json!({})), &pool).unwrap_err().to_string();
        assert!(text.contains("--subnet 10.22.0.0/16 --gateway 10.22.9.9"), "{text}");
    }

    #[test]
    fn an_ipam_that_cannot_be_told_addresses_is_refused_dockers_pool() {
        let pool = pools(json!([{"Pool": "10.22.0.0/16"}]));
        assert!(serves(&list(&json!({"type": "calico-ipam"}), &json!({})), &pool).is_err());
        serves(&list(&json!({"type": "other"}), &json!({"ips": true})), &pool).unwrap();
    }

    #[test]
    fn dockers_address_is_pinned_by_the_capability_where_there_is_one() {
        let chain = list(&json!({"type": "host-local"}), &json!({"ips": true}));
        let told = told(
            &chain,
            json!({"Address": "10.22.0.50/16", "AddressIPv6": "fd00::5/64", "MacAddress": ""}),
        )
        .unwrap();
        assert_eq!(told.capabilities["ips"], json!(["10.22.0.50/16", "fd00::5/64"]));
        assert_eq!(told.args, [ignore_unknown()]);
    }

    #[test]
    fn dockers_address_is_pinned_by_cni_args_elsewhere() {
        let wanted = json!({"Address": "10.22.0.50/16"});
        let bare = told(&host_local(), wanted.clone()).unwrap();
        assert_eq!(bare.args, [ignore_unknown(), ("IP".to_owned(), "10.22.0.50".to_owned())]);
        let chain = list(&json!({"type": "static"}), &json!({}));
        let with_prefix = told(&chain, wanted).unwrap();
        assert_eq!(with_prefix.args[1].1, "10.22.0.50/16");
        assert!(bare.capabilities.is_empty());

        let both = json!({"Address": "10.22.0.50/16", "AddressIPv6": "fd00::5/64"});
        let told_both = told(&host_local(), both.clone()).unwrap();
        assert_eq!(told_both.ips, ["10.22.0.50", "fd00::5"]);
        let list = serde_json::to_value(told_both.applied_to(host_local())).unwrap();
        assert_eq!(list["plugins"][0]["args"]["cni"]["ips"], json!(["10.22.0.50", "fd00::5"]));
        let chain = self::list(&json!({"type": "calico-ipam"}), &json!({}));
        assert!(matches!(told(&chain, both), Err(Refusal::Addresses { .. })));
    }

    #[test]
    fn dockers_pools_are_the_ranges_of_a_chain_that_declares_to_take_them() {
        let chain = list(&json!({"type": "host-local"}), &json!({"ipRanges": true}));
        let pools = pools(json!([{"Pool": "10.60.0.0/24", "Gateway": "10.60.0.1/24"},
                                 {"Pool": "fd00:60::/64"}]));
        serves(&chain, &pools).unwrap();
        let (none, endpoint) = (ChainOptions::default(), EndpointOptions::default());
        let wanted = interface(json!({"Address": "10.60.0.9/24"}));
        let told = arguments(&chain, &none, &endpoint, &wanted, &pools).unwrap();
        assert_eq!(
            told.capabilities["ipRanges"],
            json!([[{"subnet": "10.60.0.0/24", "gateway": "10.60.0.1"}],
                   [{"subnet": "fd00:60::/64"}]])
        );
        assert_eq!(told.args[1], ("IP".to_owned(), "10.60.0.9".to_owned()));
    }

    #[test]
    fn an_address_option_against_dockers_own_address_is_refused() {
        let options = json!({"ip": "10.22.0.50"});
        let options = EndpointOptions::read(options.as_object().unwrap()).unwrap();
        let (none, dockers) = (ChainOptions::default(), json!({"Address": "10.22.0.2/16"}));
        let refused = arguments(&host_local(), &none, &options, &interface(dockers), &[]);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("10.22.0.50") && text.contains("10.22.0.2"), "{text}");
    }

    #[test]
    fn an_address_that_was_asked_for_must_come_and_is_told_first() {
        let ips = json!([{"address": "10.22.0.7/16", "interface": 1},
                         {"address": "10.22.0.8/16", "interface": 1}]);
        let (result, nothing) = (result(&ips, &json!([])), EndpointInterface::default());
        let answer = |asked: &str| {
            let asked = Some(asked.parse().unwrap());
            endpoint_interface(&host_local(), &nothing, asked, &result, "cni0", None)
        };
        assert_eq!(answer("10.22.0.8").unwrap().address, Some("10.22.0.8/16".parse().unwrap()));
        let text = answer("10.22.0.9").unwrap_err().to_string();
        assert!(text.contains("10.22.0.9") && text.contains("10.22.0.7/16"), "{text}");
    }

    #[test]
    fn an_address_option_is_pinned_where_docker_has_none() {
        let options = json!({"ip": "10.22.0.50"});
        let options = EndpointOptions::read(options.as_object().unwrap()).unwrap();
        let none = ChainOptions::default();
        let told = arguments(&host_local(), &none, &options, &interface(json!({})), &[]).unwrap();
        assert_eq!(told.args[1], ("IP".to_owned(), "10.22.0.50".to_owned()));
    }

    #[test]
    fn published_ports_become_port_mappings() {
        let ports = published(&json!([
            {"Proto": 6, "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080},
            {"Proto": 17, "Port": 53, "HostIP": "127.0.0.1", "HostPort": 5353},
            {"Proto": 6, "Port": 81, "HostIP": "0.0.0.0", "HostPort": 8081},
        ]));
        publishes(&host_local(), &ports).unwrap();
        assert_eq!(
            port_mappings(&ports),
            json!([
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
                {"hostPort": 8081, "containerPort": 81, "protocol": "tcp"},
            ])
        );
    }

    #[test]
    fn a_port_that_nobody_would_publish_is_refused_with_the_remedy() {
        let fixed = published(&json!([{"Proto": 6, "Port": 80, "HostPort": 8080}]));
        let chain = list(&json!({"type": "host-local"}), &json!({}));
        publishes(&chain, &[]).unwrap();
        let text = publishes(&chain, &fixed).unwrap_err().to_string();
        assert!(text.contains("8080:80/tcp") && text.contains("\"portmap\""), "{text}");
    }

    #[test]
    fn docker_is_told_the_first_address_of_each_family_and_the_mac() {
        let ips = json!([
            {"address": "192.0.2.9/24"},
            {"address": "10.22.0.5/16", "interface": 1},
            {"address": "10.22.0.1/16", "interface": 0},
            {"address": "fd00:22::5/64", "interface": 1},
        ]);
        let result = result(&ips, &json!([]));
        let mac = Some("02:00:00:00:00:01".to_owned());
        let nothing = EndpointInterface::default();
        let told = endpoint_interface(&host_local(), &nothing, None, &result, "cni0", mac.clone());
        let all = json!({"Address": "192.0.2.9/24", "AddressIPv6": "fd00:22::5/64",
                         "MacAddress": "02:00:00:00:00:01"});
        assert_eq!(told.unwrap(), interface(all));

        let decided =
            interface(json!({"Address": "10.22.0.5/16", "MacAddress": "02:00:00:00:00:01"}));
        let told = endpoint_interface(&host_local(), &decided, None, &result, "cni0", mac);
        assert_eq!(told.unwrap(), interface(json!({"AddressIPv6": "fd00:22::5/64"})));
    }

    #[test]
    fn an_address_that_differs_from_dockers_is_an_error_that_names_both() {
        let result = result(&json!([{"address": "10.22.0.7/16", "interface": 1}]), &json!([]));
        let wanted = interface(json!({"Address": "10.22.0.5/16"}));
        let error =
            endpoint_interface(&host_local(), &wanted, None, &result, "cni0", None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("10.22.0.7/16") && text.contains("10.22.0.5"), "{text}");
    }

    fn answer(ips: Value, routes: Value) -> Value {
        serde_json::to_value(join_answer(&result(&ips, &routes), "cni0", false)).unwrap()
    }

    #[test]
    fn a_default_route_becomes_the_gateway() {
        let ips = json!([
            {"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1},
            {"address": "fd00:22::5/64", "gateway": "fd00:22::1", "interface": 1},
        ]);
        let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00:22::9"}]);
        let answer = answer(ips, routes);
        assert_eq!(answer["InterfaceName"], json!({"SrcName": "cni0", "DstPrefix": "eth"}));
        assert_eq!(answer["Gateway"], "10.22.0.1");
        assert_eq!(answer["GatewayIPv6"], "fd00:22::9");
        assert_eq!(answer["StaticRoutes"], json!([]));
        assert_eq!(answer["DisableGatewayService"], true);
    }

    #[test]
    fn a_chain_without_a_default_route_gives_no_gateway() {
        let ips = json!([{"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1}]);
        let answer = answer(ips, json!([]));
        assert_eq!(answer.get("Gateway"), None);
        assert_eq!(answer["DisableGatewayService"], true);
    }

    #[test]
    fn a_gateway_outside_the_subnet_is_made_reachable_on_the_link() {
        let ips = json!([{"address": "10.22.0.5/32", "interface": 1}]);
        let routes = json!([
            {"dst": "0.0.0.0/0", "gw": "169.254.1.1"},
            {"dst": "10.99.0.0/16", "gw": "169.254.1.1"},
        ]);
        let answer = answer(ips, routes);
        assert_eq!(answer["Gateway"], "169.254.1.1");
        assert_eq!(
            answer["StaticRoutes"],
            json!([
                {"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""},
                {"Destination": "10.99.0.0/16", "RouteType": 0, "NextHop": "169.254.1.1"},
            ])
        );
    }

    #[test]
    fn a_second_network_with_the_same_far_gateway_gets_a_wider_route_to_it() {
        let ips = json!([{"address": "10.22.0.5/32", "interface": 1}]);
        let routes = json!([{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "10.9.0.0/16"}]);
        let answer = join_answer(&result(&ips, &routes), "cni0", false);
        let told = |bits| {
            let routes = widened(answer.clone(), bits).static_routes.into_iter();
            routes.map(|route| route.destination.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(0), ["169.254.1.1/32", "10.9.0.0/16"]);
        assert_eq!(told(1), ["169.254.1.0/31", "10.9.0.0/16"]);
        assert_eq!(told(2), ["169.254.1.0/30", "10.9.0.0/16"]);
    }

    #[test]
    fn the_chains_own_link_route_to_its_gateway_is_not_doubled() {
        let ips = json!([{"address": "10.22.0.5/32", "interface": 1}]);
        let routes = json!([{"dst": "169.254.1.1/32"}, {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]);
        let routes = &answer(ips, routes)["StaticRoutes"];
        assert_eq!(
            *routes,
            json!([{"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""}])
        );
    }

    #[test]
    fn routes_of_other_tables_are_not_dockers() {
        let ips = json!([{"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1}]);
        let routes = json!([
            {"dst": "10.96.0.0/12", "table": 100},
            {"dst": "10.112.0.0/12", "table": 254},
        ]);
        let answer = answer(ips, routes);
        assert_eq!(
            answer["StaticRoutes"],
            json!([{"Destination": "10.112.0.0/12", "RouteType": 0, "NextHop": "10.22.0.1"}])
        );
    }

    #[test]
    fn an_internal_network_has_no_way_out() {
        let ips = json!([{"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1}]);
        let routes = json!([
            {"dst": "0.0.0.0/0"},
            {"dst": "10.96.0.0/12", "gw": "10.22.0.9"},
        ]);
        let answer = join_answer(&result(&ips, &routes), "cni0", true);
        assert_eq!((answer.gateway, answer.static_routes), (None, Vec::new()));
        assert!(answer.disable_gateway_service);
    }
}
