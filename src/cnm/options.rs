//! The option keys: Docker's labels, and this driver's own vocabulary.
//!
//! | key | where | meaning |
//! |---|---|---|
//! | `conflist` | network `-o` | name of the network configuration list |
//! | `forward` | network `-o` | `auto`, `always`, `open` or `never`: see [`Forward`] |
//! | `com.docker.network.driver.mtu` | network `-o`, endpoint `--driver-opt` | MTU of the container's interface |
//! | `cni.args.KEY` | network `-o`, endpoint `--driver-opt` | one pair of `CNI_ARGS` |
//! | `cni.capability.NAME` | network `-o`, endpoint `--driver-opt` | a capability argument, as JSON |
//! | `com.docker.network.endpoint.sysctls` | endpoint `--driver-opt` | settings of the interface, as `net.ipv4.conf.IFNAME.arp_filter=0`, and more after commas |
//! | `ip` | endpoint `--driver-opt` | the address to ask the conflist's IPAM for, or several, as `10.22.0.50+fd00::50` |
//!
//! Any other key is an error, so that a mistyped one does not pass for a wish that was granted. What
//! Docker itself sets for an endpoint is ignored: see [`super::keys`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::keys::{
    self, ARGS, CAPABILITY, CONFLIST, FORWARD, IP, InvalidOption, MTU, PORTMAP, Place, SYSCTLS,
    invalid,
};
use super::{PortBinding, values};

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
    /// Settings of the container's interface: their path below `/proc/sys/net` without the
    /// interface's name, as `ipv4/conf/arp_filter`.
    pub sysctls: BTreeMap<String, String>,
    /// What this attachment passes to its plugins.
    pub chain: ChainOptions,
}

/// Replaces in errors what is for the plugins alone.
const SECRET: &str = "[hidden]";
/// Docker's command line and shells have uses of their own for commas, semicolons and spaces.
const BETWEEN_IPS: char = '+';
const GENERIC: &str = "com.docker.network.generic";
const INTERNAL: &str = "com.docker.network.internal";

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
                _ if read.chain.takes(key, text)? => {}
                _ => return Err(InvalidOption::of(key, Place::Network)),
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
                PORTMAP => read.ports = PortBinding::read(options)?,
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
                SYSCTLS => read.sysctls = sysctls(key, text(key, value)?)?,
                _ if ChainOptions::has(key) => {
                    read.chain.takes(key, text(key, value)?)?;
                }
                _ if keys::is_dockers(key) => {}
                _ => return Err(InvalidOption::of(key, Place::Endpoint)),
            }
        }
        Ok(read)
    }
}

impl ChainOptions {
    /// Whether a key is the chain's.
    fn has(key: &str) -> bool {
        key.starts_with(ARGS) || key.starts_with(CAPABILITY)
    }

    /// Takes one option if it is the chain's, and says whether it is.
    fn takes(&mut self, key: &str, value: &str) -> Result<bool, InvalidOption> {
        if let Some(name) = key.strip_prefix(ARGS) {
            values::check_arg(name, value).map_err(|reason| invalid(key, SECRET, &reason))?;
            self.args.push((name.to_owned(), value.to_owned()));
            values::check_args(&self.args).map_err(|reason| invalid(key, SECRET, &reason))?;
        } else if let Some(name) = key.strip_prefix(CAPABILITY) {
            let json = values::read_capability(name, value)
                .map_err(|reason| invalid(key, SECRET, &reason))?;
            self.capabilities.insert(name.to_owned(), json);
        }
        Ok(Self::has(key))
    }
}

fn mtu(key: &str, text: &str) -> Result<u32, InvalidOption> {
    let mtu = text.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
    mtu.ok_or_else(|| invalid(key, text, "expected a number of bytes from 68 to 65535"))
}

/// Reads settings as Docker writes them: `net.ipv4.conf.IFNAME.arp_filter=0,…`.
fn sysctls(key: &str, text: &str) -> Result<BTreeMap<String, String>, InvalidOption> {
    let is_plain = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let settings = text.split(',').map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let parts: Vec<_> = name.trim().split('.').filter(is_plain).collect();
        match parts[..] {
            // Command lines of Docker before 28 turn options of `--network` into lower case.
            ["net", family, table, placeholder, leaf]
                if placeholder.eq_ignore_ascii_case("IFNAME") && name.split('.').count() == 5 =>
            {
                Some((format!("{family}/{table}/{leaf}"), value.trim().to_owned()))
            }
            _ => None,
        }
    });
    let settings: Option<_> = settings.collect();
    settings.ok_or_else(|| {
        let expected = "expected settings of the interface, as net.ipv4.conf.IFNAME.arp_filter=0, \
                        with commas between them";
        invalid(key, text, expected)
    })
}

fn text<'v>(key: &str, value: &'v Value) -> Result<&'v str, InvalidOption> {
    value.as_str().ok_or_else(|| invalid(key, &value.to_string(), "expected a string"))
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
        }))
        .unwrap();
        assert_eq!(read.conflist.as_deref(), Some("k8snet"));
        assert_eq!(read.forward, Forward::Never);
        assert_eq!(read.mtu, Some(1400));
        assert_eq!(read.chain.args, [("K8S_POD_NAME".to_owned(), "x".to_owned())]);
        assert_eq!(read.chain.capabilities["bandwidth"], json!({"ingressRate": 1000}));
    }

    #[test]
    fn an_unknown_key_is_refused_and_what_docker_sets_for_an_endpoint_ignored() {
        for options in [json!({"confilst": "x"}), json!({"Conflist": "x"}), json!({"foo": "bar"})] {
            let error = network(options).unwrap_err().to_string();
            assert!(
                error.contains("is unknown") && error.contains("cni.args.KEY=VALUE"),
                "{error}"
            );
        }
        for options in [json!({"a.b": "c"}), json!({"parent": "eth0"}), json!({"cni.arg": "x"})] {
            endpoint(options).unwrap_err();
        }
        let read = endpoint(json!({
            "com.docker.network.endpoint.dnsservers": ["9.9.9.9"],
            "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
            "com.docker.network.portmap": [{"Proto": 6, "Port": 80}],
        }))
        .unwrap();
        assert_eq!((read.ports.len(), read.chain), (1, ChainOptions::default()));
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
    fn settings_of_the_interface_are_read_as_docker_writes_them() {
        let read = |text: &str| endpoint(json!({SYSCTLS: text})).map(|read| read.sysctls);
        let both = "net.ipv4.conf.IFNAME.arp_filter=0,net.ipv6.neigh.IFNAME.app_solicit=2";
        let wanted = [("ipv4/conf/arp_filter", "0"), ("ipv6/neigh/app_solicit", "2")];
        let wanted = wanted.map(|(setting, value)| (setting.to_owned(), value.to_owned()));
        assert_eq!(read(both).unwrap(), wanted.clone().into());
        assert_eq!(read(&both.to_lowercase()).unwrap(), wanted.into());
        for text in [
            "",
            "net.ipv4.conf.IFNAME.arp_filter",
            "net.ipv4.conf.eth0.arp_filter=0",
            "net.ipv4.conf.IFNAME.a/b=0",
            "net.ipv4.conf.IFNAME..=0",
            "kernel.a.b.IFNAME.c=0",
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("net.ipv4.conf.IFNAME.arp_filter=0"), "{error}");
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
    fn an_endpoints_options_win_over_the_networks() {
        let options = |value: &str| ChainOptions {
            args: vec![("A".into(), value.into())],
            capabilities: json!({"mac": value}).as_object().unwrap().clone(),
        };
        assert_eq!(options("network").overlaid_with(&options("endpoint")), options("endpoint"));
    }
}
