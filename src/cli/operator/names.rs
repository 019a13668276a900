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

impl Names {
    /// The container that has this endpoint.
    pub(super) fn container_of(&self, endpoint: &EndpointId) -> Option<&Container> {
        let has = |end: &End| end.endpoint.as_ref() == Some(endpoint);
        self.containers.iter().find(|container| container.ends.iter().any(has))
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

    /// The containers of that name, or whose id begins so.
    pub(super) fn containers_called(&self, name: &str) -> impl Iterator<Item = &Container> {
        let (name, is_id) = (name.trim_start_matches('/').to_owned(), is_beginning_of_id(name));
        self.containers
            .iter()
            .filter(move |it| it.name == name || (is_id && it.id.starts_with(&name)))
    }

    /// Why there is nothing of this driver's for a word that is no container's there.
    pub(super) fn nothing_called(&self, word: &str) -> String {
        const NOTHING: &str = "nothing on a network of this driver is called";
        const ALL: &str = "'cnm-cni ls' lists all there is";
        if let Some(Container { name, state, ends, .. }) = self.containers_called(word).next() {
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

    /// Whether a network has that name, or its id begins so.
    pub(super) fn is_called(&self, network: &NetworkId, name: &str) -> bool {
        self.networks.get(network).is_some_and(|it| it == name)
            || (is_beginning_of_id(name) && network.as_str().starts_with(name))
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
