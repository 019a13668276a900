//! Reads Docker's names into [`Names`].

use std::time::Duration;

use tokio::time::timeout;

use super::names::{Container, End, Names};
use crate::cli::client::{DockerArgs, answer_of};
use crate::cli::output::{complain, line};
use crate::cnm::NetworkId;
use crate::docker::{self, Wanted};

/// Labels of `docker compose`.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// The driver's name in Docker, unless it is a managed plugin.
const DRIVER: &str = "cni";

/// Docker's names of containers and networks. If Docker does not answer, there are none, and a line tells
/// the user why. `outer` has the flags of `docker` itself, before `cni`.
pub(super) fn names(docker: &DockerArgs, outer: &Wanted) -> Names {
    ask(docker, outer).unwrap_or_else(|error| {
        complain(&line(&format!("note: names are '-': {error}")));
        Names { unknown: Some(error), ..Names::default() }
    })
}

/// The same without a word to the user; none if Docker takes longer than this.
pub(super) fn names_within(limit: Duration, docker: &DockerArgs, outer: &Wanted) -> Option<Names> {
    let docker = docker.find(outer).ok()?;
    let asked = async { tokio::try_join!(docker.containers(), docker.networks(DRIVER)) };
    let asked = answer_of(async { timeout(limit, asked).await }).ok()?;
    let (containers, networks) = asked.ok()?.ok()?;
    Some(Names::told(containers, networks))
}

/// The same, if there is something to name.
pub(super) fn names_of<T>(things: &[T], docker: &DockerArgs, outer: &Wanted) -> Names {
    if things.is_empty() { Names::default() } else { names(docker, outer) }
}

fn ask(docker: &DockerArgs, outer: &Wanted) -> Result<Names, String> {
    let docker = docker.find(outer).map_err(|error| error.to_string())?;
    let asked = async { tokio::try_join!(docker.containers(), docker.networks(DRIVER)) };
    let asked = answer_of(asked).map_err(|error| error.to_string())?;
    let (containers, networks) = asked.map_err(|error| error.to_string())?;
    Ok(Names::told(containers, networks))
}

impl Names {
    fn told(containers: Vec<docker::Container>, networks: Vec<docker::Network>) -> Self {
        let own = networks.into_iter().filter_map(|it| Some((it.id.parse().ok()?, it.name)));
        let own: Vec<(NetworkId, String)> = own.collect();
        let mut containers: Vec<Container> = containers.into_iter().map(Container::told).collect();
        // For a container that was never started, Docker gives only the names of its networks.
        let ends = containers.iter_mut().flat_map(|container| &mut container.ends);
        for end in ends.filter(|end| end.network_id.is_none()) {
            let named = own.iter().find(|(_, name)| *name == end.network);
            end.network_id = named.map(|(id, _)| id.clone());
        }
        // Also networks of a driver with another name.
        let of_containers = containers.iter().flat_map(|container| &container.ends);
        let of_containers =
            of_containers.filter_map(|end| Some((end.network_id.clone()?, end.network.clone())));
        let of_driver = own.iter().map(|(id, _)| id.clone()).collect();
        let networks = of_containers.chain(own.iter().cloned()).collect();
        Self { containers, networks, of_driver, unknown: None }
    }
}

impl Container {
    fn told(told: docker::Container) -> Self {
        let ends = told.endpoints.iter().map(|(name, end)| End {
            network: name.clone(),
            network_id: end.network.parse().ok(),
            endpoint: end.id.parse().ok(),
        });
        Self {
            name: told.name().to_owned(),
            state: told.state.clone(),
            project: told.labels.get(PROJECT).cloned(),
            service: told.labels.get(SERVICE).cloned(),
            ends: ends.collect(),
            id: told.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_network_of_a_container_that_was_never_started_is_known_by_its_name() {
        let containers = json!([{
            "Id": "c0ffee", "Names": ["/late"], "State": "created",
            "Labels": {"com.docker.compose.project": "shop"},
            "NetworkSettings": {"Networks": {"edge": {"NetworkID": "", "EndpointID": ""}}},
        }]);
        let networks = json!([{"Id": "a1b2", "Name": "edge"}]);
        let names = Names::told(
            serde_json::from_value(containers).unwrap(),
            serde_json::from_value(networks).unwrap(),
        );
        let late = names.container_named("late").unwrap();
        assert_eq!((late.state.as_str(), late.project.as_deref()), ("created", Some("shop")));
        assert_eq!(late.ends[0].network_id, "a1b2".parse().ok());
        assert_eq!(late.ends[0].endpoint, None);
    }
}
