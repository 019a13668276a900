//! Network configuration lists: what a `.conflist` says, checked, and otherwise untouched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::MOST_PLUGINS;
use crate::cni::lenient::{self, Mismatch};
use crate::cni::{ConfigError, PluginConfig, Version, name};

/// A network configuration list (SPEC.md section 1): a network's name, and its chain.
///
/// Its JSON is that of a `.conflist`, with the version that was selected and the plugins of
/// every source: a copy that is stored with an attachment reads back equal. Do not store it
/// inside a flattened, untagged or internally tagged serde type; these break the exact
/// numbers in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Map<String, Value>")]
pub struct NetworkConfigList {
    cni_version: Version,
    name: String,
    disable_check: bool,
    #[serde(rename = "disableGC")]
    disable_gc: bool,
    plugins: Vec<PluginConfig>,
}

/// A list as its file has it, before the plugins of other files join.
#[derive(Debug)]
pub(in crate::cni) struct Inlined {
    pub(in crate::cni) list: NetworkConfigList,
    /// `loadOnlyInlinedPlugins`.
    pub(in crate::cni) only: bool,
}

type Result<T> = std::result::Result<T, ConfigError>;

impl NetworkConfigList {
    /// The same network with each of its plugins changed, in the order of the chain.
    #[must_use]
    pub fn map_plugins(mut self, change: impl FnMut(PluginConfig) -> PluginConfig) -> Self {
        self.plugins = self.plugins.into_iter().map(change).collect();
        self
    }

    /// The same network with every plugin that `choose` picks having `args.cni.KEY` set.
    #[must_use]
    pub fn with_cni_arg(
        self,
        choose: impl Fn(&PluginConfig) -> bool,
        key: &str,
        value: &Value,
    ) -> Self {
        self.map_plugins(|plugin| match choose(&plugin) {
            true => plugin.with_cni_arg(key, value.clone()),
            false => plugin,
        })
    }

    /// The same network for an interface that is called `if_name` in its namespace, and answers
    /// to `CNI_IFNAME` as an alternative name only, and where some sysctls were decided otherwise:
    /// see [`PluginConfig::with_sysctls_of`].
    #[must_use]
    pub fn with_sysctls_of(self, if_name: &str, decided: &BTreeMap<String, String>) -> Self {
        self.map_plugins(|plugin| plugin.with_sysctls_of(if_name, decided))
    }

    /// Reads the content of a `.conflist` whose plugins are all inlined.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what is wrong and where; also when there are no plugins.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        lenient::object(lenient::parse(bytes)?)?.try_into()
    }

    /// The network's name, which satisfies the specification's rules for names.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version that was selected: the highest one of `cniVersion` and `cniVersions`
    /// that this runtime speaks.
    #[must_use]
    pub fn cni_version(&self) -> Version {
        self.cni_version
    }

    /// The chain, in the order of ADD. Never empty.
    #[must_use]
    pub fn plugins(&self) -> &[PluginConfig] {
        &self.plugins
    }

    /// Whether CHECK must not be called on this network.
    #[must_use]
    pub fn disables_check(&self) -> bool {
        self.disable_check
    }

    /// Whether GC must not be called on this network.
    #[must_use]
    pub fn disables_gc(&self) -> bool {
        self.disable_gc
    }

    /// Whether its version has the verb GC, which is so from 1.1.0 on.
    #[must_use]
    pub fn has_gc(&self) -> bool {
        self.cni_version.has_gc_and_status()
    }

    /// Whether some plugin of the chain declares `capability`.
    #[must_use]
    pub fn declares(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities().any(|name| name == capability))
    }

    /// Whether `capability` is declared, and by plugins behind the first one only: these can
    /// be run alone, on top of the attachment that the first one made.
    #[must_use]
    pub fn adds(&self, capability: &str) -> bool {
        let by_first = self
            .plugins
            .first()
            .is_some_and(|first| first.capabilities().any(|name| name == capability));
        !by_first && self.declares(capability)
    }

    /// Whether the chain makes an interface that leads somewhere, as far as its plugins are known:
    /// the first one does, `loopback` aside.
    #[must_use]
    pub fn makes_interface(&self) -> bool {
        let mut plugins = self.plugins.iter().filter(|plugin| !plugin.is_loopback());
        plugins.next().is_some_and(PluginConfig::makes_interface)
    }

    /// The same network with one more plugin at the end of its chain.
    #[must_use]
    pub fn with_plugin(mut self, plugin: PluginConfig) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// The same network without the plugins of one type in its chain.
    #[must_use]
    pub fn without(mut self, plugin_type: &str) -> Self {
        self.plugins.retain(|plugin| plugin.plugin_type() != plugin_type);
        self
    }

    /// Reads a `.conflist` whose plugins may come from other files too.
    pub(in crate::cni) fn parse_inlined(bytes: &[u8]) -> Result<Inlined> {
        Inlined::read(&lenient::object(lenient::parse(bytes)?)?)
    }

    /// Makes a list of the content of a `.conf`: one plugin, which carries the network's name
    /// and version.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what is wrong.
    pub fn up_convert(bytes: &[u8]) -> Result<Self> {
        let plugin = lenient::object(lenient::parse(bytes)?)?;
        let has = |key: &str| lenient::get(&plugin, key).is_some();
        if has("plugins") && !has("type") {
            return Err(ConfigError::List);
        }
        Ok(Self {
            cni_version: read_version(&plugin, &[])?,
            name: read_name(&plugin)?,
            disable_check: false,
            disable_gc: false,
            plugins: vec![PluginConfig::from_json(Value::Object(plugin))?],
        })
    }
}

impl TryFrom<Map<String, Value>> for NetworkConfigList {
    type Error = ConfigError;

    fn try_from(object: Map<String, Value>) -> Result<Self> {
        let Inlined { list, .. } = Inlined::read(&object)?;
        if list.plugins.is_empty() { Err(ConfigError::NoPlugins) } else { Ok(list) }
    }
}

impl Inlined {
    fn read(object: &Map<String, Value>) -> Result<Self> {
        let only = read_bool(object, "loadOnlyInlinedPlugins")?;
        let plugins = match lenient::get(object, "plugins") {
            None if only => return Err(ConfigError::NothingInlined),
            None => Vec::new(),
            Some(Value::Array(plugins)) if plugins.is_empty() => {
                return Err(ConfigError::NoPlugins);
            }
            Some(Value::Array(plugins)) if plugins.len() > MOST_PLUGINS => {
                return Err(ConfigError::TooManyPlugins(plugins.len()));
            }
            Some(Value::Array(plugins)) => plugins
                .iter()
                .enumerate()
                .map(|(index, plugin)| {
                    PluginConfig::from_json(plugin.clone())
                        .map_err(|source| ConfigError::Plugin { index, source: Box::new(source) })
                })
                .collect::<Result<_>>()?,
            Some(other) => return Err(Mismatch::new("plugins", "a list", other).into()),
        };
        let list = NetworkConfigList {
            cni_version: read_version(object, &read_versions(object)?)?,
            name: read_name(object)?,
            disable_check: read_bool(object, "disableCheck")?,
            disable_gc: read_bool(object, "disableGC")?,
            plugins,
        };
        Ok(Self { list, only })
    }
}

fn read_name(object: &Map<String, Value>) -> Result<String> {
    let name = lenient::text(object, "name")?.ok_or(ConfigError::NoName)?;
    name::check_network(name)?;
    Ok(name.to_owned())
}

/// The highest version that this runtime speaks, of `cniVersion` and `others`. Where it
/// speaks none of them, `cniVersion` is taken as it is, and the plugins have their say.
fn read_version(object: &Map<String, Value>, others: &[Version]) -> Result<Version> {
    let own = lenient::text(object, "cniVersion")?.map(str::parse).transpose()?;
    let supported = own.iter().chain(others).copied().filter(|version| *version <= Version::LATEST);
    Ok(supported.max().or(own).unwrap_or(Version::V0_1_0))
}

fn read_versions(object: &Map<String, Value>) -> Result<Vec<Version>> {
    const EXPECTED: &str = "a list of version strings";
    match lenient::get(object, "cniVersions") {
        None => Ok(Vec::new()),
        Some(Value::Array(versions)) => versions
            .iter()
            .map(|version| match version {
                Value::String(text) => Ok(text.parse()?),
                other => Err(Mismatch::new("cniVersions", EXPECTED, other).into()),
            })
            .collect(),
        Some(other) => Err(Mismatch::new("cniVersions", EXPECTED, other).into()),
    }
}

fn read_bool(object: &Map<String, Value>, key: &str) -> Result<bool> {
    match lenient::get(object, key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(Mismatch::new(key, "true or false", other).into()),
    }
}

#[cfg(test)]
mod tests;
