//! One plugin's configuration object.
//!
//! It is kept as it was written, with the order of its keys, the digits of its numbers, and
//! the keys that this program does not know; [`crate::cni::exec`] derives from it what the plugin is
//! sent.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cni::lenient::{self, Mismatch};
use crate::cni::{ConfigError, name};

/// Reference plugins that only change an interface which another plugin has made.
const META: [&str; 6] = ["bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf"];

/// One plugin's object in a network configuration list.
///
/// It compares and is stored as the JSON that was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct PluginConfig {
    json: Map<String, Value>,
    plugin_type: String,
    ipam_type: Option<String>,
    capabilities: Vec<String>,
}

impl PluginConfig {
    /// What stands for the interface's name in a sysctl of plugin `tuning`.
    pub const IF_NAME: &str = "IFNAME";

    /// The reference plugin that has addresses leased by a DHCP server.
    pub const DHCP: &str = "dhcp";

    /// Takes a plugin's object as it is.
    ///
    /// # Errors
    ///
    /// The value is no object, `type` is missing or is no file name, `capabilities` is not
    /// an object of booleans, or `ipam` is no object with a proper `type`.
    pub fn from_json(json: Value) -> Result<Self, ConfigError> {
        let json = lenient::object(json)?;
        let plugin_type = match lenient::text(&json, "type")? {
            None | Some("") => return Err(ConfigError::NoType),
            Some(plugin_type) => plugin_type.to_owned(),
        };
        name::check_plugin_type(&plugin_type)?;
        let (ipam_type, capabilities) = (read_ipam_type(&json)?, read_capabilities(&json)?);
        Ok(Self { json, plugin_type, ipam_type, capabilities })
    }

    /// The name of the plugin's executable.
    #[must_use]
    pub fn plugin_type(&self) -> &str {
        &self.plugin_type
    }

    /// The name of the executable that this plugin lets choose the addresses.
    #[must_use]
    pub fn ipam_type(&self) -> Option<&str> {
        self.ipam_type.as_deref()
    }

    /// Where the daemon of IPAM plugin `dhcp` listens; none if another plugin chooses the addresses.
    #[must_use]
    pub fn dhcp_socket(&self) -> Option<&Path> {
        const DEFAULT: &str = "/run/cni/dhcp.sock";
        if self.ipam_type() != Some(Self::DHCP) {
            return None;
        }
        let Some(Value::Object(ipam)) = self.get("ipam") else { return None };
        let socket = lenient::get(ipam, "daemonSocketPath").and_then(Value::as_str);
        Some(Path::new(socket.filter(|path| !path.is_empty()).unwrap_or(DEFAULT)))
    }

    /// The key of `CNI_ARGS` whose value IPAM plugin `dhcp` tells the server as the host name: what `provide`
    /// takes option `host-name` from.
    #[must_use]
    pub fn dhcp_host_name_arg(&self) -> Option<&str> {
        // The plugin takes names of options, and their numbers.
        const HOST_NAME: [&str; 2] = ["host-name", "12"];
        let Some(Value::Object(ipam)) = self.get("ipam") else { return None };
        let provided = lenient::get(ipam, "provide").filter(|_| self.dhcp_socket().is_some())?;
        let mut options = provided.as_array()?.iter().filter_map(Value::as_object);
        options.find_map(|option| {
            let text = |key| lenient::get(option, key).and_then(Value::as_str);
            text("option").filter(|option| HOST_NAME.contains(option))?;
            text("fromArg").filter(|key| !key.is_empty())
        })
    }

    /// The capabilities that the plugin declares as true.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.capabilities.iter().map(String::as_str)
    }

    /// The names of executables that this plugin may run: each `type` inside of its own
    /// object, as an IPAM plugin's or a `delegate`'s.
    pub(in crate::cni) fn delegates(&self) -> Vec<&str> {
        let mut found = Vec::new();
        let mut ahead: Vec<&Value> = self.json.values().collect();
        while let Some(value) = ahead.pop() {
            match value {
                Value::Array(values) => ahead.extend(values),
                Value::Object(object) => {
                    found.extend(lenient::get(object, "type").and_then(Value::as_str));
                    ahead.extend(object.values());
                }
                _ => {}
            }
        }
        found.retain(|name| name::check_plugin_type(name).is_ok());
        found
    }

    /// Whether the plugin brings up the loopback interface, which a container has without it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.plugin_type == "loopback"
    }

    /// Whether a chain may begin with the plugin: it makes an interface, as far as is known.
    #[must_use]
    pub fn makes_interface(&self) -> bool {
        !self.is_loopback() && !META.contains(&self.plugin_type.as_str())
    }

    /// What the plugin's object has under `key`; keys match in any letter case.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        lenient::get(&self.json, key)
    }

    /// The same configuration with `value` under `key`, in the place of what was there.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        let present = self.json.keys().find(|written| lenient::is_key(written, key)).cloned();
        self.json.insert(present.unwrap_or_else(|| key.to_owned()), value);
        self
    }

    /// The same configuration with `args.cni.KEY` (CONVENTIONS.md, "args") set to `value`.
    #[must_use]
    pub fn with_cni_arg(mut self, key: &str, value: Value) -> Self {
        let mut at = &mut self.json;
        for step in ["args", "cni"] {
            let inner = at.entry(step).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            match inner.as_object_mut() {
                Some(object) => at = object,
                None => return self,
            }
        }
        at.insert(key.to_owned(), value);
        self
    }

    /// The same configuration of `tuning` with its sysctls those of the interface `if_name`.
    /// It finds a setting of the interface by name (`net.ipv4.conf.IFNAME.…`), and the kernel
    /// has no folder of settings for an alternative name. What was `decided` otherwise, by the same
    /// names, is what it is to find.
    #[must_use]
    pub fn with_sysctls_of(mut self, if_name: &str, decided: &BTreeMap<String, String>) -> Self {
        if self.plugin_type == "tuning"
            && let Some(Value::Object(sysctls)) = self.json.get_mut("sysctl")
        {
            *sysctls = std::mem::take(sysctls)
                .into_iter()
                .map(|(key, value)| {
                    // The plugin takes slashes too.
                    let decided = decided.get(&key.replace('/', "."));
                    let value = decided.map_or(value, |decided| decided.clone().into());
                    (key.replacen(Self::IF_NAME, if_name, 1), value)
                })
                .collect();
        }
        self
    }

    pub(in crate::cni) fn json(&self) -> &Map<String, Value> {
        &self.json
    }
}

impl PartialEq for PluginConfig {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for PluginConfig {}

impl TryFrom<Value> for PluginConfig {
    type Error = ConfigError;

    fn try_from(json: Value) -> Result<Self, ConfigError> {
        Self::from_json(json)
    }
}

impl From<PluginConfig> for Value {
    fn from(plugin: PluginConfig) -> Self {
        Self::Object(plugin.json)
    }
}

fn read_ipam_type(plugin: &Map<String, Value>) -> Result<Option<String>, ConfigError> {
    let ipam = match lenient::get(plugin, "ipam") {
        None => return Ok(None),
        Some(Value::Object(ipam)) => ipam,
        Some(other) => return Err(Mismatch::new("ipam", "an object", other).into()),
    };
    match lenient::text(ipam, "type").map_err(|mismatch| mismatch.within("ipam"))? {
        None | Some("") => Ok(None),
        Some(ipam_type) => {
            name::check_plugin_type(ipam_type)?;
            Ok(Some(ipam_type.to_owned()))
        }
    }
}

fn read_capabilities(plugin: &Map<String, Value>) -> Result<Vec<String>, ConfigError> {
    const EXPECTED: &str = "an object of true and false";
    let capabilities = match lenient::get(plugin, "capabilities") {
        None => return Ok(Vec::new()),
        Some(Value::Object(capabilities)) => capabilities,
        Some(other) => return Err(Mismatch::new("capabilities", EXPECTED, other).into()),
    };
    let mut declared = Vec::new();
    for (name, value) in capabilities {
        match value {
            Value::Bool(true) => declared.push(name.clone()),
            Value::Bool(false) | Value::Null => {}
            other => {
                let path = format!("capabilities.{name}");
                return Err(Mismatch::new(path, "true or false", other).into());
            }
        }
    }
    Ok(declared)
}
