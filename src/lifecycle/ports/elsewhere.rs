//! Ports of an endpoint whose chain cannot publish them, while another endpoint of its container can.
//!
//! Docker gives every endpoint of a container the same ports, and asks the one with the gateway to publish
//! them. If its chain has no plugin for that, another endpoint publishes them instead, and withdraws them
//! on request. If no endpoint can publish, the call for the gateway's endpoint is refused.
//!
//! Docker connects the networks of a starting container one after the other, in any order, and asks the
//! endpoint that has the gateway at that time. So the first one may be unable to publish, and it is unknown
//! whether another will follow. The container's last run decides: a network records the lists of ports that
//! another endpoint of a container on it has published. It removes a list when a container has run with it
//! and no other endpoint came.

use std::time::Duration;

use super::publish::Publisher;
use super::table::same;
use crate::cnm::{EndpointId, NetworkId, PortBinding};
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::record::{Attachment, Network};
use crate::translate::{self, PORT_MAPPINGS};

/// A container that has run so long has all of its networks: a start that fails half-way ends sooner.
const STARTED: Duration = Duration::from_secs(10);

/// How many lists of ports a network records.
const MOST: usize = 1_000;

impl Network {
    /// Whether a container with these ports has published them through another network.
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
    /// Lets another endpoint of the container publish the ports of the one with the gateway.
    ///
    /// # Errors
    /// None can, and none did in the container's last run; or its chain fails.
    pub(super) async fn publish_elsewhere(
        &self,
        attachment: &mut Attachment,
        asked: &[PortBinding],
    ) -> Result<()> {
        let wanted = attachment.ports_or(asked).to_vec();
        if wanted.is_empty() || attachment.publishes() {
            return Ok(());
        }
        if !self.ports.are_held_in(attachment.sandbox(), &wanted) {
            self.publish_beside(attachment, &wanted).await?;
        }
        if self.ports.are_held_in(attachment.sandbox(), &wanted) {
            self.note_published_elsewhere(attachment).await;
            return Ok(());
        }
        self.judge_unpublished(attachment)
    }

    /// Lets the first endpoint of the container publish that can.
    async fn publish_beside(&self, attachment: &Attachment, wanted: &[PortBinding]) -> Result<()> {
        // They are locked after this endpoint. No deadlock: only an endpoint that cannot publish locks others, and
        // these can.
        for endpoint in self.publishers_beside(attachment) {
            let mut slot = self.endpoints.lock(&endpoint).await;
            if let Some(error) = slot.take_failure() {
                return Err(error);
            }
            let live = slot.as_mut().filter(|other| other.is_live());
            if let Some(other) = live
                && (other.ports.is_empty() || same(&other.ports, wanted))
            {
                return self.publish_here(other, wanted).await;
            }
        }
        Ok(())
    }

    /// The other endpoints of the container that can publish; before Join there are none.
    fn publishers_beside(&self, attachment: &Attachment) -> Vec<EndpointId> {
        let joined = attachment.joined();
        joined.map_or_else(Vec::new, |it| self.interfaces.sandboxes.publishers_beside(it))
    }

    /// Whether it is an error that no endpoint of the container publishes the ports.
    fn judge_unpublished(&self, attachment: &Attachment) -> Result<()> {
        let Attachment { endpoint, network, list, ports, .. } = attachment;
        let fatal = !ports.is_empty() && !list.declares(PORT_MAPPINGS);
        if fatal && !is_published_elsewhere(attachment) {
            if !self.networks.get(network)?.knows_elsewhere(ports) {
                translate::publishes(list, ports)?;
            }
            // This fails if an endpoint of another container has them.
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

    /// Withdraws the ports that another endpoint publishes instead of this one, which had the gateway.
    ///
    /// # Errors
    /// That endpoint's chain cannot; they stay published.
    pub(crate) async fn unpublish_elsewhere(&self, attachment: &Attachment) -> Result<()> {
        for endpoint in self.publishers_beside(attachment) {
            let mut slot = self.endpoints.lock(&endpoint).await;
            if let Some(other) = slot.as_mut().filter(|other| other.is_live()) {
                self.unpublish(other).await?;
            }
        }
        Ok(())
    }

    /// Records that another endpoint of the container publishes this one's ports, if so.
    pub(crate) async fn note_published_elsewhere(&self, attachment: &mut Attachment) {
        let Attachment { ports, list, .. } = &*attachment;
        let cannot = !ports.is_empty() && !list.declares(PORT_MAPPINGS);
        let noted = is_published_elsewhere(attachment);
        if !cannot || noted || !self.ports.are_held_in(attachment.sandbox(), ports) {
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

    /// Removes what was recorded about this endpoint's ports, if it was wrong: the container has run, and
    /// no other endpoint has published them.
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

/// Whether another endpoint of the container has published this one's ports.
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
