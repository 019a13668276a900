//! The option keys: Docker's labels, and this driver's own vocabulary.
//!
//! | key | where | meaning |
//! |---|---|---|
//! | `conflist` | network `-o` | name of the network configuration list |
//! | `forward` | network `-o` | `auto`, `always`, `open` or `never`: see [`Forward`] |
//! | `com.docker.network.driver.mtu` | network `-o`, endpoint `--driver-opt` | MTU of the container's interface |
//! | `cni.args.KEY` | network `-o`, endpoint `--driver-opt` | one pair of `CNI_ARGS` |
//! | `cni.capability.NAME` | network `-o`, endpoint `--driver-opt` | a capability argument, as JSON |
//! | `ip` | endpoint `--driver-opt` | the address to ask the conflist's IPAM for, or several, as `10.22.0.50+fd00::50` |
//!
//! A key that begins with `cni.` and is not in the table is an error. Keys of others are
//! passed over: Docker and its tools add their own.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::network::empty_as_none;

/// `-o` options of a network, and Docker's own labels beside them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkOptions {
    /// Name of the conflist; none means the first one in file-name order.
    pub conflist: Option<String>,
    /// Whether the containers are exempt from the policy of the host's FORWARD chain.
    pub forward: Forward,
    /// MTU of the container's interface, in bytes.
    pub mtu: Option<u32>,
    /// `--internal`: no way out of the network.
    pub internal: bool,
    /// What every attachment of the network passes to its plugins.
    pub chain: ChainOptions,
}

/// Whether a network's containers are exempt from the policy of the host's FORWARD chain.
///
/// Docker sets that policy to DROP, and then even two containers on one bridge do not
/// reach each other unless a rule accepts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// Those of a `bridge` or `ptp` chain are: the reference plugins leave it to others.
    #[default]
    Auto,
    /// They are, whatever the chain: for what they send, replies, and published ports.
    Always,
    /// They are, and so is whatever is sent to them, as it reaches a pod: new connections from other
    /// hosts and networks too.
    Open,
    /// They are not: the host's rules decide alone.
    Never,
}

/// What a user adds to the plugins' own arguments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainOptions {
    /// Pairs of `CNI_ARGS`, in the order of their keys.
    pub args: Vec<(String, String)>,
    /// Capability arguments by name.
    pub capabilities: Map<String, Value>,
}

impl ChainOptions {
    /// These options with `other`'s laid over them: the endpoint's win over the network's.
    #[must_use]
    pub fn overlaid_with(mut self, other: &Self) -> Self {
        for (key, value) in &other.args {
            self.args.retain(|(present, _)| present != key);
            self.args.push((key.clone(), value.clone()));
        }
        self.capabilities
            .extend(other.capabilities.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }
}

/// `--driver-opt` options of an endpoint, and Docker's own labels beside them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointOptions {
    /// Published ports.
    pub ports: Vec<PortBinding>,
    /// Addresses to ask the conflist's IPAM for.
    pub ips: Vec<IpAddr>,
    /// MTU of the container's interface, in bytes; wins over the network's.
    pub mtu: Option<u32>,
    /// What this attachment passes to its plugins.
    pub chain: ChainOptions,
}

/// One published port or range: `com.docker.network.portmap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortBinding {
    /// Transport protocol.
    pub proto: Protocol,
    /// The container's port.
    pub port: u16,
    /// The host's address; none for all. `0.0.0.0` and `::` are all too: CNI's
    /// `portMappings` have no word for the addresses of one family.
    #[serde(rename = "HostIP", default, deserialize_with = "one_address")]
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0 leaves the choice to the driver.
    #[serde(default)]
    pub host_port: u16,
    /// The last host port that may be chosen; no higher than `host_port` for a fixed port.
    #[serde(default)]
    pub host_port_end: u16,
}

/// A transport protocol, by its IANA number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Protocol {
    /// 6
    Tcp,
    /// 17
    Udp,
    /// 132
    Sctp,
}

impl From<Protocol> for u8 {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

/// Reads an address of the host; empty, `null` and the unspecified ones are none.
fn one_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    Ok(empty_as_none(deserializer)?.filter(|address: &IpAddr| !address.is_unspecified()))
}

impl Protocol {
    /// Its name in lower case, as CNI's `portMappings` writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl TryFrom<u8> for Protocol {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            6 => Ok(Self::Tcp),
            17 => Ok(Self::Udp),
            132 => Ok(Self::Sctp),
            other => Err(format!("protocol number {other} is not tcp (6), udp (17) or sctp (132)")),
        }
    }
}

/// An option that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOption {
    /// The key begins as ours do, and is none of them.
    #[error("option {0:?} is unknown; known are {known}", known = KNOWN)]
    Unknown(String),
    /// The key is one of ours, for something else.
    #[error("option {key:?} is {whose}, not {not}")]
    Elsewhere {
        /// The option's key.
        key: String,
        /// Whose option it is.
        whose: &'static str,
        /// Whose it is not.
        not: &'static str,
    },
    /// The value does not fit the key.
    #[error("option {key}={value}: {reason}")]
    Value {
        /// The option's key.
        key: String,
        /// The value as it came.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

const KNOWN: &str = "conflist, forward, ip, cni.args.KEY=VALUE, cni.capability.NAME=JSON, \
                     com.docker.network.driver.mtu";

const CONFLIST: &str = "conflist";
const FORWARD: &str = "forward";
const IP: &str = "ip";
/// Docker's command line and shells have uses of their own for commas, semicolons and spaces.
const BETWEEN_IPS: char = '+';
const ARGS: &str = "cni.args.";
const CAPABILITY: &str = "cni.capability.";
const OURS: &str = "cni.";
const MTU: &str = "com.docker.network.driver.mtu";
const GENERIC: &str = "com.docker.network.generic";
const INTERNAL: &str = "com.docker.network.internal";
const PORTMAP: &str = "com.docker.network.portmap";

impl NetworkOptions {
    /// Reads the `Options` of a CreateNetwork request.
    ///
    /// # Errors
    /// An unknown key of ours, or a value that does not fit its key.
    pub fn read(options: &Map<String, Value>) -> Result<Self, InvalidOption> {
        let mut read = Self {
            internal: options.get(INTERNAL).and_then(Value::as_bool).unwrap_or(false),
            ..Self::default()
        };
        let driver = options.get(GENERIC).and_then(Value::as_object);
        for (key, value) in driver.into_iter().flatten() {
            let text = text(key, value)?;
            match key.as_str() {
                CONFLIST if text.is_empty() => {
                    return Err(invalid(key, text, "expected the name of a conflist"));
                }
                CONFLIST => read.conflist = Some(text.to_owned()),
                FORWARD => {
                    read.forward = serde_json::from_value(value.clone())
                        .map_err(|_| invalid(key, text, "expected auto, always, open or never"))?;
                }
                MTU => read.mtu = Some(mtu(key, text)?),
                IP => return Err(elsewhere(key, "a container's", "a network's")),
                _ => read.chain.take(key, text)?,
            }
        }
        Ok(read)
    }
}

impl EndpointOptions {
    /// Reads the `Options` of a CreateEndpoint request.
    ///
    /// # Errors
    /// An unknown key of ours, or a value that does not fit its key.
    pub fn read(options: &Map<String, Value>) -> Result<Self, InvalidOption> {
        let mut read = Self::default();
        for (key, value) in options {
            match key.as_str() {
                PORTMAP => {
                    read.ports = Option::deserialize(value)
                        .map_err(|error| invalid(key, &value.to_string(), &error.to_string()))?
                        .unwrap_or_default();
                }
                IP => {
                    let text = text(key, value)?;
                    let addresses: Result<_, _> = text.split(BETWEEN_IPS).map(str::parse).collect();
                    read.ips = addresses.map_err(|_| {
                        let expected = "expected an address without prefix length, or several, \
                                        as 10.22.0.50+fd00::50";
                        invalid(key, text, expected)
                    })?;
                }
                MTU => read.mtu = Some(mtu(key, text(key, value)?)?),
                CONFLIST | FORWARD => return Err(elsewhere(key, "a network's", "a container's")),
                _ if key.starts_with(OURS) => read.chain.take(key, text(key, value)?)?,
                _ => {}
            }
        }
        Ok(read)
    }
}

impl ChainOptions {
    /// Takes one option if it is the chain's; passes over keys of others.
    fn take(&mut self, key: &str, value: &str) -> Result<(), InvalidOption> {
        if let Some(name) = key.strip_prefix(ARGS) {
            let plain = |text: &str| !text.contains([';', '=']);
            if name.is_empty() || !plain(name) || !plain(value) {
                return Err(invalid(key, value, "CNI_ARGS cannot carry ';' or '=' in a pair"));
            }
            self.args.push((name.to_owned(), value.to_owned()));
        } else if let Some(name) = key.strip_prefix(CAPABILITY) {
            let json = serde_json::from_str(value)
                .map_err(|error| invalid(key, value, &format!("expected JSON: {error}")))?;
            self.capabilities.insert(name.to_owned(), json);
        } else if key.starts_with(OURS) {
            return Err(InvalidOption::Unknown(key.to_owned()));
        }
        Ok(())
    }
}

fn mtu(key: &str, text: &str) -> Result<u32, InvalidOption> {
    let mtu = text.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
    mtu.ok_or_else(|| invalid(key, text, "expected a number of bytes from 68 to 65535"))
}

fn elsewhere(key: &str, whose: &'static str, not: &'static str) -> InvalidOption {
    InvalidOption::Elsewhere { key: key.to_owned(), whose, not }
}

fn text<'v>(key: &str, value: &'v Value) -> Result<&'v str, InvalidOption> {
    value.as_str().ok_or_else(|| invalid(key, &value.to_string(), "expected a string"))
}

fn invalid(key: &str, value: &str, reason: &str) -> InvalidOption {
    InvalidOption::Value { key: key.to_owned(), value: value.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn network(driver: Value) -> Result<NetworkOptions, InvalidOption> {
        let options = json!({"com.docker.network.enable_ipv6": false, GENERIC: driver});
        NetworkOptions::read(options.as_object().unwrap())
    }

    fn endpoint(options: Value) -> Result<EndpointOptions, InvalidOption> {
        EndpointOptions::read(options.as_object().unwrap())
    }

    #[test]
    fn a_network_without_options_takes_the_defaults() {
        assert_eq!(network(json!({})).unwrap(), NetworkOptions::default());
        assert_eq!(network(Value::Null).unwrap(), NetworkOptions::default());
        assert_eq!(NetworkOptions::read(&Map::new()).unwrap(), NetworkOptions::default());
    }

    #[test]
    fn every_network_option_is_read() {
        let read = network(json!({
            "conflist": "k8snet",
            "forward": "never",
            "com.docker.network.driver.mtu": "1400",
            "cni.args.K8S_POD_NAME": "x",
            "cni.capability.bandwidth": "{\"ingressRate\":1000}",
            "foo": "bar",
        }))
        .unwrap();
        assert_eq!(read.conflist.as_deref(), Some("k8snet"));
        assert_eq!(read.forward, Forward::Never);
        assert_eq!(read.mtu, Some(1400));
        assert_eq!(read.chain.args, [("K8S_POD_NAME".to_owned(), "x".to_owned())]);
        assert_eq!(read.chain.capabilities["bandwidth"], json!({"ingressRate": 1000}));
    }

    #[test]
    fn an_unknown_key_of_ours_is_refused_with_the_known_ones() {
        for error in [
            network(json!({"cni.arg": "x"})).unwrap_err(),
            endpoint(json!({"cni.args": "K8S_POD_NAME=x"})).unwrap_err(),
        ] {
            assert!(error.to_string().contains("cni.args.KEY=VALUE"), "{error}");
        }
    }

    #[test]
    fn an_option_in_the_wrong_place_is_refused() {
        let error = network(json!({"ip": "10.22.0.5"})).unwrap_err().to_string();
        assert_eq!(error, "option \"ip\" is a container's, not a network's");
        assert!(endpoint(json!({"conflist": "web"})).is_err());
        assert!(endpoint(json!({"forward": "never"})).is_err());
        let read = endpoint(json!({"com.docker.network.driver.mtu": "1300"})).unwrap();
        assert_eq!(read.mtu, Some(1300));
    }

    #[test]
    fn one_address_or_several_are_asked_for() {
        let ips = |text: &str| endpoint(json!({"ip": text})).map(|read| read.ips);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(ips("10.22.0.50").unwrap(), [address("10.22.0.50")]);
        let both = [address("10.22.0.50"), address("fd00::50")];
        assert_eq!(ips("10.22.0.50+fd00::50").unwrap(), both);
        for text in ["", "10.22.0.50+", "10.22.0.50/16", "10.22.0.50;fd00::50"] {
            let error = ips(text).unwrap_err().to_string();
            assert!(error.contains("10.22.0.50+fd00::50"), "{error}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for options in [
            json!({"conflist": ""}),
            json!({"conflist": 5}),
            json!({"forward": "maybe"}),
            json!({"com.docker.network.driver.mtu": "large"}),
            json!({"com.docker.network.driver.mtu": "12"}),
            json!({"cni.args.A": "b;IP=10.0.0.1"}),
            json!({"cni.args.": "b"}),
            json!({"cni.capability.x": "{"}),
        ] {
            assert!(network(options.clone()).is_err(), "{options} was accepted");
        }
    }

    #[test]
    fn port_bindings_are_read_and_other_labels_passed_over() {
        let read = endpoint(json!({
            "a.b": "c",
            "com.docker.network.endpoint.dnsservers": ["9.9.9.9"],
            "com.docker.network.portmap": [
                {"Proto":17,"IP":"","Port":53,"HostIP":"127.0.0.1","HostPort":5353,"HostPortEnd":5353}
            ],
        }))
        .unwrap();
        assert_eq!(
            read.ports,
            [PortBinding {
                proto: Protocol::Udp,
                port: 53,
                host_ip: Some("127.0.0.1".parse().unwrap()),
                host_port: 5353,
                host_port_end: 5353,
            }]
        );
        assert!(endpoint(json!({"com.docker.network.portmap": null})).unwrap().ports.is_empty());
        assert!(endpoint(json!({"com.docker.network.portmap": [{"Proto": 1}]})).is_err());
    }

    #[test]
    fn an_endpoints_options_win_over_the_networks() {
        let options = |value: &str| ChainOptions {
            args: vec![("A".into(), value.into())],
            capabilities: json!({"mac": value}).as_object().unwrap().clone(),
        };
        assert_eq!(options("network").overlaid_with(&options("endpoint")), options("endpoint"));
    }
}
