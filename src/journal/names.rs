//! The names that are known now of the driver's endpoints and networks, and those that are missing.
//!
//! There is an entry for each endpoint and network that the driver has, and for no other: so there are never
//! more than that.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::{Event, Kind};
use super::named::Named;
use crate::cnm::{EndpointId, NetworkId};
use crate::plain;

/// How many refusals may wait for a name. More at a time are a storm, and then none can be told from another.
const REFUSALS: usize = 64;

/// The names. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Names {
    known: Arc<Mutex<Known>>,
    refused: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    endpoints: HashMap<EndpointId, End>,
    networks: HashMap<NetworkId, Net>,
    refusals: VecDeque<Refusal>,
}

#[derive(Debug, Default)]
struct Net {
    name: Option<String>,
    /// Docker has removed it; the last of its endpoints are on their way.
    removed: bool,
}

#[derive(Debug)]
struct End {
    network: NetworkId,
    /// Apart, since it is large, and nobody may tell it.
    container: Option<Box<Named>>,
    /// Docker is about to tell whose endpoint it is.
    awaited: bool,
}

/// An endpoint that Docker could not make, so that Docker never tells whose it was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its network.
    pub network: NetworkId,
    /// The beginning of what Docker was told.
    pub error: String,
}

impl Names {
    /// Makes entries for what the driver has at its start.
    pub(crate) fn begin_with(
        &self,
        endpoints: impl Iterator<Item = (EndpointId, NetworkId)>,
        networks: impl Iterator<Item = NetworkId>,
    ) {
        let mut known = self.known();
        let ends =
            endpoints.map(|(id, network)| (id, End { network, container: None, awaited: false }));
        known.endpoints.extend(ends);
        known.networks.extend(networks.map(|id| (id, Net::default())));
    }

    /// Puts the names into an event, and the entries into the state that follows the event.
    pub(super) fn follow(&self, event: &mut Event) {
        let mut known = self.known();
        if let Some(end) = event.endpoint.as_ref().and_then(|id| known.endpoints.get(id))
            && let Some(container) = &end.container
        {
            event.names.complete(container);
        }
        if let Some(id) = &event.network
            && event.names.network_name.is_none()
            && let Some(net) = known.networks.get(id)
        {
            event.names.network_name.clone_from(&net.name);
        }
        match (event.kind, &event.endpoint, &event.network) {
            (Kind::Attach, Some(endpoint), Some(network)) => {
                let end = End { network: network.clone(), container: None, awaited: true };
                known.endpoints.entry(endpoint.clone()).or_insert(end);
            }
            (Kind::Detach | Kind::Forget, Some(endpoint), Some(network)) => {
                known.endpoints.remove(endpoint);
                known.let_go_of(network);
            }
            (Kind::Refuse, Some(endpoint), Some(network)) if event.names.container.is_none() => {
                known.refusals.push_back(Refusal {
                    endpoint: endpoint.clone(),
                    network: network.clone(),
                    error: as_docker_has_it(event.error.as_deref().unwrap_or_default()),
                });
                if known.refusals.len() > REFUSALS {
                    known.refusals.pop_front();
                }
                self.refused.notify_one();
            }
            (Kind::NetworkCreate, _, Some(network)) => {
                known.networks.entry(network.clone()).or_default().removed = false;
            }
            (Kind::NetworkRemove, _, Some(network)) => {
                if let Some(net) = known.networks.get_mut(network) {
                    net.removed = true;
                }
                known.let_go_of(network);
            }
            _ => {}
        }
    }

    /// Notes whose endpoint it is. Returns whether that is new.
    pub(super) fn learn(&self, endpoint: &EndpointId, names: &Named) -> bool {
        let mut known = self.known();
        let Some(end) = known.endpoints.get_mut(endpoint) else { return false };
        end.awaited = false;
        let container = Box::new(Named { network_name: None, ..names.clone() });
        let news = end.container.as_ref() != Some(&container);
        end.container = Some(container);
        news
    }

    /// Notes a network's name. Returns whether that is new.
    pub(super) fn learn_network(&self, network: &NetworkId, name: &str) -> bool {
        let mut known = self.known();
        let Some(net) = known.networks.get_mut(network) else { return false };
        let news = net.name.as_deref() != Some(name);
        net.name = Some(name.to_owned());
        news
    }

    /// The endpoints of a container that are known, each with its network.
    #[must_use]
    pub fn endpoints_of(&self, container_id: &str) -> Vec<(EndpointId, NetworkId)> {
        let known = self.known();
        let of_container = known.endpoints.iter().filter(|(_, end)| {
            end.container.as_ref().and_then(|it| it.container_id.as_deref()) == Some(container_id)
        });
        of_container.map(|(id, end)| (id.clone(), end.network.clone())).collect()
    }

    /// The network of an endpoint.
    pub(super) fn network_of(&self, endpoint: &EndpointId) -> Option<NetworkId> {
        self.known().endpoints.get(endpoint).map(|end| end.network.clone())
    }

    /// The name of a network, if it is known.
    #[must_use]
    pub fn network_name(&self, network: &NetworkId) -> Option<String> {
        self.known().networks.get(network)?.name.clone()
    }

    /// Whether the driver has this network.
    #[must_use]
    pub fn has_network(&self, network: &NetworkId) -> bool {
        self.known().networks.contains_key(network)
    }

    /// The endpoints on a network that Docker is about to tell the container of.
    #[must_use]
    pub fn awaited_on(&self, network: &NetworkId) -> Vec<EndpointId> {
        let known = self.known();
        let awaited = known.endpoints.iter().filter(|(_, end)| end.awaited);
        let awaited = awaited.filter(|(_, end)| end.network == *network);
        awaited.map(|(id, _)| id.clone()).collect()
    }

    /// Expects nothing more about the endpoints that have no name yet: what Docker told of them was missed.
    pub fn await_none(&self) {
        self.known().endpoints.values_mut().for_each(|end| end.awaited = false);
    }

    /// Waits for refusals whose container is not known, and takes them.
    pub async fn refusals(&self) -> Vec<Refusal> {
        loop {
            let taken: Vec<_> = self.known().refusals.drain(..).collect();
            if !taken.is_empty() {
                return taken;
            }
            self.refused.notified().await;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // The maps are whole even if a holder panicked: every change is one step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of an error in the form in which Docker was told it.
fn as_docker_has_it(error: &str) -> String {
    /// Docker has the end too, and what is cut is marked there.
    const ENOUGH: usize = 500;
    plain::line(error).chars().take(ENOUGH).collect()
}

impl Known {
    /// Forgets a network that Docker has removed, with its last endpoint.
    fn let_go_of(&mut self, network: &NetworkId) {
        let removed = self.networks.get(network).is_some_and(|net| net.removed);
        if removed && !self.endpoints.values().any(|end| end.network == *network) {
            self.networks.remove(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, endpoint: &str) -> Event {
        let (endpoint, network) = (endpoint.parse().ok(), "a1".parse().ok());
        Event { endpoint, network, ..Event::now(kind) }
    }

    fn named(container: &str) -> Named {
        let container = Some(container.to_owned());
        Named { container_id: container.clone(), container, ..Named::default() }
    }

    #[test]
    fn an_endpoint_has_its_names_until_it_is_gone() {
        let names = Names::default();
        let endpoint: EndpointId = "e1".parse().unwrap();
        assert!(!names.learn(&endpoint, &named("web")), "not the driver's");
        names.follow(&mut event(Kind::Attach, "e1"));
        let network = "a1".parse().unwrap();
        assert_eq!(names.awaited_on(&network), std::slice::from_ref(&endpoint));
        assert!(names.learn(&endpoint, &named("web")) && !names.learn(&endpoint, &named("web")));
        assert!(names.awaited_on(&network).is_empty());
        for kind in [Kind::Settle, Kind::Orphan, Kind::Detach] {
            let mut event = event(kind, "e1");
            names.follow(&mut event);
            assert_eq!(event.names.container(), "web", "{kind:?}");
        }
        assert!(names.known().endpoints.is_empty());
    }

    #[test]
    fn a_network_has_its_name_until_it_is_gone() {
        let names = Names::default();
        let network = "a1".parse().unwrap();
        assert!(!names.learn_network(&network, "front"), "not the driver's");
        names.begin_with(std::iter::empty(), [network.clone()].into_iter());
        assert!(names.learn_network(&network, "front"));
        let mut removed = event(Kind::NetworkRemove, "e1");
        names.follow(&mut removed);
        assert_eq!(removed.names.network(&network), "front");
        assert!(!names.has_network(&network));
    }

    #[tokio::test]
    async fn of_a_storm_of_refusals_the_last_ones_are_kept() {
        let names = Names::default();
        for number in 0..2 * REFUSALS {
            names.follow(&mut event(Kind::Refuse, &format!("e{number}")));
        }
        let taken = names.refusals().await;
        assert_eq!(taken.len(), REFUSALS);
        assert_eq!(taken[0].endpoint.as_str(), format!("e{REFUSALS}"));
        let mut refused = event(Kind::Refuse, "e1");
        refused.error = Some(format!("no more\naddresses {}", "x".repeat(1 << 20)));
        names.follow(&mut refused);
        let [taken] = &names.refusals().await[..] else { panic!("several") };
        assert!(taken.error.starts_with("no more\\naddresses xxx") && taken.error.len() == 500);
    }
}
