//! The option keys: Docker's labels, and this driver's own vocabulary.
//!
//! | key | where | meaning |
//! |---|---|---|
//! | `conflist` | network `-o` | name of the network configuration list |
//! | `forward` | network `-o` | `auto`, `always`, `open` or `never`: see [`Forward`] |
//! | `isolate` | network `-o` | `true` or `false`: whether other networks' containers are kept away |
//! | `spares` | network `-o` | how many attachments are ready before a container asks: see [`SpareCount`] |
//! | `com.docker.network.driver.mtu`, `mtu` | network `-o`, endpoint `--driver-opt` | MTU of the container's interface |
//! | `com.docker.network.bridge.…` | network `-o` | what Docker's bridge driver does by it, where the built-in network can: see [`BridgeOptions`] |
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
    self, ARGS, BRIDGE_NAME, CAPABILITY, CONFLIST, FORWARD, GATEWAY_MODE_V4, GATEWAY_MODE_V6,
    HOST_BINDING, IP, ISOLATE, InvalidOption, MASQUERADE, MTU, PORTMAP, Place, SHORT_MTU, SPARES,
    SYSCTLS, TALK, invalid,
};
use super::{PortBinding, SpareCount, values};

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
    /// `--ipv6`.
    pub enable_ipv6: bool,
    /// `--ipv4=false`.
    pub disable_ipv4: bool,
    /// Whether the containers are kept apart from those of other networks; none leaves it to the chain.
    pub isolate: Option<bool>,
    /// How many attachments are ready before a container asks; none leaves it to the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spares: Option<SpareCount>,
    /// What the user says of the built-in network's bridge.
    pub bridge: BridgeOptions,
    /// What every attachment of the network passes to its plugins.
    pub chain: ChainOptions,
}

/// Options of Docker's bridge driver that the built-in network has too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeOptions {
    /// `com.docker.network.bridge.name`.
    pub name: Option<String>,
    /// `com.docker.network.bridge.enable_ip_masquerade`.
    pub masquerade: Option<bool>,
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
const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

impl NetworkOptions {
    /// Reads the `Options` of a CreateNetwork request.
    ///
    /// # Errors
    /// An unknown key of ours, or a value that does not fit its key.
    pub fn read(options: &Map<String, Value>) -> Result<Self, InvalidOption> {
        let says = |key: &str| options.get(key).and_then(Value::as_bool);
        let mut read = Self {
            internal: says(INTERNAL).unwrap_or(false),
            enable_ipv6: says(ENABLE_IPV6).unwrap_or(false),
            disable_ipv4: says(ENABLE_IPV4) == Some(false),
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
                ISOLATE => read.isolate = Some(switch(key, text)?),
                SPARES => {
                    let count =
                        text.parse().map_err(|reason: String| invalid(key, text, &reason))?;
                    read.spares = Some(count);
                }
                MTU | SHORT_MTU => read.mtu = Some(mtu(key, text)?),
                _ if read.bridge.takes(key, text)? => {}
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
                MTU | SHORT_MTU => read.mtu = Some(mtu(key, text(key, value)?)?),
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

impl BridgeOptions {
    /// Takes one option if it is the bridge's, and says whether it is.
    fn takes(&mut self, key: &str, text: &str) -> Result<bool, InvalidOption> {
        match key {
            BRIDGE_NAME => {
                values::check_link_name(text).map_err(|reason| invalid(key, text, &reason))?;
                self.name = Some(text.to_owned());
            }
            MASQUERADE => self.masquerade = Some(switch(key, text)?),
            // It is so anyway.
            TALK if switch(key, text)? => {}
            HOST_BINDING if text == "0.0.0.0" => {}
            GATEWAY_MODE_V4 | GATEWAY_MODE_V6 if text == "nat" => {}
            _ => return Ok(false),
        }
        Ok(true)
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

/// Reads true and false as Docker's bridge driver does.
fn switch(key: &str, text: &str) -> Result<bool, InvalidOption> {
    match text {
        "true" | "True" | "TRUE" | "t" | "T" | "1" => Ok(true),
        "false" | "False" | "FALSE" | "f" | "F" | "0" => Ok(false),
        _ => Err(invalid(key, text, "expected true or false")),
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
mod tests;
