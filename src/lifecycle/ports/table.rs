//! The host ports of all endpoints: who holds which, and choosing one.
//!
//! A port is held from before the endpoint is set up until its DEL has succeeded, so that no two endpoints
//! publish the same port, and no process of the host takes it ([`super::hold`]). The kernel releases the
//! ports when the driver ends; the next driver takes them again when it opens.
//!
//! Docker passes the same published ports to every network of a container, and does not name the container.
//! A second endpoint on *another* network with the same list may be of the same container. This is known
//! only at Join, when both name their sandbox. Until then the second endpoint has no ports;
//! [`super::publish`] does the rest. Two endpoints of one sandbox may share their ports: Docker 28 has one
//! publish for IPv4 and another for IPv6, where these are the gateways of the two families.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use super::hold::Hold;
use crate::cnm::{EndpointId, HostPort, NetworkId, PortBinding};
use crate::lifecycle::error::PortError;
use crate::lifecycle::record::Attachment;
use crate::sysctl;

/// Every port that is held.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    holders: Mutex<HashMap<EndpointId, Holder>>,
    /// Where the search for any free port begins: a port is not given out again at once.
    next: AtomicU32,
}

#[derive(Debug)]
struct Holder {
    network: NetworkId,
    /// What it publishes; each with the port that was chosen.
    ports: Vec<PortBinding>,
    /// The container's namespace, from Join on.
    sandbox: Option<PathBuf>,
    holds: Vec<Arc<Hold>>,
}

type Holders = HashMap<EndpointId, Holder>;

impl Ports {
    /// Takes the ports of these attachments again, after a start.
    pub(crate) fn of<'a>(attachments: impl Iterator<Item = &'a Attachment>) -> Self {
        let ports = Self::default();
        let (mut files, most) = (0, most_files());
        // Also attachments that are to be deleted: their rules exist until DEL has run.
        for attachment in attachments.filter(|attachment| attachment.publishes()) {
            let Attachment { endpoint, network, ports: bindings, .. } = attachment;
            if let Some(sandbox) = attachment.sandbox()
                && ports.share(endpoint, network, sandbox, bindings).is_some()
            {
                continue;
            }
            let holds = bindings.iter().map(|binding| {
                let port = HostPort::of(binding);
                let taken = if files < most { Hold::take(port) } else { Err(Errno::EMFILE) };
                let hold = taken.unwrap_or_else(|errno| {
                    tracing::warn!(
                        %port, endpoint = endpoint.short(), reason = errno.desc(),
                        "a published port cannot be kept from other processes"
                    );
                    Hold::in_name_only(port)
                });
                files += hold.files();
                Arc::new(hold)
            });
            let holder = Holder {
                network: network.clone(),
                ports: bindings.clone(),
                sandbox: attachment.sandbox().map(Path::to_owned),
                holds: holds.collect(),
            };
            ports.holders().insert(endpoint.clone(), holder);
        }
        ports
    }

    /// Takes the ports that an endpoint asks for, all or none, and returns them: where Docker leaves a
    /// choice, a free port is chosen. An endpoint may ask for the ports that it has.
    ///
    /// # Errors
    /// Somebody else has one of them, or the kernel refuses it.
    pub(crate) fn hold(
        &self,
        endpoint: &EndpointId,
        network: &NetworkId,
        asked: &[PortBinding],
    ) -> Result<Vec<PortBinding>, PortError> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let mut holders = self.holders();
        if let Some(own) = holders.get(endpoint).filter(|own| own.ports == asked) {
            // It has them already, and its own sockets would be in the way.
            return Ok(own.ports.clone());
        }
        let (mut holds, mut settled) = (Vec::<Arc<Hold>>::new(), Vec::new());
        let held = holders.values().flat_map(|holder| &holder.holds);
        let (mut files, most) = (held.map(|hold| hold.files()).sum(), most_files());
        for (position, binding) in asked.iter().enumerate() {
            if asked[..position].contains(binding) {
                continue;
            }
            if files >= most {
                return Err(PortError::TooManyFiles { port: HostPort::of(binding), files });
            }
            let hold = self.hold_one(&holders, &holds, endpoint, binding)?;
            files += hold.files();
            let number = hold.port.number;
            if number != binding.host_port {
                tracing::info!(port = %hold.port, container_port = binding.port,
                    endpoint = endpoint.short(), "chose a host port");
            }
            settled.push(PortBinding {
                host_port: number,
                host_port_end: number,
                ..binding.clone()
            });
            holds.push(Arc::new(hold));
        }
        let (network, ports) = (network.clone(), settled.clone());
        holders.insert(endpoint.clone(), Holder { network, ports, sandbox: None, holds });
        Ok(settled)
    }

    fn hold_one(
        &self,
        holders: &Holders,
        own: &[Arc<Hold>],
        endpoint: &EndpointId,
        binding: &PortBinding,
    ) -> Result<Hold, PortError> {
        let first = binding.host_port;
        let last = binding.host_port_end.max(first);
        let (first, last, start) = match first {
            0 => {
                let (first, last) = any();
                (first, last, self.next.fetch_add(1, Ordering::Relaxed))
            }
            _ => (first, last, 0),
        };
        let count = u32::from(last - first) + 1;
        // Where there is a choice, another port is as good.
        let take = if count == 1 { Hold::take_soon } else { Hold::take };
        for offset in 0..count {
            // Below `count`, which the addition to `first` does not take beyond `last`.
            let offset = (start.wrapping_add(offset) % count) as u16;
            let port = HostPort { number: first + offset, ..HostPort::of(binding) };
            let refusal = match holder_of(holders, endpoint, &port) {
                Some((endpoint, Holder { network, .. })) => {
                    PortError::Held { port, endpoint: endpoint.clone(), network: network.clone() }
                }
                None if own.iter().any(|hold| hold.port.overlaps(&port)) => PortError::Twice(port),
                None => match take(port) {
                    Ok(hold) => return Ok(hold),
                    Err(Errno::EADDRINUSE) => PortError::InUse(port),
                    Err(Errno::EADDRNOTAVAIL) => return Err(PortError::NoAddress(port)),
                    Err(errno) => return Err(PortError::Socket { port, errno }),
                },
            };
            if count == 1 {
                return Err(refusal);
            }
        }
        Err(PortError::NoneFree { first, last, protocol: binding.proto.name() })
    }

    /// Has the endpoint share the ports that another endpoint of its sandbox holds, and returns them. None if
    /// none there holds what it asks for.
    pub(crate) fn share(
        &self,
        endpoint: &EndpointId,
        network: &NetworkId,
        sandbox: &Path,
        asked: &[PortBinding],
    ) -> Option<Vec<PortBinding>> {
        let mut holders = self.holders();
        let other = holders.iter().find(|(other, holder)| {
            *other != endpoint
                && holder.sandbox.as_deref() == Some(sandbox)
                && same(&holder.ports, asked)
        });
        let (_, Holder { ports, holds, .. }) = other?;
        let (ports, holds) = (ports.clone(), holds.clone());
        let sandbox = Some(sandbox.to_owned());
        let holder = Holder { network: network.clone(), ports: ports.clone(), sandbox, holds };
        holders.insert(endpoint.clone(), holder);
        Some(ports)
    }

    /// Whether the container that asks for these ports on a network may have them already, at its endpoint
    /// in another network.
    pub(crate) fn may_be_of_same_container(
        &self,
        network: &NetworkId,
        asked: &[PortBinding],
    ) -> bool {
        let holders = self.holders();
        holders.values().any(|holder| holder.network != *network && same(&holder.ports, asked))
    }

    /// Whether an endpoint in this sandbox has the ports that another one asks for.
    pub(crate) fn are_held_in(&self, sandbox: Option<&Path>, asked: &[PortBinding]) -> bool {
        let holders = self.holders();
        let mut inside = holders.values().filter(|holder| holder.sandbox.as_deref() == sandbox);
        sandbox.is_some() && inside.any(|holder| same(&holder.ports, asked))
    }

    /// An endpoint enters its sandbox.
    pub(crate) fn enter(&self, endpoint: &EndpointId, sandbox: &Path) {
        if let Some(holder) = self.holders().get_mut(endpoint) {
            holder.sandbox = Some(sandbox.to_owned());
        }
    }

    /// How many ports are held.
    pub(crate) fn count(&self) -> usize {
        let holders = self.holders();
        let holds = holders.values().flat_map(|holder| &holder.holds);
        holds.map(Arc::as_ptr).collect::<HashSet<_>>().len()
    }

    /// Releases all ports of the endpoint. Those that it shares stay held for the other one.
    pub(crate) fn release(&self, endpoint: &EndpointId) {
        self.holders().remove(endpoint);
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the ports may have been chosen for this list, in any order: Docker keeps them in a map.
pub(super) fn same(ports: &[PortBinding], asked: &[PortBinding]) -> bool {
    let chosen_by = |port: &PortBinding, asked: &PortBinding| {
        let first = asked.host_port;
        (port.proto, port.port, port.host_ip) == (asked.proto, asked.port, asked.host_ip)
            && (first == 0 || (first..=asked.host_port_end.max(first)).contains(&port.host_port))
    };
    ports.iter().all(|port| asked.iter().any(|asked| chosen_by(port, asked)))
        && asked.iter().all(|asked| ports.iter().any(|port| chosen_by(port, asked)))
}

/// The other endpoint that has the port, or a part of it.
fn holder_of<'h>(
    holders: &'h Holders,
    asking: &EndpointId,
    port: &HostPort,
) -> Option<(&'h EndpointId, &'h Holder)> {
    holders
        .iter()
        .filter(|(endpoint, _)| *endpoint != asking)
        .find(|(_, holder)| holder.holds.iter().any(|hold| hold.port.overlaps(port)))
}

/// How many files the sockets that hold ports may use. Without free files the driver could not even accept
/// the call that a container has ended.
fn most_files() -> usize {
    /// For connections, pipes to plugins and netlink.
    const RESERVE: usize = 512;
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(limit, _)| limit);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    limit - RESERVE.min(limit / 2)
}

/// The range for a free port: the range that the kernel uses, as Docker does.
fn any() -> (u16, u16) {
    /// The kernel's own default.
    const DEFAULT: (u16, u16) = (32768, 60999);
    let Ok(text) = fs::read_to_string(sysctl::of_host("net/ipv4/ip_local_port_range")) else {
        return DEFAULT;
    };
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if 0 < first && first <= last => (first, last),
        _ => DEFAULT,
    }
}

#[cfg(test)]
mod tests;
