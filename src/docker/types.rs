//! The types of Docker's answers, with only the fields that are used here.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// A container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// 64 digits.
    pub id: String,
    /// Each with a `/` before it: its own name, and `/other/alias` for containers that link to it.
    #[serde(default)]
    pub names: Vec<String>,
    /// `created`, `running`, `exited` and others.
    #[serde(default)]
    pub state: String,
    /// Docker Compose puts its project and service here.
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// Its endpoints, by the network's name.
    #[serde(rename = "NetworkSettings", default, deserialize_with = "endpoints")]
    pub endpoints: BTreeMap<String, Endpoint>,
}

/// A container's endpoint in a network. Texts are empty if there is nothing, as for a container that does
/// not run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// The endpoint's id.
    #[serde(rename = "EndpointID")]
    pub id: String,
    /// The network's id.
    #[serde(rename = "NetworkID")]
    pub network: String,
    /// The IPv4 address.
    #[serde(rename = "IPAddress")]
    pub ipv4: String,
    /// The IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub ipv6: String,
}

/// A network.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// 64 digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Docker Compose puts its project here.
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// The user's `-o`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub options: BTreeMap<String, String>,
}

/// A network, with what is attached to it now.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attached {
    /// Its name.
    pub name: String,
    /// Its endpoints, by their containers' ids.
    #[serde(default, deserialize_with = "null_as_default")]
    pub containers: BTreeMap<String, AttachedContainer>,
}

/// A container's endpoint in a network, seen from the network.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AttachedContainer {
    /// The container's name.
    #[serde(rename = "Name")]
    pub name: String,
    /// The endpoint's id.
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
}

/// How a container was started the last time.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Started {
    /// What came of it.
    pub state: State,
}

/// The state of a container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct State {
    /// Why it could not be started; empty if it could.
    #[serde(default)]
    pub error: String,
}

impl Container {
    /// The name from the user or from Docker; its id if there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        let mut names = self.names.iter().filter_map(|name| name.strip_prefix('/'));
        names.find(|name| !name.contains('/')).unwrap_or(&self.id)
    }
}

fn endpoints<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Endpoint>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Settings {
        networks: Option<BTreeMap<String, Endpoint>>,
    }
    let settings = Option::<Settings>::deserialize(deserializer)?.unwrap_or_default();
    Ok(settings.networks.unwrap_or_default())
}

/// Docker also writes `null` for an empty value.
pub(super) fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_called_by_its_own_name() {
        let container: Container = serde_json::from_str(
            r#"{"Id": "c0ffee", "Names": ["/other/alias", "/web-1"], "Labels": null, "State": "exited",
                "NetworkSettings": {"Networks": {"web": {
                    "EndpointID": "e1", "NetworkID": "a1", "IPAddress": "10.22.0.5",
                    "GlobalIPv6Address": "", "DriverOpts": null}}}}"#,
        )
        .unwrap();
        assert_eq!((container.name(), container.state.as_str()), ("web-1", "exited"));
        assert_eq!(container.endpoints["web"].ipv4, "10.22.0.5");
        let nameless: Container =
            serde_json::from_str(r#"{"Id": "c0ffee", "NetworkSettings": {"Networks": null}}"#)
                .unwrap();
        assert_eq!(nameless.name(), "c0ffee");
    }
}
