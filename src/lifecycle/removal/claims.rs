//! What two attachments must not have at the same time: so what a new one asks for is compared with
//! what the orphans still have.

use std::net::IpAddr;

use crate::cnm::{CreateEndpointRequest, EndpointId, EndpointOptions, HostPort};
use crate::lifecycle::record::Attachment;

/// What an attachment has, or will have, that no other may have at the same time.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) endpoint: EndpointId,
    pub(crate) conflist: String,
    addresses: Vec<IpAddr>,
    ports: Vec<HostPort>,
}

impl Claims {
    /// What an endpoint asks for by name. What is chosen for it is chosen among what is free.
    pub(crate) fn of_request(
        request: &CreateEndpointRequest,
        conflist: &str,
        options: &EndpointOptions,
    ) -> Self {
        let addresses = request.interface.addresses().map(|net| net.addr());
        let asked = options
            .ports
            .iter()
            .filter(|binding| binding.host_port != 0 && binding.host_port_end <= binding.host_port);
        Self {
            endpoint: request.endpoint_id.clone(),
            conflist: conflist.to_owned(),
            addresses: addresses.chain(options.ips.iter().copied()).collect(),
            ports: asked.map(HostPort::of).collect(),
        }
    }

    pub(crate) fn of_attachment(attachment: &Attachment) -> Self {
        let told = attachment.interface.iter().flat_map(|interface| &interface.told);
        Self {
            endpoint: attachment.endpoint.clone(),
            conflist: attachment.list.name().to_owned(),
            addresses: told.map(|net| net.addr()).chain(attachment.addresses()).collect(),
            ports: attachment.ports.iter().map(HostPort::of).collect(),
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
        // Other conflists have other pools, unless somebody overlaps them on purpose.
        let same = self.conflist == others.conflist;
        let address =
            self.addresses.iter().find(|address| same && others.addresses.contains(address));
        address.map(|address| format!("address {address}"))
    }
}
