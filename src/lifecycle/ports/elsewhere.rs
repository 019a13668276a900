//! Ports of an endpoint whose chain cannot publish them, while another end of its container can.
//!
//! Docker tells every end of a container the same ports, and asks the one with the gateway to
//! publish them. Where that one's chain has no plugin for it, another end publishes them in its
//! stead, and gives them back on request. Where no end can, the gateway's is refused.
//!
//! Docker connects the networks of a container that starts one after the other, in any order, and
//! asks the one that has the gateway by then. So the first one may be one that cannot publish, and
//! nobody can tell whether another will follow. What tells is the container's last life: a network
//! keeps the lists of ports that were seen published by another end of a container that was on it. It
//! forgets a list when a container has lived with it and no other end came.

use std::time::Duration;

use super::publish::Publisher;
use super::table::same;
use crate::cnm::{EndpointId, NetworkId, PortBinding};
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::record::{Attachment, Network};
use crate::translate::{self, PORT_MAPPINGS};

/// What has lived so long has all of its networks: a start that fails half-way ends sooner.
const STARTED: Duration = Duration::from_secs(10);

/// How many lists a network keeps.
const MOST: usize = 1_000;

impl Network {
    /// Whether a container with these ports was seen to publish them by another network.
    fn knows_elsewhere(&self, ports: &[PortBinding]) -> bool {
        self.published_elsewhere.iter().any(|known| same(known, ports))
    }

    fn learn_elsewhere(&mut self, ports: &[PortBinding]) {
        let too_many = (self.published_elsewhere.len() + 1).saturating_sub(MOST);
        self.published_elsewhere.drain(..too_many);
        self.published_elsewhere.push(ports.to_vec());
    }

    fn forget_elsewhere(&mut self, ports: &[PortBinding]) {
        self.published_elsewhere.retain(|known| !same(known, ports));
    }
}

impl Publisher {
    /// Has another end of the container publish the ports of the one with the gateway.
    ///
    /// # Errors
    /// None does, and none did in the container's last life; or its chain fails.
    pub(super) async fn publish_elsewhere(
        &self,
        attachment: &mut Attachment,
        asked: &[PortBinding],
    ) -> Result<()> {
        let wanted = attachment.ports_or(asked).to_vec();
        if wanted.is_empty() || attachment.publishes() {
            return Ok(());
        }
        if !self.ports.are_had_in(attachment.sandbox(), &wanted) {
            self.publish_beside(attachment, &wanted).await?;
        }
        if self.ports.are_had_in(attachment.sandbox(), &wanted) {
            self.note_published_elsewhere(attachment).await;
            return Ok(());
        }
        self.judge_unpublished(attachment)
    }

    /// Has the first end of the container publish that can.
    async fn publish_beside(&self, attachment: &Attachment, wanted: &[PortBinding]) -> Result<()> {
        // Locked after this endpoint, which cannot publish. They can, and lock no other.
        for endpoint in self.publishers_beside(attachment) {
            let mut slot = self.endpoints.lock(&endpoint).await;
            let live = slot.as_mut().filter(|other| other.is_live());
            if let Some(other) = live
                && (other.ports.is_empty() || same(&other.ports, wanted))
            {
                return self.publish_here(other, wanted).await;
            }
        }
        Ok(())
    }

    /// The other ends of the container that can publish; before Join there are none.
    fn publishers_beside(&self, attachment: &Attachment) -> Vec<EndpointId> {
        let joined = attachment.joined();
        joined.map_or_else(Vec::new, |it| self.interfaces.sandboxes.publishers_beside(it))
    }

    /// Whether ports that no end of the container publishes are an error.
    fn judge_unpublished(&self, attachment: &Attachment) -> Result<()> {
        let Attachment { endpoint, network, list, ports, .. } = attachment;
        let fatal = !ports.is_empty() && !list.declares(PORT_MAPPINGS);
        if fatal && !is_published_elsewhere(attachment) {
            if !self.networks.get(network)?.knows_elsewhere(ports) {
                translate::publishes(list, ports)?;
            }
            // Whoever has them is no end of this container.
            self.ports.hold(endpoint, network, ports)?;
            self.ports.release(endpoint);
        }
        tracing::warn!(
            endpoint = endpoint.short(),
            conflist = list.name(),
            "published ports do not move here with the gateway: no plugin behind the one that makes the \
             interface declares portMappings; they are published once another network of the container \
             can do so"
        );
        Ok(())
    }

    /// Takes the ports back that another end publishes in the place of this one, which had the
    /// gateway.
    ///
    /// # Errors
    /// That end's chain cannot; they stay.
    pub(crate) async fn unpublish_elsewhere(&self, attachment: &Attachment) -> Result<()> {
        for endpoint in self.publishers_beside(attachment) {
            let mut slot = self.endpoints.lock(&endpoint).await;
            if let Some(other) = slot.as_mut().filter(|other| other.is_live()) {
                self.unpublish(other).await?;
            }
        }
        Ok(())
    }

    /// Keeps in mind that another end of the container publishes this one's ports, if so.
    pub(crate) async fn note_published_elsewhere(&self, attachment: &mut Attachment) {
        let Attachment { ports, list, .. } = &*attachment;
        let cannot = !ports.is_empty() && !list.declares(PORT_MAPPINGS);
        let noted = is_published_elsewhere(attachment);
        if !cannot || noted || !self.ports.are_had_in(attachment.sandbox(), ports) {
            return;
        }
        attachment.note(|joining| joining.published_elsewhere = true);
        self.records.keep_or_warn(attachment).await;
        let Attachment { ports, network, .. } = &*attachment;
        self.change_network(network, |network| {
            let is_new = !network.knows_elsewhere(ports);
            if is_new {
                network.learn_elsewhere(ports);
            }
            is_new
        })
        .await;
    }

    /// Forgets what was kept in mind about this endpoint's ports, if it proved wrong: the container
    /// has lived, and no other end has published them.
    pub(crate) async fn forget_published_elsewhere(&self, attachment: &Attachment) {
        let Attachment { ports, network, list, .. } = attachment;
        let cannot = !ports.is_empty() && !list.declares(PORT_MAPPINGS);
        if cannot && !is_published_elsewhere(attachment) && attachment.age() >= STARTED {
            self.change_network(network, |network| {
                let is_known = network.knows_elsewhere(ports);
                network.forget_elsewhere(ports);
                is_known
            })
            .await;
        }
    }

    /// Changes a network and its record. An error is logged: the next start of a container may be
    /// refused for it.
    async fn change_network(&self, id: &NetworkId, change: impl FnOnce(&mut Network) -> bool) {
        if let Err(error) = self.networks.change(id, change).await {
            tracing::warn!(
                network = id.short(),
                error = chain(&error),
                "it is not kept which ports another network publishes"
            );
        }
    }
}

/// Whether another end of the container was seen to publish this one's ports.
fn is_published_elsewhere(attachment: &Attachment) -> bool {
    attachment.joined().is_some_and(|joined| joined.joining.published_elsewhere)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ports(json: Value) -> Vec<PortBinding> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_network_knows_the_last_of_many_lists_in_any_order_of_their_ports() {
        let network = json!({"id": "n1", "conflist": "plain", "options": {}});
        let mut network: Network = serde_json::from_value(network).unwrap();
        let one = json!({"Proto": 6, "Port": 80, "HostPort": 8080});
        let other = json!({"Proto": 17, "Port": 53});
        let both = ports(json!([one, other]));
        network.learn_elsewhere(&both);
        assert!(network.knows_elsewhere(&ports(json!([other, one]))));
        assert!(!network.knows_elsewhere(&ports(json!([one]))));
        for number in 1..MOST {
            network.learn_elsewhere(&ports(json!([{"Proto": 6, "Port": number}])));
        }
        assert!(network.knows_elsewhere(&both), "one too few");
        network.learn_elsewhere(&ports(json!([one])));
        assert_eq!(network.published_elsewhere.len(), MOST);
        assert!(!network.knows_elsewhere(&both) && network.knows_elsewhere(&ports(json!([one]))));
        network.forget_elsewhere(&ports(json!([one])));
        assert!(!network.knows_elsewhere(&ports(json!([one]))));
    }
}
