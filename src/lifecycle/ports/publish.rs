//! Publishing: published ports follow the container's gateway.
//!
//! A container has the same published ports on each of its networks, and one of its endpoints at a time has
//! the default gateway. Docker wants this endpoint to publish the ports. Usually ADD has published them
//! already, because that saves a run of a plugin; but not if another endpoint of the same container may
//! have them. Two cases are handled here: Join shows that the other endpoint is of another container; or
//! the gateway moves. Then only the plugins that declare `portMappings` run: DEL for the endpoint that
//! loses the gateway, and ADD, on top of the chain's result, for the one that gets it. If the plugin that
//! makes the interface also publishes the ports, they stay at their endpoint. If the endpoint with the
//! gateway cannot publish, another endpoint of the container does: [`super::elsewhere`].
//!
//! In Docker 28 the default gateways of IPv4 and of IPv6 may be on two networks. It wants both endpoints to
//! publish then. They share the ports, and the plugins of each publish them for its addresses. The same is done
//! if Docker's call that the gateway moved away was lost with a killed driver.
//!
//! The record is written before the plugins publish, and after they have withdrawn the ports. So it always
//! has at least what is on the host. The state in memory changes last, and is equal to the host's, even if
//! a record could not be written after that.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::Ports;
use super::table::same;
use crate::cnm::{EndpointId, NetworkId, PortBinding, Protocol};
use crate::lifecycle::background::{Background, Gate};
use crate::lifecycle::error::{Error, PortError, Result, chain};
use crate::lifecycle::host::Chains;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::parts::Parts;
use crate::lifecycle::record::{Attachment, Endpoints, Networks, Records};
use crate::netlink::conntrack;
use crate::state::Folder;
use crate::translate::PORT_MAPPINGS;

/// A published port, as the operator is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedPort {
    /// The host's address; none for all.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The container's addresses.
    pub container_ips: Vec<IpAddr>,
    /// The container's port.
    pub container_port: u16,
    /// The endpoint's network.
    pub network: NetworkId,
    /// The endpoint in that network.
    pub endpoint: EndpointId,
}

/// Every port that is published now, by the records in `state_dir`. This does not need the driver, and does
/// not disturb it.
///
/// # Errors
/// The folder cannot be listed.
pub fn published(state_dir: &Path) -> Result<Vec<PublishedPort>> {
    let attachments = Folder::<Attachment>::glance(state_dir)?;
    let mut ports = Vec::new();
    for attachment in attachments {
        // Also ports that DEL has not withdrawn yet: nobody else can have them.
        if !attachment.publishes() {
            continue;
        }
        let container_ips: Vec<_> = attachment.addresses().collect();
        ports.extend(attachment.ports.iter().map(|binding| PublishedPort {
            host_ip: binding.host_ip,
            host_port: binding.host_port,
            protocol: binding.proto.name(),
            container_ips: container_ips.clone(),
            container_port: binding.port,
            network: attachment.network.clone(),
            endpoint: attachment.endpoint.clone(),
        }));
    }
    ports.sort_by_key(|port| (port.host_port, port.protocol, port.host_ip));
    Ok(ports)
}

/// Whether the plugins are run for the first time, or may have done a part before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    First,
    Again,
}

/// Why ports are not published.
#[derive(Debug)]
pub(super) struct NotPublished {
    cause: Error,
    /// The plugins could not take back what they did.
    may_be_there: bool,
}

/// Publishes ports, and withdraws them.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(super) ports: Arc<Ports>,
    pub(super) networks: Arc<Networks>,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) interfaces: Arc<Interfaces>,
    pub(super) records: Arc<Records>,
    pub(super) gate: Gate,
    pub(super) background: Background,
    chains: Arc<Chains>,
}

impl Publisher {
    pub(crate) fn new(parts: &Parts, ports: &Arc<Ports>) -> Self {
        let Parts { networks, endpoints, interfaces, records, .. } = parts.clone();
        let Parts { gate, background, chains, .. } = parts.clone();
        let ports = Arc::clone(ports);
        Self { ports, networks, endpoints, interfaces, records, gate, background, chains }
    }

    /// Publishes the ports of an endpoint that became its sandbox's gateway, unless they are published: at
    /// this endpoint, or, if its chain cannot publish, at another endpoint of the container. `asked` are
    /// Docker's ports of the sandbox. At CreateEndpoint Docker does not pass them if an endpoint on its own
    /// bridge has them.
    ///
    /// # Errors
    /// Somebody else has a port, no endpoint of the container can publish, or the chain fails. Nothing is
    /// published then. If that is not certain, the endpoint keeps the ports until its DEL.
    pub(crate) async fn publish(
        &self,
        attachment: &mut Attachment,
        asked: &[PortBinding],
    ) -> Result<()> {
        match attachment.list.adds(PORT_MAPPINGS) {
            true => self.publish_here(attachment, asked).await,
            false => self.publish_elsewhere(attachment, asked).await,
        }
    }

    /// Publishes by the endpoint's own chain: the ports that it was created with, or else these.
    pub(crate) async fn publish_here(
        &self,
        attachment: &mut Attachment,
        asked: &[PortBinding],
    ) -> Result<()> {
        let ports = attachment.ports.clone();
        let Some(run) = self.begin(attachment, asked).await? else { return Ok(()) };
        let ended = self.run(attachment, run).await;
        if ended.as_ref().is_err_and(|failed| !failed.may_be_there) {
            attachment.ports = ports;
        }
        self.end(attachment, ended).await
    }

    /// Takes the ports that the endpoint was created with, or else these, and records that they are about to be
    /// published. None if nothing is to be done.
    ///
    /// # Errors
    /// Somebody else has a port, or the record cannot be written. Then the endpoint has none.
    pub(super) async fn begin(
        &self,
        attachment: &mut Attachment,
        asked: &[PortBinding],
    ) -> Result<Option<Run>> {
        let wanted = attachment.ports_or(asked);
        if wanted.is_empty() || attachment.has_published() {
            return Ok(None);
        }
        if attachment.publishing {
            return Ok(Some(Run::Again));
        }
        let (endpoint, network) = (&attachment.endpoint, &attachment.network);
        let shared = attachment
            .sandbox()
            .and_then(|sandbox| self.ports.share(endpoint, network, sandbox, wanted));
        let ports = match shared {
            Some(ports) => ports,
            None => match self.ports.hold(endpoint, network, wanted) {
                // Somebody else has the port that was chosen before; another choice is good too.
                Err(PortError::Held { .. } | PortError::InUse(_)) if same(wanted, asked) => {
                    self.ports.hold(endpoint, network, asked)?
                }
                held => held?,
            },
        };
        // Only this endpoint has the ports now, because it has a sandbox.
        if let Some(sandbox) = attachment.sandbox() {
            self.ports.enter(endpoint, sandbox);
        }
        let mut begun = attachment.clone();
        begun.begin_to_publish(ports);
        // On disk first: DEL then removes what a crash leaves half-done.
        if let Err(error) = self.records.keep(&begun).await {
            self.ports.release(endpoint);
            return Err(error);
        }
        *attachment = begun;
        Ok(Some(Run::First))
    }

    /// Has the plugins publish the ports. After an error nothing of them is there, or it says that this is not
    /// certain.
    pub(super) async fn run(
        &self,
        attachment: &Attachment,
        run: Run,
    ) -> std::result::Result<(), NotPublished> {
        let Attachment { list, parameters, .. } = attachment;
        let may_be_there = |cause| NotPublished { cause, may_be_there: true };
        let result = &attachment.made().map_err(may_be_there)?.result;
        if run == Run::Again {
            // The plugins of a driver that was killed go on.
            self.chains.end_strays([attachment.id.to_string()].into()).await;
            self.chains.unpublish(list, parameters, result).await.map_err(may_be_there)?;
        }
        let Err(cause) = self.chains.publish(list, parameters, result).await else {
            return Ok(());
        };
        match self.chains.unpublish(list, parameters, result).await {
            Ok(()) => Err(NotPublished { cause, may_be_there: false }),
            Err(undo) => Err(may_be_there(cause.undone(Err(undo)))),
        }
    }

    /// Records how the run of the plugins has ended.
    ///
    /// # Errors
    /// The ports are not published.
    pub(super) async fn end(
        &self,
        attachment: &mut Attachment,
        ended: std::result::Result<(), NotPublished>,
    ) -> Result<()> {
        match ended {
            Ok(()) => {
                self.are_published(attachment).await;
                Ok(())
            }
            // DEL has to get the ports, and nobody else may have them.
            Err(NotPublished { cause, may_be_there: true }) => Err(cause),
            Err(NotPublished { cause, .. }) => {
                attachment.withdraw_ports();
                self.ports.release(&attachment.endpoint);
                self.records.keep_or_warn(attachment).await;
                Err(cause)
            }
        }
    }

    /// Publishes once more the ports that the endpoint has, if its chain can: somebody may have removed a part of
    /// the rules, or a plugin may have left a part.
    ///
    /// # Errors
    /// The chain fails; the endpoint keeps the ports.
    pub(crate) async fn publish_again(&self, attachment: &mut Attachment) -> Result<()> {
        if !attachment.publishes() || !attachment.list.adds(PORT_MAPPINGS) {
            return Ok(());
        }
        attachment.publishing = true;
        self.records.keep_or_warn(attachment).await;
        let Attachment { list, parameters, .. } = &*attachment;
        let result = &attachment.made()?.result;
        // What is there would be there twice. What is not there is no reason to stop.
        if let Err(error) = self.chains.unpublish(list, parameters, result).await {
            tracing::debug!(error = chain(&error), "ports are published again all the same");
        }
        self.chains.publish(list, parameters, result).await?;
        self.are_published(attachment).await;
        Ok(())
    }

    /// Records that the plugins have published the ports.
    async fn are_published(&self, attachment: &mut Attachment) {
        attachment.publishing = false;
        // Behind that, they would be published once more after a crash.
        self.records.keep_soon(attachment).await;
    }

    /// Withdraws the ports of an endpoint, if its chain can do so before DEL.
    ///
    /// # Errors
    /// The chain cannot; the endpoint keeps them.
    pub(crate) async fn unpublish(&self, attachment: &mut Attachment) -> Result<()> {
        let Attachment { list, parameters, .. } = &*attachment;
        if !attachment.publishes() || !list.adds(PORT_MAPPINGS) {
            return Ok(());
        }
        let result = &attachment.made()?.result;
        self.chains.unpublish(list, parameters, result).await?;
        forget_flows(attachment).await;
        // The ports are free now, whatever the record says: if it still has them, DEL looks for them once
        // more, and no harm is done.
        attachment.withdraw_ports();
        self.ports.release(&attachment.endpoint);
        self.records.keep_or_warn(attachment).await;
        Ok(())
    }
}

/// The ports that an endpoint needs exactly: its own `ports`; or the `asked` ones, if its own were chosen for
/// these and another choice is good too.
pub(crate) fn required_ports<'p>(
    ports: &'p [PortBinding],
    asked: &'p [PortBinding],
) -> &'p [PortBinding] {
    if same(ports, asked) { asked } else { ports }
}

/// Deletes the conntrack entries of UDP flows to the endpoint's ports. The kernel cannot see the end of a UDP
/// flow. While a flow continues, its packets go where the first one went: to an address that nobody has any more,
/// or that another container has.
///
/// An error is logged, because it must not stop the removal of the endpoint.
pub(crate) async fn forget_flows(attachment: &Attachment) {
    if !attachment.ports.iter().any(|binding| binding.proto == Protocol::Udp) {
        return;
    }
    let addresses = attachment.addresses().collect();
    if let Err(error) = conntrack::forget_udp_to(addresses).await {
        tracing::warn!(endpoint = attachment.endpoint.short(), %error, "UDP flows are not forgotten");
    }
}
