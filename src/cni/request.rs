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

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::lenient::is_key;
use super::{Attachment, NetworkConfigList, PluginConfig, ValidAttachment};

/// One plugin's request configuration. It borrows all that it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) list: &'a NetworkConfigList,
    pub(super) plugin: &'a PluginConfig,
    /// The result so far, in the list's version.
    pub(super) prev_result: Option<&'a Value>,
    /// The attachment, for the verbs that have one.
    pub(super) attachment: Option<&'a Attachment>,
    /// What is still in use; for GC only.
    pub(super) valid_attachments: Option<&'a [ValidAttachment]>,
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
            object.serialize_entry(key, value)?;
        }
        if !runtime_config.is_empty() {
            object.serialize_entry("runtimeConfig", &runtime_config)?;
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
