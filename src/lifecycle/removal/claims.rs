//! What two attachments must not have at the same time. What a new endpoint asks for is compared with what
//! the orphans still have.

use std::net::IpAddr;

use crate::cnm::{CreateEndpointRequest, EndpointId, EndpointOptions, HostPort, PortBinding};
use crate::lifecycle::record::Attachment;
use crate::netlink::Mac;
use crate::translate;

/// What an attachment has, or will have, and no other may have at the same time.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) endpoint: EndpointId,
    /// The conflist of the addresses, MACs and devices: they are compared only within one conflist. None if
    /// there are only ports.
    pub(crate) conflist: Option<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<HostPort>,
    mac: Option<Mac>,
    /// The device, if only one attachment of the conflist can have it. None for a new attachment, because
    /// it asks for any device that its conflist names.
    device: Option<String>,
}

impl Claims {
    /// What an endpoint asks for by name. All else is chosen for it, from what is free.
    pub(crate) fn of_request(
        request: &CreateEndpointRequest,
        conflist: &str,
        options: &EndpointOptions,
    ) -> Self {
        let addresses = request.interface.addresses().map(|net| net.addr());
        Self {
            conflist: Some(conflist.to_owned()),
            addresses: addresses.chain(options.ips.iter().copied()).collect(),
            // An invalid MAC is refused later.
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

    /// Whether an address or a MAC is asked for.
    pub(crate) fn has_address_or_mac(&self) -> bool {
        !self.addresses.is_empty() || self.mac.is_some()
    }

    pub(crate) fn of_attachment(attachment: &Attachment) -> Self {
        Self {
            endpoint: attachment.endpoint.clone(),
            conflist: Some(attachment.list.name().to_owned()),
            // They include the addresses that Docker decided on: an ADD that gives others is undone.
            addresses: attachment.addresses().collect(),
            ports: attachment.ports.iter().map(HostPort::of).collect(),
            mac: attachment.snapshot().and_then(|snapshot| snapshot.link.mac),
            device: attachment.result().and_then(|_| translate::device(&attachment.list)),
        }
    }

    /// What these and the `others` have in common, in words.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::cni::NetworkConfigList;
    use crate::lifecycle::record::PhaseName;
    use crate::lifecycle::record::tests::attachment;

    const CONFLIST: &str = "k8snet";

    /// What an endpoint claims on a conflist.
    fn asking(conflist: &str, interface: Value, options: Value) -> Claims {
        let request: CreateEndpointRequest = serde_json::from_value(json!({
            "NetworkID": "n1", "EndpointID": "e2", "Interface": interface, "Options": options,
        }))
        .unwrap();
        let options = EndpointOptions::read(&request.options).unwrap();
        Claims::of_request(&request, conflist, &options)
    }

    /// The claims of a settled endpoint: 10.22.3.7, fd00:22::7 and a MAC.
    fn having() -> Claims {
        Claims::of_attachment(&attachment(PhaseName::Settled))
    }

    fn ports(bindings: Value) -> Claims {
        asking("another", json!({}), json!({"com.docker.network.portmap": bindings}))
    }

    #[test]
    fn what_is_asked_for_by_name_is_found_with_who_has_it() {
        let mac = attachment(PhaseName::Settled).snapshot().unwrap().link.mac.unwrap().to_string();
        for (interface, options, shared) in [
            (json!({"Address": "10.22.3.7/16"}), json!({}), Some("address 10.22.3.7".to_owned())),
            (json!({"AddressIPv6": "fd00:22::7/64"}), json!({}), Some("address fd00:22::7".into())),
            (json!({}), json!({"ip": "10.22.3.9+10.22.3.7"}), Some("address 10.22.3.7".into())),
            (json!({"MacAddress": mac.clone()}), json!({}), Some(format!("MAC address {mac}"))),
            (json!({"MacAddress": "no MAC"}), json!({}), None),
            (json!({"Address": "10.22.3.8/16"}), json!({}), None),
            (json!({}), json!({}), None),
        ] {
            let told = format!("{interface} {options}");
            let asked = asking(CONFLIST, interface.clone(), options.clone());
            assert_eq!(asked.shared_with(&having()), shared, "{told}");
            // Another conflist has other ones.
            assert_eq!(
                asking("another", interface, options).shared_with(&having()),
                None,
                "{told}"
            );
        }
    }

    #[test]
    fn an_endpoint_claims_what_its_own_last_life_has() {
        let mut asked = asking("another", json!({}), json!({}));
        asked.endpoint = "e1".parse().unwrap();
        assert_eq!(asked.shared_with(&having()), Some("endpoint e1".into()));
    }

    #[test]
    fn ports_are_compared_whatever_the_conflist() {
        let mut held = attachment(PhaseName::Deleting);
        held.ports = serde_json::from_value(json!([
            {"Proto": 6, "Port": 80, "HostPort": 8080, "HostPortEnd": 8080},
            {"Proto": 17, "Port": 53, "HostIP": "192.0.2.1", "HostPort": 53, "HostPortEnd": 53},
        ]))
        .unwrap();
        let held = Claims::of_attachment(&held);
        for (binding, shared) in [
            (json!({"Proto": 6, "Port": 1, "HostPort": 8080}), Some("port 8080/tcp")),
            (
                json!({"Proto": 6, "Port": 1, "HostIP": "192.0.2.9", "HostPort": 8080}),
                Some("port 192.0.2.9:8080/tcp"),
            ),
            (json!({"Proto": 17, "Port": 1, "HostPort": 8080}), None),
            (json!({"Proto": 17, "Port": 1, "HostIP": "192.0.2.2", "HostPort": 53}), None),
            (json!({"Proto": 17, "Port": 1, "HostPort": 53}), Some("port 53/udp")),
            // The driver chooses, and it chooses what is free.
            (json!({"Proto": 6, "Port": 1, "HostPort": 0}), None),
            (json!({"Proto": 6, "Port": 1, "HostPort": 8080, "HostPortEnd": 8090}), None),
        ] {
            let asked = ports(json!([binding]));
            assert_eq!(asked.shared_with(&held).as_deref(), shared, "{binding}");
        }
    }

    #[test]
    fn a_device_that_one_can_have_is_claimed_by_whoever_comes() {
        let mut holder = attachment(PhaseName::Deleting);
        let list = json!({"cniVersion": "1.0.0", "name": CONFLIST, "plugins": [
            {"type": "host-device", "device": "eth1"}]});
        holder.list = Arc::new(NetworkConfigList::parse(list.to_string().as_bytes()).unwrap());
        let holder = Claims::of_attachment(&holder);
        let asked = asking(CONFLIST, json!({}), json!({}));
        assert_eq!(asked.shared_with(&holder), Some("device eth1".into()));
        assert_eq!(asking("another", json!({}), json!({})).shared_with(&holder), None);
        // Only ports are asked for when the endpoint has its device already.
        let of_ports = Claims::of_ports(&"e2".parse().unwrap(), &[]);
        assert_eq!(of_ports.shared_with(&holder), None);
    }

    #[test]
    fn an_attachment_has_what_its_add_gave_until_its_del_has_succeeded() {
        let asked = asking(CONFLIST, json!({"Address": "10.22.3.7/16"}), json!({}));
        for phase in PhaseName::ALL {
            let has = asked.shared_with(&Claims::of_attachment(&attachment(phase))).is_some();
            assert_eq!(has, phase != PhaseName::Adding, "{phase}");
        }
    }
}
