//! One file of the cache, in libcni's format.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{Result, failed, malformed};
use crate::cni::result::InvalidResult;
use crate::cni::{AttachResult, Attachment, NetworkConfigList, Version};

/// The value of `kind` in a file.
pub(super) const KIND: &str = "cniCacheV1";

/// An attachment that an ADD made.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedAttachment {
    /// The network's name.
    pub network: String,
    /// The parameters of the ADD.
    pub attachment: Attachment,
    /// The chain as ADD ran it. None where the file does not have the whole of it: libcni
    /// leaves out the plugins of the network's folder.
    pub list: Option<NetworkConfigList>,
    /// What the ADD gave.
    pub result: Option<AttachResult>,
}

/// A file's JSON. Go leaves out what is empty.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    kind: String,
    container_id: String,
    /// Base64 of the configuration list.
    config: Option<String>,
    if_name: String,
    network_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netns: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cni_args: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    capability_args: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

/// Whose attachment a file is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    pub(super) network_name: String,
    pub(super) container_id: String,
    pub(super) if_name: String,
}

/// The text of the file at `path` for what an ADD gave.
pub(super) fn write(
    path: &Path,
    list: &NetworkConfigList,
    attachment: &Attachment,
    result: &AttachResult,
) -> Result<Vec<u8>> {
    let unwritten = |source: serde_json::Error| failed("write", path)(source.into());
    // The oldest versions have no form for a result without an address.
    let result = result
        .to_version(list.cni_version())
        .or_else(|_| result.to_version(Version::LATEST))
        .map_err(|source| malformed(path, source))?;
    let mut config = serde_json::to_value(list).map_err(unwritten)?;
    config["loadOnlyInlinedPlugins"] = Value::Bool(true);
    let stored = Stored {
        kind: KIND.to_owned(),
        container_id: attachment.container_id.clone(),
        config: Some(BASE64.encode(config.to_string())),
        if_name: attachment.if_name.clone(),
        network_name: list.name().to_owned(),
        netns: attachment.netns.clone(),
        cni_args: attachment.args.clone(),
        capability_args: attachment.capability_args.clone(),
        result: Some(result),
    };
    serde_json::to_vec(&stored).map_err(unwritten)
}

/// Reads what ADD gave. `path` is for the error.
pub(super) fn read(path: &Path, json: Value) -> Result<CachedAttachment> {
    let stored: Stored =
        serde_json::from_value(json).map_err(|error| malformed(path, error.into()))?;
    if stored.kind != KIND {
        let kind = serde::de::Error::custom(format!("its kind is {:?}, not {KIND:?}", stored.kind));
        return Err(malformed(path, InvalidResult::Syntax(kind)));
    }
    let result = stored.result.map(|json| AttachResult::from_json(json, Version::V0_1_0));
    Ok(CachedAttachment {
        network: stored.network_name,
        attachment: Attachment {
            container_id: stored.container_id,
            netns: stored.netns,
            if_name: stored.if_name,
            args: stored.cni_args,
            capability_args: stored.capability_args,
        },
        list: stored.config.as_deref().and_then(read_whole_list),
        result: result.transpose().map_err(|source| malformed(path, source))?,
    })
}

/// The list, if all of its plugins are in it.
fn read_whole_list(config: &str) -> Option<NetworkConfigList> {
    let bytes = BASE64.decode(config).ok()?;
    let inlined = NetworkConfigList::parse_inlined(&bytes).ok()?;
    inlined.only.then_some(inlined.list)
}

/// The form from before `kind`: the result alone.
pub(super) fn read_bare_result(
    path: &Path,
    json: Value,
    network: &str,
    container_id: &str,
    if_name: &str,
) -> Result<CachedAttachment> {
    let result =
        AttachResult::from_json(json, Version::V0_1_0).map_err(|source| malformed(path, source))?;
    Ok(CachedAttachment {
        network: network.to_owned(),
        attachment: Attachment {
            container_id: container_id.to_owned(),
            if_name: if_name.to_owned(),
            ..Attachment::default()
        },
        list: None,
        result: Some(result),
    })
}
