//! One run of a chain's ADD, and all that DEL needs to take it back.

use std::net::IpAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cni;
use crate::cni::{AttachResult, NetworkConfigList};
use crate::cnm::{EndpointId, NetworkId, PortBinding};
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::phase::InvalidTransition;
use crate::lifecycle::record::{
    AttachmentId, Further, HostSide, Joining, Left, Made, Netfilter, Phase, PhaseName, Prepared,
    Removal, Settings, WriteLock,
};
use crate::netlink::Snapshot;
use crate::translate::{self, PORT_MAPPINGS};

/// One run of a chain's ADD, and all that DEL needs to take it back.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    pub(crate) id: AttachmentId,
    /// When it was made. Records of version 0.1.0 leave that to the id.
    pub(crate) made: Option<SystemTime>,
    pub(crate) network: NetworkId,
    /// The endpoint that has it. If there is none, the attachment's own id stands here: for a spare, and
    /// for what was found without its record. Docker knows no such endpoint.
    pub(crate) endpoint: EndpointId,
    /// The boot in which ADD ran: interfaces and namespaces do not survive a reboot.
    pub(crate) boot_id: String,
    /// The chain exactly as ADD ran it, even if the file changes.
    pub(crate) list: Arc<NetworkConfigList>,
    /// The parameters of ADD; DEL gets the same.
    pub(crate) parameters: cni::Attachment,
    /// The ports to publish, with the host ports that were chosen. They are published while `parameters`
    /// has them too: see [`crate::lifecycle::ports::publish`].
    pub(crate) ports: Vec<PortBinding>,
    /// Plugins that were to publish them beside other work have not ended, as far as is known: there may be all,
    /// a part or nothing on the host.
    pub(crate) publishing: bool,
    /// Where the staging namespace is pinned: the `CNI_NETNS` of the parameters.
    pub(crate) staging: PathBuf,
    /// The network is `--internal`.
    pub(crate) internal: bool,
    /// The addresses are exempt from the host's FORWARD policy.
    pub(crate) forwarded: bool,
    /// New connections to them are exempt as well.
    pub(crate) open: bool,
    /// It is the gateway of its sandbox: Docker called ProgramExternalConnectivity.
    pub(crate) is_gateway: bool,
    /// Its phase, with the data of that phase.
    pub(crate) phase: Phase,
    /// The order of writes to the record on disk.
    pub(crate) write_lock: WriteLock,
}

/// An attachment that a container has, with what is known about it there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined<'a> {
    pub(crate) attachment: &'a Attachment,
    pub(crate) made: &'a Made,
    pub(crate) joining: &'a Joining,
}

impl Deref for Joined<'_> {
    type Target = Attachment;

    fn deref(&self) -> &Attachment {
        self.attachment
    }
}

impl Joined<'_> {
    /// The container's namespace.
    pub(crate) fn sandbox(&self) -> &Path {
        &self.joining.sandbox
    }
}

impl Attachment {
    /// ADD has succeeded.
    ///
    /// # Errors
    /// It was not running.
    pub(crate) fn stage(&mut self, made: Made) -> Result<()> {
        self.change(|phase| phase.stage(made))
    }

    /// ADD has succeeded, ahead of time.
    ///
    /// # Errors
    /// It was not running.
    pub(super) fn keep_ready(&mut self, made: Made, prepared: Prepared) -> Result<()> {
        self.change(|phase| phase.keep_ready(made, prepared))
    }

    /// An endpoint claims the spare.
    ///
    /// # Errors
    /// It is not a spare.
    pub(super) fn claim(&mut self, endpoint: EndpointId) -> Result<()> {
        self.change(Phase::claim)?;
        self.endpoint = endpoint;
        Ok(())
    }

    /// Whether an endpoint of Docker's has it, or had it.
    pub(crate) fn has_endpoint(&self) -> bool {
        self.endpoint != self.id.without_dashes()
    }

    /// Whether it is, or was to be, a spare: a network of Docker's has it, and no endpoint. What was found
    /// without its record has neither.
    pub(crate) fn is_of_no_container(&self) -> bool {
        !self.has_endpoint() && self.network != self.id.without_dashes()
    }

    /// Docker is given the interface, perhaps once more.
    ///
    /// # Errors
    /// Its ADD has not succeeded, or it is being deleted.
    pub(crate) fn join(&mut self, joining: Joining) -> Result<()> {
        self.change(|phase| phase.join(joining))
    }

    /// What Docker does not carry over has been put back, except where the user has decided otherwise.
    ///
    /// # Errors
    /// Docker does not have the interface, or it was settled before.
    pub(crate) fn settle(&mut self, users: Settings) -> Result<()> {
        self.change(|phase| phase.settle(users))
    }

    /// It is to be deleted. If it was before, the state of its removal is kept.
    pub(crate) fn begin_removal(&mut self) {
        self.begin_removal_with(|_, _| ());
    }

    /// The same, and `note` records the state of the removal, or what is known about what is left.
    pub(crate) fn begin_removal_with<T>(
        &mut self,
        note: impl FnOnce(&mut Removal, &mut Left) -> T,
    ) -> T {
        let from = self.phase.name();
        let noted = self.phase.delete(note);
        if from != PhaseName::Deleting {
            self.tell_change(from);
        }
        noted
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut Phase) -> std::result::Result<(), InvalidTransition>,
    ) -> Result<()> {
        let from = self.phase.name();
        change(&mut self.phase).map_err(|InvalidTransition { from, to }| {
            Error::InvalidTransition {
                attachment: self.id.to_string(),
                from: from.to_string(),
                to: to.to_string(),
            }
        })?;
        self.tell_change(from);
        Ok(())
    }

    fn tell_change(&self, from: PhaseName) {
        let (from, to) = (from.to_string(), self.phase.name().to_string());
        tracing::debug!(attachment = %self.id, from, to, "phase");
    }

    /// What ADD made.
    ///
    /// # Errors
    /// ADD has made nothing, or it is being removed: the endpoint does not exist.
    pub(crate) fn made(&self) -> Result<&Made> {
        self.phase.made().ok_or_else(|| Error::UnknownEndpoint(self.endpoint.clone()))
    }

    /// Whether the endpoint exists as far as Docker is concerned.
    pub(crate) fn is_live(&self) -> bool {
        self.phase.made().is_some()
    }

    /// This attachment with what is known about it in its container; none if no container has it.
    pub(crate) fn joined(&self) -> Option<Joined<'_>> {
        let (made, joining) = self.phase.joining()?;
        Some(Joined { attachment: self, made, joining })
    }

    /// The same, if it has yet to be settled.
    pub(crate) fn unsettled(&self) -> Option<Joined<'_>> {
        self.joined().filter(|_| self.phase.name() == PhaseName::Joined)
    }

    /// The same, if it has been settled.
    pub(crate) fn settled(&self) -> Option<Joined<'_>> {
        self.joined().filter(|_| self.phase.name() == PhaseName::Settled)
    }

    /// Records more about it in its container, if a container has it.
    pub(crate) fn note(&mut self, note: impl FnOnce(&mut Joining)) {
        if let Some(joining) = self.phase.joining_mut() {
            note(joining);
        }
    }

    /// The result of ADD; none if there is none.
    pub(crate) fn result(&self) -> Option<&AttachResult> {
        match (self.phase.made(), self.phase.deleting()) {
            (Some(made), _) => Some(&made.result),
            (_, Some((_, left))) => left.result.as_ref(),
            (None, None) => None,
        }
    }

    /// The interface as ADD left it; none if nobody has looked at it.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        match (self.phase.made(), self.phase.deleting()) {
            (Some(made), _) => Some(&made.snapshot),
            (_, Some((_, left))) => left.snapshot.as_ref(),
            (None, None) => None,
        }
    }

    /// The further links that ADD made.
    pub(crate) fn further(&self) -> &[Further] {
        match (self.phase.made(), self.phase.deleting()) {
            (Some(made), _) => &made.further,
            (_, Some((_, left))) => &left.further,
            (None, None) => &[],
        }
    }

    /// What was prepared for a spare, until Join has used it.
    pub(crate) fn prepared(&self) -> Option<&Prepared> {
        self.phase.prepared()
    }

    /// Settings that the chain changed; none if nobody has looked at them.
    pub(crate) fn settings(&self) -> Option<&Settings> {
        match (self.phase.joining(), self.phase.deleting()) {
            (Some((_, joining)), _) => Some(&*joining.settings),
            (_, Some((_, left))) => left.settings.as_deref(),
            (None, None) => self.prepared().map(|prepared| &*prepared.settings),
        }
    }

    /// Rules that the chain left in the namespace; none before Join.
    pub(crate) fn netfilter(&self) -> Option<&Netfilter> {
        match (self.phase.joining(), self.phase.deleting()) {
            (Some((_, joining)), _) => Some(&joining.netfilter),
            (_, Some((_, left))) => Some(&left.netfilter),
            (None, None) => None,
        }
    }

    /// The container's namespace; none before Join.
    pub(crate) fn sandbox(&self) -> Option<&Path> {
        match (self.phase.joining(), self.phase.deleting()) {
            (Some((_, joining)), _) => Some(&joining.sandbox),
            (_, Some((_, left))) => left.sandbox.as_deref(),
            (None, None) => None,
        }
    }

    /// What ADD left on the host; none if it could not be seen, or if nobody has looked at it.
    pub(crate) fn host_side(&self) -> Option<&HostSide> {
        match (self.phase.joining(), self.phase.deleting()) {
            (Some((_, joining)), _) => joining.host_side.as_ref(),
            (_, Some((_, left))) => left.host_side.as_ref(),
            (None, None) => self.prepared()?.host_side.as_ref(),
        }
    }

    /// The addresses that were masqueraded when the host's rules were read; none if nobody has read them.
    pub(crate) fn masqueraded(&self) -> impl Iterator<Item = IpAddr> {
        let seen = self.host_side().and_then(|side| side.masqueraded.as_ref());
        seen.into_iter().flatten().copied()
    }

    /// The state of its removal; none if it is not to be deleted.
    pub(crate) fn removal(&self) -> Option<&Removal> {
        self.phase.deleting().map(|(removal, _)| removal)
    }

    /// How long ago it was made; zero if the clock was set back since.
    pub(crate) fn age(&self) -> Duration {
        let made = self.made.or_else(|| self.id.made());
        made.and_then(|made| made.elapsed().ok()).unwrap_or_default()
    }

    /// The addresses that the chain gave.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.result().into_iter().flat_map(|result| &result.ips).map(|ip| ip.address.addr())
    }

    /// The error that its interface is in none of the places where it can be.
    pub(crate) fn gone(&self) -> Error {
        Error::InterfaceGone {
            endpoint: self.endpoint.clone(),
            if_name: self.parameters.if_name.clone(),
        }
    }

    /// Checks that its staging path is its own pin: the driver unmounts and removes what is there.
    ///
    /// # Errors
    /// The path is another one; the error says which.
    pub(crate) fn is_pinned_in(&self, netns_dir: &Path) -> std::result::Result<(), String> {
        let own = netns_dir.join(self.id.to_string());
        match () {
            () if self.staging != own => Err(format!(
                "its namespace is pinned at {}, not at {}: was it made with another --run-dir?",
                self.staging.display(),
                own.display()
            )),
            () if self.parameters.netns.as_ref() != Some(&own) => {
                Err("its plugins are told of another namespace than its own".to_owned())
            }
            () if self.parameters.container_id != self.id.to_string()
                || self.parameters.if_name != self.id.if_name() =>
            {
                Err("its plugins are told of another container, or interface, than its own"
                    .to_owned())
            }
            () => Ok(()),
        }
    }

    /// The ports that the attachment was created with; or these, if Docker did not pass it any.
    pub(crate) fn ports_or<'p>(&'p self, asked: &'p [PortBinding]) -> &'p [PortBinding] {
        match &self.ports[..] {
            [] if !self.internal => asked,
            own => own,
        }
    }

    /// Whether it has ports on the host: by ADD or since, and not withdrawn. They may be on their way.
    pub(crate) fn publishes(&self) -> bool {
        !self.ports.is_empty() && self.parameters.capability_args.contains_key(PORT_MAPPINGS)
    }

    /// Whether all of its ports are published.
    pub(crate) fn has_published(&self) -> bool {
        self.publishes() && !self.publishing
    }

    /// These ports, which it holds, are about to be published.
    pub(crate) fn begin_to_publish(&mut self, ports: Vec<PortBinding>) {
        let mappings = translate::port_mappings(&ports);
        self.parameters.capability_args.insert(PORT_MAPPINGS.to_owned(), mappings);
        self.ports = ports;
        self.publishing = true;
    }

    /// Its ports have been withdrawn.
    pub(crate) fn withdraw_ports(&mut self) {
        self.parameters.capability_args.remove(PORT_MAPPINGS);
        self.publishing = false;
    }
}
