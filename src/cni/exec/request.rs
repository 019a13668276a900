//! What a plugin reads on its standard input.
//!
//! It is the plugin's object from the configuration, unchanged but for the keys that belong
//! to the protocol (SPEC.md section 3, "Deriving request configuration"):
//!
//! | key | what happens to it |
//! |---|---|
//! | `cniVersion`, `name` | set, from the list |
//! | `prevResult` | set to the result so far; removed where there is none |
//! | `runtimeConfig` | set to the capability arguments that the plugin declares; left alone where there are none |
//! | `capabilities` | removed |
//! | `cni.dev/…` | removed; GC sets `cni.dev/valid-attachments` |
//!
//! A whole number that is written as a fraction or with an exponent (`1500.0`, `1e+06`, as
//! templates make them) is sent as a whole number. libcni does so in passing, and plugins
//! take no other for an MTU or a rate.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Number, Value};

use crate::cni::lenient::is_key;
use crate::cni::{Attachment, NetworkConfigList, PluginConfig, ValidAttachment};

/// One plugin's request configuration. It borrows all that it says.
#[derive(Debug, Clone, Copy)]
pub(in crate::cni) struct Request<'a> {
    pub(in crate::cni) list: &'a NetworkConfigList,
    pub(in crate::cni) plugin: &'a PluginConfig,
    /// The result so far, in the list's version.
    pub(in crate::cni) prev_result: Option<&'a Value>,
    /// The attachment, for the verbs that have one.
    pub(in crate::cni) attachment: Option<&'a Attachment>,
    /// What is still in use; for GC only.
    pub(in crate::cni) valid_attachments: Option<&'a [ValidAttachment]>,
}

impl Request<'_> {
    /// The capability arguments that the plugin declares and the attachment has.
    fn runtime_config(&self) -> Map<String, Value> {
        let Some(attachment) = self.attachment else { return Map::new() };
        self.plugin
            .capabilities()
            .filter_map(|name| {
                let argument = attachment.capability_args.get(name)?;
                Some((name.to_owned(), argument.clone()))
            })
            .collect()
    }
}

impl Serialize for Request<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let runtime_config = self.runtime_config();
        let is_ours = |key: &str| {
            ["cniVersion", "name", "prevResult", "capabilities"].iter().any(|own| is_key(key, own))
                || key.starts_with("cni.dev/")
                || (is_key(key, "runtimeConfig") && !runtime_config.is_empty())
        };

        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("cniVersion", &self.list.cni_version())?;
        object.serialize_entry("name", self.list.name())?;
        for (key, value) in self.plugin.json().iter().filter(|(key, _)| !is_ours(key)) {
            object.serialize_entry(key, &Sent(value))?;
        }
        if !runtime_config.is_empty() {
            object.serialize_entry("runtimeConfig", &Sent(&runtime_config.into()))?;
        }
        if let Some(result) = self.prev_result {
            object.serialize_entry("prevResult", result)?;
        }
        if let Some(valid) = self.valid_attachments {
            object.serialize_entry("cni.dev/valid-attachments", valid)?;
            // The name in earlier prints of the specification; libcni sends both.
            object.serialize_entry("cni.dev/attachments", valid)?;
        }
        object.end()
    }
}

/// A value with its whole numbers written as such.
struct Sent<'a>(&'a Value);

impl Serialize for Sent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(object) => {
                serializer.collect_map(object.iter().map(|(key, value)| (key, Sent(value))))
            }
            Value::Array(values) => serializer.collect_seq(values.iter().map(Sent)),
            Value::Number(number) => match as_whole(number) {
                Some(whole) => whole.serialize(serializer),
                None => number.serialize(serializer),
            },
            other => other.serialize(serializer),
        }
    }
}

/// The whole number that is written in another way. Go gives up writing digits at 1e21.
fn as_whole(number: &Number) -> Option<i128> {
    if !number.as_str().contains(['.', 'e', 'E']) {
        return None;
    }
    let value = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 1e21)?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and far from the limits")]
    let whole = value as i128;
    Some(whole)
}
