//! What does not fit, with the reason and the remedy.

use std::net::IpAddr;

use ipnet::IpNet;

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
    /// An address that was chosen is not one of those that the conflist gives.
    #[error(
        "conflist {conflist:?} does not give the address {address}, but {ranges}; ask for one of \
         these{or}",
        or = .alternative.as_ref().map(|flags| format!(
            ", or create the network with {flags}, so that Docker chooses among them"
        )).unwrap_or_default()
    )]
    Address {
        /// The network configuration list.
        conflist: String,
        /// What Docker or the user has chosen.
        address: IpAddr,
        /// What the conflist gives.
        ranges: String,
        /// Flags of `docker network create` with which Docker chooses only what it gives.
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
    "conflist {conflist:?} gave {}, but {wanted} was decided on, by {}",
    .given.as_deref().unwrap_or("no address"),
    match by_option {
        true => "the option ip; its IPAM plugin takes no wishes: leave the option out",
        false => "Docker; create the network with --ipam-driver null to let CNI choose the addresses",
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
