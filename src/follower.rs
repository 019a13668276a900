//! Follows what happens in Docker, and keeps the journal's names.
//!
//! Docker tells a network driver neither a container's name nor a network's. The follower asks, outside of every
//! call: no call waits for it, and it waits for none. A Docker that is away, or that hangs, costs names and
//! nothing else.
//!
//! | what Docker says | what is learnt |
//! |---|---|
//! | the containers, and the networks of this driver, when the follower connects | all names |
//! | `container create`, `rename` | the container's name, its compose project and service |
//! | `network create` | the network's name |
//! | `network disconnect`, from a network of another driver | a container may have lost a default route that another of its networks has: Docker before version 28 makes no call for IPv6 |
//! | `network connect` | a container has joined a network: if one endpoint there has no name yet, it is this container's; if several have none, the network is looked at |
//! | why a container could not be started, after a call was refused | whose the refused endpoint was to be |

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::sleep;

use crate::cnm::{EndpointId, NetworkId};
use crate::docker::{Container, Docker, Error, Event, Events};
use crate::journal::{Journal, Named, Refusal};

/// The driver's name in Docker, unless it is a managed plugin.
const DRIVER: &str = "cni";

/// Labels of `docker compose`.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// The pause before Docker is asked again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long after a refusal Docker is asked whose it was: once it has noted the failure.
const AFTER_REFUSAL: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(2)];

/// How many containers are looked at for one refusal.
const MOST_LOOKED_AT: usize = 16;

/// How many containers are remembered that have no endpoint yet.
const MOST_CREATED: usize = 4096;

/// Follows Docker for ever. `left` is told of the endpoints of a container that has left a network of another
/// driver.
pub async fn follow(docker: Docker, journal: Journal, left: impl Fn(Vec<EndpointId>)) {
    tokio::join!(follow_events(&docker, &journal, &left), follow_refusals(&docker, &journal));
}

async fn follow_events(docker: &Docker, journal: &Journal, left: &impl Fn(Vec<EndpointId>)) {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut follower = Follower { docker, journal, left, containers: HashMap::new() };
        match follower.run().await {
            // It was there.
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => tracing::debug!(%error, "Docker's names are not followed"),
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

struct Follower<'f, L> {
    docker: &'f Docker,
    journal: &'f Journal,
    left: &'f L,
    /// The names of containers, by their ids.
    containers: HashMap<String, Named>,
}

impl<L: Fn(Vec<EndpointId>)> Follower<'_, L> {
    /// Learns what is there, and then what happens, until Docker ends.
    async fn run(&mut self) -> Result<(), Error> {
        let mut events = self.docker.events().await?;
        // What happens meanwhile waits in the stream.
        self.learn_all().await?;
        tracing::debug!("Docker's names are followed");
        self.learn_from(&mut events).await
    }

    async fn learn_all(&mut self) -> Result<(), Error> {
        let (containers, networks) =
            tokio::try_join!(self.docker.containers(), self.docker.networks(DRIVER))?;
        for network in networks {
            self.learn_network(&network.id, &network.name);
        }
        for container in containers {
            let names = names_of(&container);
            for (network, end) in &container.endpoints {
                if let Ok(endpoint) = end.id.parse() {
                    self.journal.learn(&endpoint, &names);
                }
                self.learn_network(&end.network, network);
            }
            self.remember(container.id, names);
        }
        // Docker has told of all that had joined before.
        self.journal.names().await_none();
        Ok(())
    }

    async fn learn_from(&mut self, events: &mut Events) -> Result<(), Error> {
        while let Some(Event { of, action, actor }) = events.next().await? {
            let attribute = |name: &str| actor.attributes.get(name).map(String::as_str);
            match (of.as_str(), action.as_str()) {
                ("container", "create" | "rename") => {
                    let names = named(&actor.id, attribute("name"), &actor.attributes);
                    self.journal.rename(&actor.id, &names);
                    self.remember(actor.id.clone(), names);
                }
                ("network", "create") => {
                    self.learn_network(&actor.id, attribute("name").unwrap_or_default());
                }
                ("network", "connect") => {
                    if let (Ok(network), Some(container)) =
                        (actor.id.parse(), attribute("container"))
                    {
                        self.learn_network(&actor.id, attribute("name").unwrap_or_default());
                        self.connected(&network, container).await;
                    }
                }
                ("network", "disconnect") => {
                    if let (Ok(network), Some(container)) =
                        (actor.id.parse(), attribute("container"))
                    {
                        self.disconnected(&network, container);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A container has left a network. Of one of the driver's own, DeleteEndpoint has told.
    fn disconnected(&self, network: &NetworkId, container: &str) {
        let names = self.journal.names();
        if names.has_network(network) {
            return;
        }
        let rest = names.endpoints_of(container);
        let rest: Vec<_> = rest.into_iter().map(|(endpoint, _)| endpoint).collect();
        if !rest.is_empty() {
            (self.left)(rest);
        }
    }

    /// A container has joined a network.
    async fn connected(&self, network: &NetworkId, container: &str) {
        if !self.journal.names().has_network(network) {
            return;
        }
        let awaited = self.journal.names().awaited_on(network);
        if let ([endpoint], Some(names)) = (&awaited[..], self.containers.get(container)) {
            return self.journal.learn(endpoint, names);
        }
        match self.docker.attached_to(network).await {
            Ok(attached) => {
                for (id, end) in attached.containers {
                    let known = self.containers.get(&id).cloned();
                    let names =
                        known.unwrap_or_else(|| named(&id, Some(&end.name), &BTreeMap::new()));
                    if let Ok(endpoint) = end.endpoint.parse() {
                        self.journal.learn(&endpoint, &names);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "Docker does not tell who is on a network"),
        }
    }

    fn learn_network(&self, id: &str, name: &str) {
        if let (Ok(id), false) = (id.parse(), name.is_empty()) {
            self.journal.learn_network(&id, name);
        }
    }

    fn remember(&mut self, id: String, names: Named) {
        if self.containers.len() >= MOST_CREATED {
            // Each is told again when it is asked for.
            self.containers.clear();
        }
        self.containers.insert(id, names);
    }
}

/// Learns whose the endpoints were to be that Docker could not make.
async fn follow_refusals(docker: &Docker, journal: &Journal) {
    loop {
        let mut refusals = journal.names().refusals().await;
        for pause in AFTER_REFUSAL {
            sleep(pause).await;
            let mut left = Vec::new();
            for refusal in refusals {
                match whose(docker, journal, &refusal).await {
                    Some(names) => journal.learn_refused(refusal.endpoint, refusal.network, names),
                    None => left.push(refusal),
                }
            }
            refusals = left;
            if refusals.is_empty() {
                break;
            }
        }
    }
}

/// The container that could not be started for the reason that Docker was told. None if that is nobody, or may
/// be one of several.
async fn whose(docker: &Docker, journal: &Journal, refusal: &Refusal) -> Option<Named> {
    let network_name = journal.names().network_name(&refusal.network);
    // For a container that was never started, Docker gives only the names of its networks.
    let is_on_it = |container: &Container| {
        container.endpoints.iter().any(|(name, end)| {
            end.network == refusal.network.as_str() || Some(name) == network_name.as_ref()
        })
    };
    let containers = docker.containers().await.ok()?;
    let idle = containers.into_iter().filter(|it| it.state != "running" && is_on_it(it));
    let mut found = None;
    for container in idle.take(MOST_LOOKED_AT) {
        let Ok(started) = docker.started(&container.id).await else { continue };
        if started.state.error.contains(&refusal.error) {
            if found.is_some() {
                return None;
            }
            found = Some(names_of(&container));
        }
    }
    found
}

fn names_of(container: &Container) -> Named {
    named(&container.id, Some(container.name()), &container.labels)
}

fn named(id: &str, name: Option<&str>, labels: &BTreeMap<String, String>) -> Named {
    Named {
        container: name.map(|name| name.trim_start_matches('/').to_owned()),
        container_id: Some(id.to_owned()),
        project: labels.get(PROJECT).cloned(),
        service: labels.get(SERVICE).cloned(),
        network_name: None,
    }
}

#[cfg(test)]
mod tests;
