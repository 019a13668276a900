//! The built-in network: Docker's bridge driver, made of CNI plugins. Each Docker network has a chain
//! of its own, with a bridge and subnets that no other network has.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};

use super::Refusal;
use crate::cnm::{IpamData, NetworkId, NetworkOptions, Pool};

/// Where the subnets of networks come from if Docker does not choose the addresses: a /24 each. Docker's own
/// default pools are elsewhere, and so are the usual ones of clusters. Networks of version 0.1.0 share
/// 10.233.128.0/20, which is before this range.
const FREE_FROM: Ipv4Addr = Ipv4Addr::new(10, 233, 144, 0);
const FREE_TO: Ipv4Addr = Ipv4Addr::new(10, 239, 255, 0);

/// How many IPv6 subnets are tried. Each has 40 random bits, so that two are hardly ever the same.
const TRIES: u16 = 64;

/// The name of a network's own chain, and of its bridge unless the user names that one.
#[must_use]
pub fn own_name(id: &NetworkId) -> String {
    format!("cni{}", id.short())
}

/// Whether a chain may have its name from [`own_name`].
#[must_use]
pub fn is_own_name(name: &str) -> bool {
    let digits = name.strip_prefix("cni").unwrap_or_default();
    digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The conflist of a Docker network that has one of its own. Its addresses come from Docker's pools,
/// or, where there are none, from free subnets: none that overlaps one of `taken`.
///
/// # Errors
/// No subnet is free, or one has no room for a container.
pub fn built_in(
    id: &NetworkId,
    options: &NetworkOptions,
    pools: &[IpamData],
    taken: &[IpNet],
) -> Result<Value, Refusal> {
    let name = own_name(id);
    let bridge = options.bridge.name.as_ref().unwrap_or(&name);
    let masquerades = !options.internal && options.bridge.masquerade.unwrap_or(true);
    Ok(json!({
        "cniVersion": "1.0.0",
        "name": name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": true,
                "isDefaultGateway": true,
                "ipMasq": masquerades,
                "hairpinMode": true,
                "ipam": { "type": "host-local", "ranges": ranges(id, options, pools, taken)? },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    }))
}

/// A set of ranges for each family: a container gets one address of each set.
fn ranges(
    id: &NetworkId,
    options: &NetworkOptions,
    pools: &[IpamData],
    taken: &[IpNet],
) -> Result<Vec<Vec<Value>>, Refusal> {
    let mut sets = super::arguments::ip_ranges(pools);
    if sets.is_empty() {
        let v4 = (!options.disable_ipv4).then(|| free_ipv4(taken));
        let v6 = options.enable_ipv6.then(|| free_ipv6(id, taken));
        for subnet in v4.into_iter().chain(v6) {
            let subnet = subnet.ok_or(Refusal::NoFreeSubnet)?;
            sets.push(vec![json!({ "subnet": subnet })]);
        }
    }
    for pool in pools {
        // host-local gives none of these.
        if let Pool::Subnet(subnet) = pool.pool
            && subnet.prefix_len() + 2 > subnet.max_prefix_len()
        {
            return Err(Refusal::SmallPool { pool: subnet });
        }
    }
    Ok(sets)
}

fn overlaps(one: IpNet, taken: &[IpNet]) -> bool {
    // A default route covers every subnet, and takes none.
    let taken = taken.iter().filter(|other| other.prefix_len() > 0);
    taken.into_iter().any(|other| one.contains(&other.network()) || other.contains(&one.network()))
}

fn free_ipv4(taken: &[IpNet]) -> Option<IpNet> {
    const STEP: usize = 256;
    let all = (u32::from(FREE_FROM)..=u32::from(FREE_TO)).step_by(STEP);
    let mut subnets = all.filter_map(|net| Ipv4Net::new(net.into(), 24).ok()).map(IpNet::from);
    subnets.find(|subnet| !overlaps(*subnet, taken))
}

/// A unique local address block (RFC 4193), which follows from the network's id.
fn free_ipv6(id: &NetworkId, taken: &[IpNet]) -> Option<IpNet> {
    let mut subnets = (0..TRIES).filter_map(|turn| {
        let mut hasher = DefaultHasher::new();
        (id.as_str(), turn).hash(&mut hasher);
        let [a, b, c, d, e, ..] = hasher.finish().to_be_bytes();
        let net = Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        Ipv6Net::new(net, 64).ok().map(IpNet::from)
    });
    subnets.find(|subnet| !overlaps(*subnet, taken))
}
