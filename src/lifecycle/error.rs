//! Why a call failed; the one place where the rooms' errors meet.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::blocking::Stopping;
use crate::cnm::{EndpointId, InvalidOption, NetworkId};
use crate::translate::{OtherAddress, Refusal, Unfit};
use crate::{cni, netlink, netns, state, sysctl};

mod meaning;
mod port;

pub(crate) use meaning::Remaining;
pub use port::PortError;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Docker names a network that was never made, or is gone.
    #[error(
        "network {} is unknown to this driver: its record is not in the state folder; remove \
         the network and create it again",
        .0.short()
    )]
    UnknownNetwork(NetworkId),
    /// Docker names an endpoint that was never made, or is gone.
    #[error("endpoint {} is unknown to this driver: no CreateEndpoint succeeded for it", .0.short())]
    UnknownEndpoint(EndpointId),
    /// An option of the user's is not understood.
    #[error(transparent)]
    Option(#[from] InvalidOption),
    /// The conflist cannot do what Docker asks for.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The chain gave another address than the one that Docker decided on.
    #[error(transparent)]
    OtherAddress(#[from] OtherAddress),
    /// The chain gave what no container can have.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A port cannot be published.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Docker's MAC is invalid.
    #[error(transparent)]
    Mac(#[from] netlink::InvalidMac),
    /// The conflist cannot be found or read.
    #[error(transparent)]
    Config(#[from] cni::ConfigError),
    /// A plugin of the conflist is missing, or cannot serve it.
    #[error("conflist {conflist:?}: {source}")]
    Plugin {
        /// The network configuration list.
        conflist: String,
        /// Which plugin, and why.
        source: Box<cni::Unusable>,
    },
    /// A plugin failed.
    #[error(transparent)]
    Cni(#[from] cni::Error),
    /// A plugin has given the address that Docker decided on to somebody else.
    #[error(
        "{refusal}; Docker decided on {address} by its own IPAM, which does not know what other runtimes \
         on this conflist have; a network made with --ipam-driver null leaves the choice to CNI"
    )]
    NotAvailable {
        /// The address.
        address: IpAddr,
        /// The plugin's message.
        refusal: Box<cni::Error>,
    },
    /// A namespace cannot be made or entered.
    #[error(transparent)]
    Netns(#[from] netns::Error),
    /// The kernel refused a change to a link or address.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// A setting under `/proc/sys/net` cannot be read or set.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    /// A record cannot be read or written.
    #[error(transparent)]
    State(#[from] state::Error),
    /// A user other than root could make the driver run anything.
    #[error(transparent)]
    Untrusted(#[from] cni::Untrusted),
    /// The driver has reached a limit.
    #[error(
        "this driver has {most} {what} already, the most that it takes; see {flag} of 'cnm-cni serve'"
    )]
    TooMany {
        /// `networks` or `attachments`.
        what: &'static str,
        /// How many.
        most: usize,
        /// Which flag sets it.
        flag: &'static str,
    },
    /// The whole chain took longer than its limit.
    #[error(
        "the plugins of conflist {conflist:?} have not attached the container within {} s, and were \
         stopped; see --chain-timeout of 'cnm-cni serve'",
        limit.as_secs()
    )]
    TooSlow {
        /// The network configuration list.
        conflist: String,
        /// How long it was given.
        limit: Duration,
    },
    /// A spare that is being made has to give way.
    #[error("it gives way to an endpoint, or goes with its network")]
    Unwanted,
    /// There is no lease of a DHCP server.
    #[error("conflist {conflist:?}: no lease: {why}: {cause}")]
    NoLease {
        /// The network configuration list.
        conflist: String,
        /// The reason, and what to do.
        why: String,
        /// The message of the plugin, or that it was too slow.
        cause: Box<Self>,
    },
    /// The DHCP server gives another address to the container than it gave to ADD.
    #[error(
        "conflist {conflist:?}: the DHCP server leases {given} to the container now, and it has {had}: the \
         server has forgotten that lease, or given it to another; start the container again"
    )]
    OtherLease {
        /// The network configuration list.
        conflist: String,
        /// What ADD got.
        had: String,
        /// What the server gives now.
        given: String,
    },
    /// A call of Docker's came before the DHCP server's answer.
    #[error("no DHCP server had answered when Docker made another call for the endpoint")]
    LeaseInterrupted,
    /// libcni's records cannot be listed.
    #[error(transparent)]
    Cache(#[from] cni::CacheError),
    /// The chain succeeded, but made no interface with the name that it got.
    #[error(
        "conflist {conflist:?} made no interface {if_name} in the container's namespace; a chain \
         must begin with a plugin that makes one, such as bridge, ptp or macvlan"
    )]
    NoInterface {
        /// The network configuration list.
        conflist: String,
        /// `CNI_IFNAME`.
        if_name: String,
    },
    /// The chain made an interface that is not what Docker decided.
    #[error(
        "conflist {conflist:?} was told to make the interface with {wanted}, and made it with {made}; {remedy}"
    )]
    OtherInterface {
        /// The network configuration list.
        conflist: String,
        /// What was decided, such as `MAC 02:42:ac:11:00:02`.
        wanted: String,
        /// What the interface has.
        made: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The chain made more links in the container's namespace than its interface.
    #[error(
        "conflist {conflist:?} left a further interface {name:?} in the container's namespace, which cannot be \
         carried over to a container: {reason}"
    )]
    FurtherLink {
        /// The network configuration list.
        conflist: String,
        /// The link's name.
        name: String,
        /// Why it cannot.
        reason: String,
    },
    /// A further link is lost.
    #[error(
        "the further interface {name} that the chain has made is gone: somebody removed or renamed it"
    )]
    FurtherGone {
        /// The link's name.
        name: String,
    },
    /// A phase of an attachment must not follow its current phase.
    #[error(
        "attachment {attachment} is {from}, and cannot become {to} from there: this is a mistake of \
         the driver's; please report it"
    )]
    InvalidTransition {
        /// Which attachment.
        attachment: String,
        /// The phase that it is in.
        from: String,
        /// The phase that was to follow.
        to: String,
    },
    /// The interface is neither where it was made nor where Docker takes it from.
    #[error(
        "the interface {if_name} of endpoint {} is gone: somebody removed or renamed it",
        endpoint.short()
    )]
    InterfaceGone {
        /// Whose interface it was.
        endpoint: EndpointId,
        /// `CNI_IFNAME`.
        if_name: String,
    },
    /// The user sets a setting that no interface has.
    #[error(
        "option com.docker.network.endpoint.sysctls: the kernel has no sysctl {setting:?} for the interface"
    )]
    NoSetting {
        /// The setting, below `/proc/sys`.
        setting: String,
    },
    /// The stand-in for a lost interface was lost too.
    #[error("the stand-in for the lost interface {if_name} is gone: somebody removed it")]
    StandInGone {
        /// `CNI_IFNAME`.
        if_name: String,
    },
    /// Two networks of a container have a subnet in common.
    #[error(
        "subnet {ours} of network {} overlaps subnet {theirs} of network {}, which the container is \
         on already: it could not tell them apart; disconnect it from one of them, or give one of \
         the conflists another subnet",
        network.short(), other.short()
    )]
    Overlap {
        /// The subnet of the network that the container shall join.
        ours: IpNet,
        /// That network.
        network: NetworkId,
        /// The subnet of the network that it is on.
        theirs: IpNet,
        /// That other network.
        other: NetworkId,
    },
    /// An orphan still has what an endpoint asks for.
    #[error(
        "{what} is held by attachment {attachment}, whose removal has not succeeded: {reason}; \
         it is tried again, see 'cnm-cni orphans'"
    )]
    Orphaned {
        /// What the orphan has, such as `address 10.22.0.5`.
        what: String,
        /// The orphan.
        attachment: String,
        /// Why it still exists.
        reason: String,
    },
    /// An endpoint failed twice, and an orphan of its conflist may have what it needs.
    #[error(
        "{}; attachment {attachment} of the same conflist may have what is missing, and its \
         removal has not succeeded: {reason}; it is tried again, see 'cnm-cni orphans'",
        chain(.cause.as_ref())
    )]
    BesideOrphan {
        /// Why the endpoint failed.
        cause: Box<Self>,
        /// The orphan.
        attachment: String,
        /// Why it still exists.
        reason: String,
    },
    /// What the operator wants to forget is being removed.
    #[error("DEL of attachment {0} is under way; wait for it, see 'cnm-cni orphans'")]
    OrphanBusy(String),
    /// The operator names an orphan that does not exist.
    #[error(
        "there is no orphan whose attachment or endpoint begins with {0:?}; see 'cnm-cni orphans'"
    )]
    NoOrphan(String),
    /// The operator's id fits several orphans.
    #[error("several orphans begin with {0:?}; give more of the id, see 'cnm-cni orphans'")]
    SeveralOrphans(String),
    /// The driver's metrics could not be gathered in time.
    #[error(
        "the metrics could not be gathered within {} s: files of the host do not answer, or others ask for \
         them all the time",
        limit.as_secs()
    )]
    SlowMetrics {
        /// How long that may take.
        limit: Duration,
    },
    /// The host's rules cannot be read or written.
    #[error("cannot {operation}: {command}: {reason}")]
    HostRules {
        /// What was tried.
        operation: &'static str,
        /// What was run for it.
        command: &'static str,
        /// Its message.
        reason: String,
    },
    /// Rules that the chain left in its namespace cannot be read, or not be put back.
    #[error("cannot {operation}: {program}: {reason}")]
    Netfilter {
        /// What was tried.
        operation: &'static str,
        /// What was run for it.
        program: &'static str,
        /// Its message.
        reason: String,
    },
    /// The program that would carry rules over is not installed.
    #[error(
        "the plugins left rules in the container's namespace, {what}, and this host has no {program} \
         to carry them over to the container; install the package {package}"
    )]
    NoNetfilterProgram {
        /// One of the tables, or sets.
        what: String,
        /// The program.
        program: &'static str,
        /// Which package has it.
        package: &'static str,
    },
    /// A part of the host's state cannot be read, and so not be judged.
    #[error("cannot look at {}: {source}", path.display())]
    Unreadable {
        /// Where it would be.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// A lease that names no owner cannot be removed.
    #[error("cannot remove {}: {source}", path.display())]
    LeaseStays {
        /// Its file.
        path: PathBuf,
        /// Why not, or why the lock of its folder cannot be taken.
        source: io::Error,
    },
    /// The driver ends, and begins nothing new.
    #[error("the driver is stopping")]
    Stopping,
    /// The kernel's id of the current boot cannot be read.
    #[error("cannot read /proc/sys/kernel/random/boot_id")]
    BootId(#[source] io::Error),
    /// A step failed, and so did the undo of the steps before it.
    #[error(
        "{}; and undoing it failed: {}; it is tried again, see 'cnm-cni orphans'",
        chain(call),
        chain(undo)
    )]
    Undo {
        /// Why the call failed. No `source`: the message tells both with their causes.
        call: Box<Self>,
        /// Why the undo failed.
        undo: Box<Self>,
    },
}

impl From<Stopping> for Error {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

/// An error and its causes on one line, for the log and for Docker. A cause that is quoted in the error
/// above it is not repeated.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
