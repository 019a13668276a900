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
use crate::lifecycle::error::PortError;
use crate::lifecycle::error::Result;
use crate::lifecycle::host::Chains;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::parts::Parts;
use crate::lifecycle::record::{Attachment, Endpoints, Networks, Records};
use crate::netlink::conntrack;
use crate::state::Folder;
use crate::translate::{self, PORT_MAPPINGS};

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

/// Publishes ports, and withdraws them.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(super) ports: Arc<Ports>,
    pub(super) networks: Arc<Networks>,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) interfaces: Arc<Interfaces>,
    pub(super) records: Arc<Records>,
    chains: Arc<Chains>,
}

impl Publisher {
    pub(crate) fn new(parts: &Parts, ports: &Arc<Ports>) -> Self {
        let Parts { networks, endpoints, interfaces, records, chains, .. } = parts.clone();
        Self { ports: Arc::clone(ports), networks, endpoints, interfaces, records, chains }
    }

    /// Publishes the ports of an endpoint that joins a sandbox, if ADD left them out because another
    /// endpoint of the same container might have had them, and none has.
    ///
    /// # Errors
    /// Another container has a port, or the chain fails; nothing is published then.
    pub(crate) async fn publish_deferred(
        &self,
        attachment: &mut Attachment,
        sandbox: &Path,
    ) -> Result<()> {
        let Attachment { endpoint, network, ports, .. } = &*attachment;
        let can = attachment.list.declares(PORT_MAPPINGS);
        let nothing_to_do = ports.is_empty() || attachment.publishes() || !can;
        if nothing_to_do || self.ports.are_held_in(Some(sandbox), ports) {
            return Ok(());
        }
        if !attachment.list.adds(PORT_MAPPINGS) {
            // Only ADD could have published them, and somebody had them then.
            self.ports.hold(endpoint, network, ports)?;
            self.ports.release(endpoint);
        }
        self.publish_here(attachment, &[]).await
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
        let result = &attachment.made()?.result;
        let wanted = attachment.ports_or(asked);
        if wanted.is_empty() || attachment.publishes() {
            return Ok(());
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
        let mut published = attachment.clone();
        let mappings = translate::port_mappings(&ports);
        published.parameters.capability_args.insert(PORT_MAPPINGS.to_owned(), mappings);
        published.ports = ports;
        // On disk first: DEL then removes what a crash leaves half-done.
        if let Err(error) = self.records.keep(&published).await {
            self.ports.release(endpoint);
            return Err(error);
        }
        let Attachment { list, parameters, .. } = &published;
        let added = self.chains.publish(list, parameters, result).await;
        let Err(cause) = added else {
            *attachment = published;
            return Ok(());
        };
        let undo = self.chains.unpublish(list, parameters, result).await;
        if let Err(undo) = undo {
            // Rules may exist: DEL has to get the ports, and nobody else may have them.
            *attachment = published;
            return Err(cause.undone(Err(undo)));
        }
        self.ports.release(endpoint);
        self.records.keep_or_warn(attachment).await;
        Err(cause)
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
        attachment.parameters.capability_args.remove(PORT_MAPPINGS);
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
