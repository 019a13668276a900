//! Names: Docker does not give them to network drivers, so the command line asks for them.
//!
//! Two calls serve every table. An unknown name is `-`, and a line says why.

use std::collections::HashMap;

use crate::cnm::{EndpointId, NetworkId};
pub(super) use crate::journal::Named;

/// What Docker calls containers and networks.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// All containers, including those that do not run.
    pub(super) containers: Vec<Container>,
    /// The names of Docker's networks, including those on this driver without containers.
    pub(super) networks: HashMap<NetworkId, String>,
    /// The networks on this driver.
    pub(super) of_driver: Vec<NetworkId>,
    /// Why nothing is known, if Docker has not answered.
    pub(super) unknown: Option<String>,
}

/// A container, as Docker knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    /// `running`, `exited`, …
    pub(super) state: String,
    pub(super) project: Option<String>,
    pub(super) service: Option<String>,
    pub(super) ends: Vec<End>,
}

/// A container's endpoint in a network.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) network: String,
    pub(super) network_id: Option<NetworkId>,
    /// None while the container does not run.
    pub(super) endpoint: Option<EndpointId>,
}

impl Container {
    /// Whether this endpoint is one of its own.
    pub(super) fn has(&self, endpoint: &EndpointId) -> bool {
        self.ends.iter().any(|end| end.endpoint.as_ref() == Some(endpoint))
    }
}

impl Names {
    /// The container that has this endpoint.
    pub(super) fn container_of(&self, endpoint: &EndpointId) -> Option<&Container> {
        self.containers.iter().find(|container| container.has(endpoint))
    }

    /// The names of an endpoint's container and network.
    pub(super) fn of(&self, endpoint: &EndpointId, network: &NetworkId) -> Named {
        let container = self.container_of(endpoint);
        Named {
            container: container.map(|it| it.name.clone()),
            container_id: container.map(|it| it.id.clone()),
            project: container.and_then(|it| it.project.clone()),
            service: container.and_then(|it| it.service.clone()),
            network_name: self.networks.get(network).cloned(),
        }
    }

    /// The container of exactly that name.
    pub(super) fn container_named(&self, name: &str) -> Option<&Container> {
        let name = name.trim_start_matches('/');
        self.containers.iter().find(|it| it.name == name)
    }

    /// The container of exactly that name; if there is none, the containers whose id begins so.
    pub(super) fn containers_called(&self, name: &str) -> Vec<&Container> {
        match self.container_named(name) {
            Some(container) => vec![container],
            None if !is_beginning_of_id(name) => Vec::new(),
            None => self.containers.iter().filter(|it| it.id.starts_with(name)).collect(),
        }
    }

    /// Whether a network on this driver has exactly that name.
    pub(super) fn is_network_of_driver(&self, name: &str) -> bool {
        self.of_driver.iter().any(|id| self.networks.get(id).is_some_and(|it| it == name))
    }

    /// Why there is nothing of this driver's for a word that is no container's there.
    pub(super) fn nothing_called(&self, word: &str) -> String {
        const NOTHING: &str = "nothing on a network of this driver is called";
        const ALL: &str = "'cnm-cni ls' lists all there is";
        if let Some(Container { name, state, ends, .. }) = self.containers_called(word).first() {
            let networks: Vec<&str> = ends.iter().map(|end| &*end.network).collect();
            let networks = match networks.is_empty() {
                true => "none".to_owned(),
                false => networks.join(", "),
            };
            return format!(
                "container {name} has nothing on a network of this driver; for Docker it is {state}, and \
                 its networks are: {networks}"
            );
        }
        match self.unknown {
            Some(_) => {
                format!("{NOTHING} {word:?}, as far as is known without Docker's names; {ALL}")
            }
            None => format!("{NOTHING} {word:?}; {ALL}"),
        }
    }
}

/// Whether a text is long enough, and of the right letters, to be meant as the beginning of an id.
pub(super) fn is_beginning_of_id(text: &str) -> bool {
    text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_has_nothing_here_is_told_with_what_docker_says_of_it() {
        let end = End { network: "plain".into(), network_id: None, endpoint: None };
        let (name, state) = ("web-1".to_owned(), "exited".to_owned());
        let container = Container { name, state, ends: vec![end], ..Container::default() };
        let names = Names { containers: vec![container], ..Names::default() };
        let said = names.nothing_called("web-1");
        assert!(said.starts_with("container web-1 has nothing on"), "{said}");
        assert!(said.ends_with("for Docker it is exited, and its networks are: plain"), "{said}");
        let said = names.nothing_called("web-2");
        assert!(said.contains("is called \"web-2\"; 'cnm-cni ls'"), "{said}");
        let unknown = Names { unknown: Some("no Docker".into()), ..Names::default() };
        assert!(unknown.nothing_called("web-2").contains("without Docker's names"));
    }
}
