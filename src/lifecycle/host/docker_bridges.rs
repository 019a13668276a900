//! Which bridges of the host are Docker's.

use crate::lifecycle::error::Result;
use crate::lifecycle::record::Network;
use crate::netlink::Netlink;

/// The bridges of Docker's networks, and other bridges with a name like Docker's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DockerBridges {
    /// Docker's bridges with a name that the user chose, besides `docker0` and `br-…`.
    pub(crate) named: Vec<String>,
    /// Bridges of others whose name begins with `br-`: a host may have its own addresses on one.
    pub(crate) not: Vec<String>,
}

impl DockerBridges {
    /// Looks for them among the host's links and the rules of Docker's chains in the table filter.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub(crate) async fn among(
        own: &Netlink,
        isolated: &[&Network],
        filter: &[String],
    ) -> Result<Self> {
        let links = own.links().await?.into_iter();
        let bridges = links.filter(|link| link.kind.as_deref() == Some("bridge"));
        let ours = |name: &str| isolated.iter().any(|network| network.own_bridge() == Some(name));
        let mut found = Self::default();
        for name in bridges.map(|link| link.name).filter(|name| !ours(name)) {
            if is_usual(&name) {
                continue;
            }
            if filter.iter().any(|rule| is_of_docker(rule, &name)) {
                found.named.push(name);
            } else if name.starts_with("br-") {
                found.not.push(name);
            }
        }
        // A bridge of this driver with such a name is not Docker's either.
        let ours = isolated.iter().filter_map(|network| network.own_bridge());
        found.not.extend(ours.filter(|name| name.starts_with("br-")).map(str::to_owned));
        found.named.sort_unstable();
        found.not.sort_unstable();
        Ok(found)
    }
}

/// Docker's own choice of a name: `docker0`, or `br-` and the beginning of the network's id.
fn is_usual(name: &str) -> bool {
    let is_id = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    name == "docker0" || name.strip_prefix("br-").is_some_and(is_id)
}

/// Whether one of Docker's chains has this rule, and it is about the bridge.
fn is_of_docker(rule: &str, bridge: &str) -> bool {
    rule.starts_with("-A DOCKER")
        && !rule.starts_with("-A DOCKER-USER")
        && rule.split(' ').any(|word| word == bridge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_dockers_by_its_name_or_by_dockers_rules() {
        for (name, usual) in [
            ("docker0", true),
            ("br-d8f3335c50e2", true),
            ("br-lan", false),
            ("br-d8f3335c50e", false),
            ("docker1", false),
        ] {
            assert_eq!(is_usual(name), usual, "{name}");
        }
        // Docker 20.10 to 26.1, and Docker 28.
        assert!(is_of_docker("-A DOCKER-ISOLATION-STAGE-2 -o mine -j DROP", "mine"));
        assert!(is_of_docker("-A DOCKER-BRIDGE -o mine -j DOCKER", "mine"));
        assert!(!is_of_docker("-A DOCKER-BRIDGE -o mine -j DOCKER", "min"));
        assert!(!is_of_docker("-A DOCKER-USER -i mine -j DROP", "mine"));
        assert!(!is_of_docker("-A FORWARD -i mine -j ACCEPT", "mine"));
    }
}
