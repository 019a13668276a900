//! What two attachments must not have at the same time: so what a new one asks for is compared with
//! what the orphans still have.

use std::net::IpAddr;

use crate::cnm::{CreateEndpointRequest, EndpointId, EndpointOptions, HostPort, PortBinding};
use crate::lifecycle::record::Attachment;
use crate::netlink::Mac;
use crate::translate;

/// What an attachment has, or will have, that no other may have at the same time.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) endpoint: EndpointId,
    /// Whose addresses, MACs and devices are meant: other conflists have other ones, unless somebody
    /// overlaps them on purpose. None for ports alone.
    pub(crate) conflist: Option<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<HostPort>,
    mac: Option<Mac>,
    /// A device that only one attachment of the conflist can have; none for one that is to come,
    /// since it asks for whatever its conflist names.
    device: Option<String>,
}

impl Claims {
    /// What an endpoint asks for by name. What is chosen for it is chosen among what is free.
    pub(crate) fn of_request(
        request: &CreateEndpointRequest,
        conflist: &str,
        options: &EndpointOptions,
    ) -> Self {
        let addresses = request.interface.addresses().map(|net| net.addr());
        Self {
            conflist: Some(conflist.to_owned()),
            addresses: addresses.chain(options.ips.iter().copied()).collect(),
            // What is no MAC is refused later on.
            mac: request.interface.mac_address.as_deref().and_then(|mac| mac.parse().ok()),
            ..Self::of_ports(&request.endpoint_id, &options.ports)
        }
    }

    /// The ports that an endpoint asks for by number.
    pub(crate) fn of_ports(endpoint: &EndpointId, ports: &[PortBinding]) -> Self {
        let asked = ports
            .iter()
            .filter(|binding| binding.host_port != 0 && binding.host_port_end <= binding.host_port);
        Self {
            endpoint: endpoint.clone(),
            conflist: None,
            addresses: Vec::new(),
            ports: asked.map(HostPort::of).collect(),
            mac: None,
            device: None,
        }
    }

    pub(crate) fn of_attachment(attachment: &Attachment) -> Self {
        Self {
            endpoint: attachment.endpoint.clone(),
            conflist: Some(attachment.list.name().to_owned()),
            // Those that Docker decided on are among them: an ADD that gives others is undone.
            addresses: attachment.addresses().collect(),
            ports: attachment.ports.iter().map(HostPort::of).collect(),
            mac: attachment.snapshot().and_then(|snapshot| snapshot.link.mac),
            device: attachment.result().and_then(|_| translate::device(&attachment.list)),
        }
    }

    /// What of these is among the `others`, in words.
    pub(crate) fn shared_with(&self, others: &Self) -> Option<String> {
        if self.endpoint == others.endpoint {
            return Some(format!("endpoint {}", self.endpoint.short()));
        }
        let port =
            self.ports.iter().find(|port| others.ports.iter().any(|held| held.overlaps(port)));
        if let Some(port) = port {
            return Some(format!("port {port}"));
        }
        if self.conflist.is_none() || self.conflist != others.conflist {
            return None;
        }
        let address = self.addresses.iter().find(|address| others.addresses.contains(address));
        let mac = self.mac.filter(|mac| others.mac == Some(*mac));
        (address.map(|address| format!("address {address}")))
            .or_else(|| mac.map(|mac| format!("MAC address {mac}")))
            .or_else(|| others.device.as_ref().map(|device| format!("device {device}")))
    }
}
