//! Publishing: published ports follow the container's gateway.
//!
//! A container is attached to each of its networks with the same published ports, and one of
//! its endpoints at a time holds the default gateway. Docker means the ports to be that
//! endpoint's. ADD has published them already, unless the container may have had them at another
//! end, because that is one run of a plugin less. What is left for here is Join, which shows
//! that the container is another one, and when the gateway moves: the plugins that declare
//! `portMappings` are run alone, with DEL for the endpoint that loses it and with ADD, on
//! top of the chain's result, for the one that gets it. Where the plugin that makes the
//! interface publishes the ports too, they stay with the endpoint that has them.

use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::cnm::{EndpointId, NetworkId, PortBinding, Protocol};
use crate::lifecycle::record::Attachment;
use crate::lifecycle::removal::{Claims, waits};
use crate::lifecycle::{Inner, Result};
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

impl Inner {
    /// Publishes the ports of an endpoint that joins a sandbox, if ADD left them out because the
    /// container might have had them at another end, and it does not.
    ///
    /// # Errors
    /// Another container has a port, or the chain fails; nothing is published then.
    pub(crate) async fn publish_what_waited(
        &self,
        attachment: &mut Attachment,
        sandbox: Option<&Path>,
    ) -> Result<()> {
        let Attachment { endpoint, network, ports, .. } = &*attachment;
        if ports.is_empty() || attachment.publishes() || self.ports.are_had_in(sandbox, ports) {
            return Ok(());
        }
        if !attachment.list.adds(PORT_MAPPINGS) {
            // ADD was the time to publish them, and somebody had them.
            self.wait_for_orphans(&Claims::of_ports(endpoint, ports), waits::limit()).await?;
            self.ports.hold(endpoint, network, ports)?;
            self.ports.release(endpoint);
        }
        self.publish(attachment, Vec::new()).await
    }

    /// Publishes the ports of an endpoint that became its sandbox's gateway, unless they are.
    /// `asked` are Docker's ports of the sandbox: it keeps them from an endpoint that it makes
    /// while another one on its own bridge has them.
    ///
    /// # Errors
    /// Somebody else has a port, or the chain fails. Nothing is published then; where even that
    /// could not be made sure of, the ports are the endpoint's until its DEL.
    pub(crate) async fn publish(
        &self,
        attachment: &mut Attachment,
        asked: Vec<PortBinding>,
    ) -> Result<()> {
        if attachment.ports.is_empty() && !attachment.internal {
            attachment.ports = asked;
        }
        let Some(result) = &attachment.result else { return Ok(()) };
        if attachment.ports.is_empty() || attachment.publishes() {
            return Ok(());
        }
        let endpoint = &attachment.endpoint;
        if !attachment.list.adds(PORT_MAPPINGS) {
            tracing::warn!(
                endpoint = endpoint.short(),
                conflist = attachment.list.name(),
                "published ports do not move here with the gateway: no plugin behind the one that \
                 makes the interface declares portMappings"
            );
            return Ok(());
        }
        let claims = Claims::of_ports(endpoint, &attachment.ports);
        self.wait_for_orphans(&claims, waits::limit()).await?;
        let ports = self.ports.hold(endpoint, &attachment.network, &attachment.ports)?;
        // The ports are the endpoint's only, wherever it stands: it has a sandbox by now.
        self.ports.enter(endpoint, attachment.sandbox.as_deref());
        let mut published = attachment.clone();
        let mappings = translate::port_mappings(&ports);
        published.parameters.capability_args.insert(PORT_MAPPINGS.to_owned(), mappings);
        published.ports = ports;
        let Attachment { list, parameters, .. } = &published;
        let _turn = self.turns.beside_others(list.name()).await;
        let outcome = async {
            // On disk first: what a crash leaves half-done, DEL then takes back.
            self.keep(&published).await?;
            Ok(self.runtime.add_capability(list, parameters, PORT_MAPPINGS, result).await?)
        };
        let outcome: Result<()> = outcome.await;
        if let Err(cause) = outcome {
            let undo = self.runtime.del_capability(list, parameters, PORT_MAPPINGS, result).await;
            if let Err(undo) = undo {
                // Rules may stand: DEL has to be told of them, and nobody else gets the ports.
                *attachment = published;
                return Err(cause.undone(Err(undo.into())));
            }
            self.ports.release(endpoint);
            return Err(cause.undone(self.keep(attachment).await));
        }
        *attachment = published;
        Ok(())
    }
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
