//! Publishing: published ports follow the container's gateway.
//!
//! A container is attached to each of its networks with the same published ports, and one of
//! its endpoints at a time holds the default gateway. Docker means the ports to be that
//! endpoint's. ADD has published them already, unless the container may have had them at another
//! end, because that is one run of a plugin less. What is left for here is Join, which shows
//! that the container is another one, and when the gateway moves: the plugins that declare
//! `portMappings` are run alone, with DEL for the endpoint that loses it and with ADD, on
//! top of the chain's result, for the one that gets it. Where the plugin that makes the
//! interface publishes the ports too, they stay with the endpoint that has them. Where the one that
//! gets the gateway cannot publish, another end does: [`super::elsewhere`].
//!
//! The record is written before the plugins publish, and after they have taken back: it has at least
//! what is on the host. What this program knows changes last, and is what is on the host, whether or
//! not a record could be written after it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::Ports;
use super::table::same;
use crate::cnm::{EndpointId, NetworkId, PortBinding, Protocol};
use crate::lifecycle::error::Result;
use crate::lifecycle::host::Chains;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::port_error::PortError;
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
    /// The container's end in that network.
    pub endpoint: EndpointId,
}

/// Every port that is published now, by the records in `state_dir`: whether or not the driver
/// runs, and without disturbing it.
///
/// # Errors
/// The folder cannot be listed.
pub fn published(state_dir: &Path) -> Result<Vec<PublishedPort>> {
    let attachments = Folder::<Attachment>::glance(state_dir)?;
    let mut ports = Vec::new();
    for attachment in attachments {
        // Also while DEL has not taken them back: nobody else can have them.
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

/// Publishes ports, and takes them back.
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
    pub(crate) fn new(
        ports: &Arc<Ports>,
        networks: &Arc<Networks>,
        endpoints: &Arc<Endpoints>,
        interfaces: &Arc<Interfaces>,
        records: &Arc<Records>,
        chains: &Arc<Chains>,
    ) -> Self {
        Self {
            ports: Arc::clone(ports),
            networks: Arc::clone(networks),
            endpoints: Arc::clone(endpoints),
            interfaces: Arc::clone(interfaces),
            records: Arc::clone(records),
            chains: Arc::clone(chains),
        }
    }

    /// Publishes the ports of an endpoint that joins a sandbox, if ADD left them out because the
    /// container might have had them at another end, and it does not.
    ///
    /// # Errors
    /// Another container has a port, or the chain fails; nothing is published then.
    pub(crate) async fn publish_what_waited(
        &self,
        attachment: &mut Attachment,
        sandbox: &Path,
    ) -> Result<()> {
        let Attachment { endpoint, network, ports, .. } = &*attachment;
        let can = attachment.list.declares(PORT_MAPPINGS);
        let nothing_to_do = ports.is_empty() || attachment.publishes() || !can;
        if nothing_to_do || self.ports.are_had_in(Some(sandbox), ports) {
            return Ok(());
        }
        if !attachment.list.adds(PORT_MAPPINGS) {
            // ADD was the time to publish them, and somebody had them.
            self.ports.hold(endpoint, network, ports)?;
            self.ports.release(endpoint);
        }
        self.publish_here(attachment, &[]).await
    }

    /// Publishes the ports of an endpoint that became its sandbox's gateway, unless they are: at this
    /// end of the container, or where this one's chain cannot, at another.
    /// `asked` are Docker's ports of the sandbox: it keeps them from an endpoint that it makes
    /// while another one on its own bridge has them.
    ///
    /// # Errors
    /// Somebody else has a port, no end of the container publishes, or the chain fails. Nothing is
    /// published then; where even that could not be made sure of, the ports are the endpoint's until
    /// its DEL.
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

    /// Publishes by the endpoint's own chain: the ports that it came with, or else these.
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
        let ports = match self.ports.hold(endpoint, network, wanted) {
            // The one that was chosen before is somebody else's by now; another one will do.
            Err(PortError::Held { .. } | PortError::InUse(_)) if same(wanted, asked) => {
                self.ports.hold(endpoint, network, asked)?
            }
            held => held?,
        };
        // The ports are the endpoint's only, wherever it stands: it has a sandbox by now.
        if let Some(sandbox) = attachment.sandbox() {
            self.ports.enter(endpoint, sandbox);
        }
        let mut published = attachment.clone();
        let mappings = translate::port_mappings(&ports);
        published.parameters.capability_args.insert(PORT_MAPPINGS.to_owned(), mappings);
        published.ports = ports;
        // On disk first: what a crash leaves half-done, DEL then takes back.
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
            // Rules may stand: DEL has to be told of them, and nobody else gets the ports.
            *attachment = published;
            return Err(cause.undone(Err(undo)));
        }
        self.ports.release(endpoint);
        self.records.keep_or_warn(attachment).await;
        Err(cause)
    }

    /// Takes the ports of an endpoint back, where its chain can do so while it lives.
    ///
    /// # Errors
    /// The chain cannot; they stay the endpoint's.
    pub(crate) async fn unpublish(&self, attachment: &mut Attachment) -> Result<()> {
        let Attachment { list, parameters, .. } = &*attachment;
        if !attachment.publishes() || !list.adds(PORT_MAPPINGS) {
            return Ok(());
        }
        let result = &attachment.made()?.result;
        self.chains.unpublish(list, parameters, result).await?;
        forget_flows(attachment).await;
        // The ports are free now, whatever the disk says: a record that has them yet does no more
        // than have DEL look for them once more.
        attachment.parameters.capability_args.remove(PORT_MAPPINGS);
        self.ports.release(&attachment.endpoint);
        self.records.keep_or_warn(attachment).await;
        Ok(())
    }
}

/// The ports that an endpoint insists on: its own `ports`, but not those that were chosen for it among
/// the `asked` ones, where another choice will do.
pub(crate) fn insisted_on<'p>(
    ports: &'p [PortBinding],
    asked: &'p [PortBinding],
) -> &'p [PortBinding] {
    if same(ports, asked) { asked } else { ports }
}

/// Makes the kernel forget the UDP flows that came in by the endpoint's ports. They have no
/// end that it could see, and as long as one goes on, its packets go where the first one went:
/// to an address that nobody has any more, or that another container has.
///
/// It is a nicety for what follows, and no reason to leave the endpoint behind: an error is
/// logged.
pub(crate) async fn forget_flows(attachment: &Attachment) {
    if !attachment.ports.iter().any(|binding| binding.proto == Protocol::Udp) {
        return;
    }
    let addresses = attachment.addresses().collect();
    if let Err(error) = conntrack::forget_udp_to(addresses).await {
        tracing::warn!(endpoint = attachment.endpoint.short(), %error, "UDP flows are not forgotten");
    }
}
