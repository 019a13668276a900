//! What a Docker network on a conflist can do, as far as its configuration shows.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};
use serde_json::Value;

use super::{DHCP, DockersChoice, IP_RANGES, PORT_MAPPINGS, Refusal, ipam};
use crate::cni::{NetworkConfigList, PluginConfig, Version};
use crate::cnm::{
    BRIDGE_NAME, BridgeOptions, ChainOptions, IpamData, MASQUERADE, NetworkOptions, Pool,
    PortBinding,
};
use crate::nearest::nearest;

/// Whether what a chain makes can be handed over from the namespace that it ran in to the
/// container's.
///
/// # Errors
/// The first plugin whose work cannot, with what to do instead.
pub fn carries_over(list: &NetworkConfigList) -> Result<(), Refusal> {
    for plugin in list.plugins() {
        let reason_and_remedy = if plugin.get("linkInContainer") == Some(&Value::Bool(true)) {
            Some((
                format!(
                    "linkInContainer has plugin {:?} look for its master there",
                    plugin.plugin_type()
                ),
                "use a master on the host",
            ))
        } else if plugin.plugin_type() == "vrf" {
            Some((
                "plugin \"vrf\" makes a device that the kernel does not move to another network namespace"
                    .to_owned(),
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

/// Whether a chain makes an interface, in a version of CNI whose meaning is known.
///
/// # Errors
/// It does not.
pub fn attaches(list: &NetworkConfigList) -> Result<(), Refusal> {
    let conflist = list.name().to_owned();
    if !list.makes_interface() {
        let plugins: Vec<_> = list.plugins().iter().map(PluginConfig::plugin_type).collect();
        return Err(Refusal::NoInterface { conflist, plugins: plugins.join(", ") });
    }
    let version = list.cni_version();
    if !version.is_published() {
        return Err(Refusal::Version { conflist, version, latest: Version::LATEST });
    }
    Ok(())
}

/// The interfaces of the host that the chain puts containers on, each with its plugin's type.
pub fn masters(list: &NetworkConfigList) -> impl Iterator<Item = (&str, &str)> {
    let upon = |plugin: &&PluginConfig| {
        matches!(plugin.plugin_type(), "macvlan" | "ipvlan" | "vlan")
            && plugin.get("linkInContainer") != Some(&Value::Bool(true))
    };
    list.plugins().iter().filter(upon).filter_map(|plugin| {
        let master = plugin.get("master")?.as_str().filter(|master| !master.is_empty())?;
        Some((plugin.plugin_type(), master))
    })
}

/// Whether a chain can allocate from the pools that Docker's IPAM has for the network; with none,
/// whether it has addresses of its own. `chosen` are the user's options.
///
/// # Errors
/// The first pool that it cannot allocate from, with the flags that would work.
pub fn serves(
    list: &NetworkConfigList,
    pools: &[IpamData],
    chosen: &ChainOptions,
) -> Result<(), Refusal> {
    let from_docker = pools.iter().any(|data| matches!(data.pool, Pool::Subnet(_)));
    if lacks_ranges(list) && !chosen.capabilities.contains_key(IP_RANGES) {
        let conflist = list.name().to_owned();
        match (list.declares(IP_RANGES), from_docker) {
            (true, true) => return Ok(()),
            (true, false) => return Err(Refusal::NoPool { conflist }),
            (false, _) => return Err(Refusal::NoRanges { conflist }),
        }
    }
    for data in pools {
        let Pool::Subnet(pool) = data.pool else { continue };
        let refusal = |reason: String, alternative: Option<DockersChoice>| Refusal::Pool {
            conflist: list.name().to_owned(),
            pool,
            reason,
            alternative,
        };
        let ranges = host_local_ranges(list);
        if ranges.is_empty() {
            // It takes the pool, or any address.
            if !list.declares(IP_RANGES) && !list.declares("ips") {
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
                same_family.map(Range::dockers_choice),
            ));
        };
        // Docker would give the gateway's address to a container, unless it is reserved.
        let mut reserved = data.gateway.iter().chain(data.aux_addresses.values());
        if let Some(theirs) = data.gateway
            && !reserved.any(|address| address.addr() == range.gateway)
        {
            return Err(refusal(
                format!("its gateway is {}, and Docker reserved {}", range.gateway, theirs.addr()),
                Some(range.dockers_choice()),
            ));
        }
    }
    Ok(())
}

/// Whether a chain can give these addresses. Docker does not pass its `--ip-range` to a driver, so
/// this is checked for each address that it chose, before a plugin runs.
///
/// # Errors
/// The first address that `host-local` would refuse, with the flags that keep to its range.
pub(super) fn gives(
    list: &NetworkConfigList,
    addresses: impl Iterator<Item = IpAddr>,
) -> Result<(), Refusal> {
    let ranges = host_local_ranges(list);
    // Ranges that come as a capability go before those of the file.
    if ranges.is_empty() || list.declares(IP_RANGES) {
        return Ok(());
    }
    for address in addresses {
        if !ranges.iter().any(|range| range.has(address)) {
            let same_family =
                ranges.iter().find(|range| range.gateway.is_ipv4() == address.is_ipv4());
            let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
            return Err(Refusal::Address {
                conflist: list.name().to_owned(),
                address,
                ranges: ranges.join(" and "),
                alternative: same_family.map(Range::dockers_choice),
            });
        }
    }
    Ok(())
}

/// A range of the reference `host-local` IPAM plugin.
pub(super) struct Range {
    pub(super) subnet: IpNet,
    /// The first address that it gives, and the last, where it does not give the whole subnet.
    pub(super) start: Option<IpAddr>,
    pub(super) end: Option<IpAddr>,
    pub(super) gateway: IpAddr,
}

impl Range {
    fn read(range: &Value) -> Option<Self> {
        let address = |key: &str| range[key].as_str().and_then(|address| address.parse().ok());
        let subnet = range["subnet"].as_str()?.parse::<IpNet>().ok()?.trunc();
        // As the plugin has it.
        let first = || match subnet.addr() {
            IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) | 1).into(),
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) | 1).into(),
        };
        let gateway = address("gateway").unwrap_or_else(first);
        Some(Self { subnet, start: address("rangeStart"), end: address("rangeEnd"), gateway })
    }

    fn has(&self, address: IpAddr) -> bool {
        self.subnet.contains(&address)
            && self.start.is_none_or(|start| start <= address)
            && self.end.is_none_or(|end| address <= end)
    }

    /// What has Docker choose from the range alone.
    fn dockers_choice(&self) -> DockersChoice {
        DockersChoice { subnet: self.subnet, gateway: self.gateway, range: self.block() }
    }

    /// The largest block of addresses within the range; none if it is the whole subnet.
    fn block(&self) -> Option<IpNet> {
        if self.start.is_none() && self.end.is_none() {
            return None;
        }
        let start = self.start.unwrap_or(self.subnet.network());
        let end = self.end.unwrap_or(self.subnet.broadcast());
        let blocks: IpSubnets = match (start, end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => Ipv4Subnets::new(start, end, 0).into(),
            (IpAddr::V6(start), IpAddr::V6(end)) => Ipv6Subnets::new(start, end, 0).into(),
            _ => return None,
        };
        blocks.into_iter().min_by_key(IpNet::prefix_len)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start.is_none() && self.end.is_none() {
            return self.subnet.fmt(f);
        }
        let start = self.start.unwrap_or(self.subnet.network());
        let end = self.end.unwrap_or(self.subnet.broadcast());
        write!(f, "{start} to {end}")
    }
}

/// Every subnet that `host-local` allocates from: the old single `subnet`, then `ranges`.
pub(super) fn host_local_ranges(list: &NetworkConfigList) -> Vec<Range> {
    let Some(ipam) = ipam(list).filter(|ipam| ipam["type"] == "host-local") else {
        return Vec::new();
    };
    let sets = ipam["ranges"].as_array().into_iter().flatten();
    std::iter::once(ipam)
        .chain(sets.flat_map(|set| set.as_array().into_iter().flatten()))
        .filter_map(Range::read)
        .collect()
}

/// Whether the chain's addresses come from a `host-local` that its file gives none.
fn lacks_ranges(list: &NetworkConfigList) -> bool {
    let is_host_local = ipam(list).is_some_and(|ipam| ipam["type"] == "host-local");
    is_host_local && host_local_ranges(list).is_empty()
}

/// Makes sure that the chain has a plugin for each capability that the user's options name.
///
/// # Errors
/// The first that none declares, with the nearest that one does.
pub fn declares(list: &NetworkConfigList, chosen: &ChainOptions) -> Result<(), Refusal> {
    let Some(name) = chosen.capabilities.keys().find(|name| !list.declares(name)) else {
        return Ok(());
    };
    let mut declared: Vec<&str> =
        list.plugins().iter().flat_map(PluginConfig::capabilities).collect();
    declared.sort_unstable();
    declared.dedup();
    Err(Refusal::Capability {
        conflist: list.name().to_owned(),
        name: name.clone(),
        nearest: nearest(name, &declared).map(str::to_owned),
        declared: declared.into_iter().map(str::to_owned).collect(),
    })
}

/// What a chain lets a Docker network do, as far as its configuration shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospects {
    /// Whether `docker run -p` publishes ports.
    pub publishes_ports: bool,
    /// Whether the chain takes an address that Docker or the user chose.
    pub takes_address: TakesAddress,
    /// The subnets that addresses come from. Known of the reference IPAM plugins `host-local`
    /// and `static`; empty for others.
    pub subnets: Vec<IpNet>,
    /// Whether the addresses are Docker's alone to choose: `--ipam-driver null` is refused.
    pub needs_docker_ipam: bool,
}

/// Whether a chain takes an address that Docker or the user chose.
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
        needs_docker_ipam: lacks_ranges(list) && list.declares(IP_RANGES),
        subnets: host_local_ranges(list)
            .iter()
            .map(|range| range.subnet)
            .chain(fixed.map(|address| address.trunc()))
            .collect(),
    }
}

/// Where the daemon of IPAM plugin `dhcp` listens; none if the chain's addresses come from another plugin.
#[must_use]
pub fn dhcp_socket(list: &NetworkConfigList) -> Option<&Path> {
    list.plugins().iter().find_map(PluginConfig::dhcp_socket)
}

/// The key of `CNI_ARGS` that the chain's `dhcp` takes the host name from, which it tells the server.
#[must_use]
pub fn dhcp_host_name_arg(list: &NetworkConfigList) -> Option<&str> {
    list.plugins().iter().find_map(PluginConfig::dhcp_host_name_arg)
}

/// Whether the chain's addresses may be kept where nobody but its own plugins looks: by an IPAM that
/// is none of the reference plugins, or in a chain that begins with none of them.
#[must_use]
pub fn hides_leases(list: &NetworkConfigList) -> bool {
    const INTERFACES: [&str; 8] =
        ["bridge", "dummy", "host-device", "ipvlan", "macvlan", "ptp", "tap", "vlan"];
    match list.plugins().iter().find_map(|plugin| plugin.ipam_type()) {
        Some(ipam) => !matches!(ipam, "host-local" | "static" | DHCP),
        None => {
            let first = list.plugins().first();
            first.is_some_and(|first| !INTERFACES.contains(&first.plugin_type()))
        }
    }
}

/// Whether a plugin of the chain hides the containers' addresses behind the host's, by rules that
/// its DEL finds by the addresses that are live.
#[must_use]
pub fn masquerades(list: &NetworkConfigList) -> bool {
    list.plugins().iter().any(|plugin| plugin.get("ipMasq") == Some(&Value::Bool(true)))
}

/// The host's device that `host-device` moves into a container, so that one container has it at a time; none if
/// the chain begins with another plugin, or each container can get another device.
#[must_use]
pub fn device(list: &NetworkConfigList) -> Option<String> {
    const NAMES: [&str; 4] = ["device", "hwaddr", "kernelpath", "pciBusID"];
    let plugin = list.plugins().first().filter(|plugin| plugin.plugin_type() == "host-device")?;
    if plugin.capabilities().any(|capability| capability == "deviceID") {
        return None;
    }
    NAMES.iter().find_map(|name| plugin.get(name)?.as_str()).map(str::to_owned)
}

/// Makes sure that there is no option which the built-in network alone knows.
///
/// # Errors
/// The first that there is, with the way that works on a conflist.
pub fn has_options(list: &NetworkConfigList, options: &NetworkOptions) -> Result<(), Refusal> {
    let BridgeOptions { name, masquerade } = &options.bridge;
    let given = [
        (name.is_some(), BRIDGE_NAME, "name the bridge there, as \"bridge\" of plugin bridge"),
        (masquerade.is_some(), MASQUERADE, "say it there, as \"ipMasq\" of bridge or ptp"),
    ];
    match given.into_iter().find(|(given, ..)| *given) {
        Some((_, key, way)) => {
            Err(Refusal::OfBuiltIn { key, conflist: list.name().to_owned(), way })
        }
        None => Ok(()),
    }
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
