//! What does not fit, with the reason and the remedy.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::cni::Version;
use crate::cnm::SpareCount;

/// A subnet for Docker's IPAM, of which it chooses only what a conflist gives; shown as the flags of
/// `docker network create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockersChoice {
    /// The conflist's subnet.
    pub subnet: IpNet,
    /// The conflist's gateway.
    pub gateway: IpAddr,
    /// What it gives of the subnet, if not all of it.
    pub range: Option<IpNet>,
}

impl DockersChoice {
    /// The same for a network in a compose file.
    #[must_use]
    pub fn compose(&self) -> String {
        let Self { subnet, gateway, range } = self;
        let ipv6 = if subnet.addr().is_ipv6() { "enable_ipv6: true, " } else { "" };
        let range = range.map(|range| format!(", ip_range: \"{range}\"")).unwrap_or_default();
        format!("{ipv6}ipam: {{config: [{{subnet: \"{subnet}\", gateway: \"{gateway}\"{range}}}]}}")
    }
}

impl fmt::Display for DockersChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subnet, gateway, range } = self;
        let ipv6 = if subnet.addr().is_ipv6() { "--ipv6 " } else { "" };
        write!(f, "{ipv6}--subnet {subnet} --gateway {gateway}")?;
        range.map_or(Ok(()), |range| write!(f, " --ip-range {range}"))
    }
}

/// A request from Docker that the conflist cannot fulfil.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Docker's IPAM has a pool that the conflist does not allocate from.
    #[error(
        "conflist {conflist:?} cannot allocate from Docker's pool {pool}: {reason}; let CNI choose the \
         addresses, with --ipam-driver null (in a compose file: ipam: {{driver: \"null\"}}){or}; for a \
         network with --config-from, say it where the one with --config-only is made",
        or = .alternative.as_ref().map(|choice| format!(
            ", or Docker among the conflist's own, with {choice} (in a compose file: {})",
            choice.compose()
        )).unwrap_or_default()
    )]
    Pool {
        /// The network configuration list.
        conflist: String,
        /// The pool that Docker chose or was given.
        pool: IpNet,
        /// Why not.
        reason: String,
        /// What would work too.
        alternative: Option<DockersChoice>,
    },
    /// An address that was chosen is not one of those that the conflist gives.
    #[error(
        "conflist {conflist:?} does not give the address {address}, but {ranges}; ask for one of \
         these{or}",
        or = .alternative.as_ref().map(|choice| format!(
            ", or create the network with {choice}, so that Docker chooses among them"
        )).unwrap_or_default()
    )]
    Address {
        /// The network configuration list.
        conflist: String,
        /// What Docker or the user has chosen.
        address: IpAddr,
        /// What the conflist gives.
        ranges: String,
        /// With which Docker chooses only what it gives.
        alternative: Option<DockersChoice>,
    },
    /// The chain makes no interface.
    #[error(
        "conflist {conflist:?} makes no interface for a container: its plugins are {plugins}; a chain \
         must begin with a plugin that makes one, such as bridge, ptp or macvlan"
    )]
    NoInterface {
        /// The network configuration list.
        conflist: String,
        /// The plugins' types.
        plugins: String,
    },
    /// The chain's version of CNI is not published.
    #[error(
        "conflist {conflist:?} has the cniVersion {version}, which is not published; the latest that \
         this driver knows is {latest}"
    )]
    Version {
        /// The network configuration list.
        conflist: String,
        /// Its version.
        version: Version,
        /// The latest known one.
        latest: Version,
    },
    /// The host has no interface that the chain is to be put on.
    #[error(
        "conflist {conflist:?} puts containers on {master:?}, the \"master\" of its plugin {plugin:?}, and \
         this host has no such interface; make it, or name another one"
    )]
    NoMaster {
        /// The network configuration list.
        conflist: String,
        /// The plugin's type.
        plugin: String,
        /// The interface that is missing.
        master: String,
    },
    /// The chain takes its addresses from Docker's pools, and Docker has none.
    #[error(
        "conflist {conflist:?} has no ranges of addresses: its host-local takes the pools of Docker's \
         IPAM; create the network without --ipam-driver null (in a compose file: without ipam: \
         {{driver: \"null\"}})"
    )]
    NoPool {
        /// The network configuration list.
        conflist: String,
    },
    /// The chain has no addresses, and no way to get some.
    #[error(
        "conflist {conflist:?} has no ranges of addresses; add \"ranges\" to its host-local, or \
         \"capabilities\": {{\"ipRanges\": true}} to the plugin that runs it, which then takes Docker's pools"
    )]
    NoRanges {
        /// The network configuration list.
        conflist: String,
    },
    /// Every subnet that a network could be given is in use.
    #[error(
        "no subnet is free for this network: all of 10.233.144.0 to 10.239.255.255 is in use on this \
         host; choose one, with --subnet and without --ipam-driver null"
    )]
    NoFreeSubnet,
    /// A pool that has no address for a container beside the gateway's.
    #[error(
        "Docker's pool {pool} is too small: a subnet of the built-in network has a network address, a \
         gateway and a broadcast address beside those of containers; choose a larger --subnet"
    )]
    SmallPool {
        /// The pool.
        pool: IpNet,
    },
    /// An option that only the built-in network knows.
    #[error("option {key:?} is for the built-in network, and not for conflist {conflist:?}: {way}")]
    OfBuiltIn {
        /// The option's key.
        key: &'static str,
        /// The network configuration list.
        conflist: String,
        /// The way that works there.
        way: &'static str,
    },
    /// The bridge that the user names is there already.
    #[error(
        "option com.docker.network.bridge.name={bridge}: this host has an interface of that name; take another \
         name, or put the network on that bridge by a conflist of your own"
    )]
    BridgeExists {
        /// The name.
        bridge: String,
    },
    /// A network cannot be isolated by subnets that nobody tells.
    #[error(
        "option isolate=true: the subnets of conflist {conflist:?} are known to its IPAM plugin alone; isolate \
         networks on a conflist whose IPAM is host-local or static, or with --subnet"
    )]
    UnknownSubnets {
        /// The network configuration list.
        conflist: String,
    },
    /// Two networks have the same subnets, and so cannot be kept apart by them.
    #[error(
        "option isolate=true: network {network} is on the subnets of conflist {conflist:?} already, and \
         what shares a bridge cannot be kept apart; use another conflist, or the built-in network, which has \
         a bridge of its own each time (-o conflist=cnm-cni-default)"
    )]
    SharedSubnets {
        /// The network configuration list.
        conflist: String,
        /// The other network.
        network: String,
    },
    /// Spares that no container could have.
    #[error(
        "option spares={count}: Docker's IPAM names the address of each container, and no attachment that is \
         made before has it; add --ipam-driver null, so that the conflist chooses the addresses, or leave \
         the option out"
    )]
    Spares {
        /// How many are asked for.
        count: SpareCount,
    },
    /// Spares of a chain whose addresses are leased.
    #[error(
        "option spares={count}: conflist {conflist:?} leases addresses of a DHCP server, and a lease of no \
         container would take an address of its network; leave the option out"
    )]
    SparesLease {
        /// How many are asked for.
        count: SpareCount,
        /// The network configuration list.
        conflist: String,
    },
    /// An option for a plugin that is not there.
    #[error(
        "option cni.capability.{name}: no plugin of conflist {conflist:?} declares that capability{}; \
         declared {}",
        .nearest.as_ref().map(|nearest| format!(", did you mean {nearest:?}?")).unwrap_or_default(),
        listed(.declared)
    )]
    Capability {
        /// The network configuration list.
        conflist: String,
        /// The capability that the option names.
        name: String,
        /// One that is declared, and is nearly the same.
        nearest: Option<String>,
        /// Those that are declared.
        declared: Vec<String>,
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
    /// The chain has no way to get these addresses.
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
         {decided}; use --ip or --ip6 (in a compose file: ipv4_address or ipv6_address), or create the network \
         with --ipam-driver null (in a compose file: ipam: {{driver: \"null\"}})"
    )]
    DockerDecides {
        /// The option's value.
        asked: IpAddr,
        /// Docker's address.
        decided: IpAddr,
    },
    /// The chain does not take an MTU.
    #[error(
        "conflist {conflist:?} does not take an MTU: its plugin {plugin:?} is not known to have one, \
         and another MTU at the container's end alone would lose packets; set the MTU in the conflist, \
         or leave com.docker.network.driver.mtu out"
    )]
    Mtu {
        /// The network configuration list.
        conflist: String,
        /// The plugin that makes the interface.
        plugin: String,
    },
    /// An MTU that the device below the container's interface does not have.
    #[error(
        "conflist {conflist:?} cannot make an interface with MTU {mtu}: its master {master:?} has {most}"
    )]
    Master {
        /// The network configuration list.
        conflist: String,
        /// What Docker decided.
        mtu: u32,
        /// The device below.
        master: String,
        /// Its own MTU.
        most: u32,
    },
    /// A published port that nothing would publish.
    #[error(
        "conflist {conflist:?} cannot publish port {port}, and no other network of the container does: \
         no plugin of the chain declares the \"portMappings\" capability; add {{\"type\": \"portmap\", \
         \"capabilities\": {{\"portMappings\": true}}}} to its plugins, start the container without -p, or \
         start it on a network that publishes, and then connect it to this one"
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
    "conflist {conflist:?} gave {}, but {wanted} was decided on, by {}",
    .given.as_deref().unwrap_or("no address"),
    match by_option {
        true => "the option ip; its IPAM plugin does not take an address: leave the option out",
        false => "Docker; create the network with --ipam-driver null to let CNI choose the addresses (in a \
                  compose file: ipam: {driver: \"null\"})",
    }
)]
pub struct OtherAddress {
    /// The network configuration list.
    pub conflist: String,
    /// The address that was asked for.
    pub wanted: IpAddr,
    /// The chain's addresses of that family.
    pub given: Option<String>,
    /// It was asked for by the option `ip`, and not chosen by Docker's IPAM.
    pub by_option: bool,
}

fn listed(capabilities: &[String]) -> String {
    match capabilities {
        [] => "is none".to_owned(),
        [one] => format!("is {one}"),
        several => format!("are {}", several.join(", ")),
    }
}
