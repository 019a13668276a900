//! libcni's cache: what ADD made, on disk, for the CHECK, DEL and GC of another process.
//!
//! ```text
//!   /var/lib/cni/results/<network>-<container id>-<interface>
//! ```
//!
//! Each file is one attachment, in libcni's own format (`kind` is `cniCacheV1`; `libcni/api.go`,
//! `cachedInfo`), so that a tool on libcni finds what this runtime attached, and the other
//! way round. It serves the tools that a person runs by hand: the driver keeps records of
//! its own.
//!
//! Where it departs from libcni:
//!
//! | libcni | here |
//! |---|---|
//! | keeps the bytes of the configuration file | the chain as it was run, with the plugins of the network's folder |
//! | trusts file names, in which `a-b` + `c` and `a` + `b-c` are the same | compares what stands inside, and leaves another attachment's file alone |
//! | a crash leaves half a file | a file is there as a whole or not at all |
//! | GC runs beside ADD and DEL of other processes | one waits for the other, by a lock on the folder |

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::conversion::InvalidResult;
use super::lenient;
use super::name::{self, InvalidName};
use super::turn::Turn;
use super::{AttachResult, Attachment, NetworkConfigList, ValidAttachment, Version};
use crate::durable;

/// The value of `kind` in a file.
const KIND: &str = "cniCacheV1";

/// A folder of attachments in libcni's format. Its methods block on the disk.
#[derive(Debug, Clone)]
pub struct Cache {
    results: PathBuf,
}

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

/// Why an attachment cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The network, the container or the interface cannot be called so.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is no attachment, or its result is none.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidResult,
    },
    /// The place is taken: names with a '-' in them can lead to the same file.
    #[error(
        "{} belongs to another attachment (network {network:?}, container {container_id:?}, \
         interface {if_name:?}); choose another --container-id",
        path.display()
    )]
    Taken {
        /// Which file.
        path: PathBuf,
        /// The other attachment's network.
        network: String,
        /// Its container.
        container_id: String,
        /// Its interface.
        if_name: String,
    },
    /// The file seems to be of a network that is to be collected, and does not say whose it is.
    #[error(
        "{} does not tell which attachment is valid ({source}), and GC would remove that one; \
         try again, or delete the file if its container has gone",
        path.display()
    )]
    Unclear {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

type Result<T> = std::result::Result<T, CacheError>;

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
struct Owner {
    network_name: String,
    container_id: String,
    if_name: String,
}

impl Cache {
    /// The cache below `dir`, which is `/var/lib/cni` for all who do not say otherwise. It
    /// need not exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { results: dir.join("results") }
    }

    /// For ADD: waits for a GC to end, and keeps others from beginning. Makes the folder, so
    /// that an ADD that could not be kept is found out before it is made.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or not be locked.
    pub async fn turn_for_add(&self) -> Result<Turn> {
        self.make_folder()?;
        Turn::beside_others(&self.results).await.map_err(failed("lock", &self.results))
    }

    /// For DEL: as for ADD, but where there is no folder, nothing is on record, nothing is
    /// made, and nobody is waited for.
    ///
    /// # Errors
    ///
    /// The folder cannot be locked.
    pub async fn turn_for_del(&self) -> Result<Turn> {
        Turn::beside_others(&self.results).await.map_err(failed("lock", &self.results))
    }

    /// For GC: waits for every ADD, DEL and GC to end, and keeps others from beginning.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or not be locked.
    pub async fn turn_for_gc(&self) -> Result<Turn> {
        self.make_folder()?;
        Turn::alone(&self.results).await.map_err(failed("lock", &self.results))
    }

    /// Keeps what an ADD gave, in place of an earlier one of the same attachment.
    ///
    /// # Errors
    ///
    /// A name is not valid, or the file system refuses.
    pub fn put(
        &self,
        list: &NetworkConfigList,
        attachment: &Attachment,
        result: &AttachResult,
    ) -> Result<()> {
        let file = self.file(list.name(), &attachment.container_id, &attachment.if_name)?;
        let write = |source: serde_json::Error| failed("write", &file)(source.into());
        // The oldest versions have no form for a result without an address.
        let result = result
            .to_version(list.cni_version())
            .or_else(|_| result.to_version(Version::LATEST))
            .map_err(|source| CacheError::Malformed { path: file.clone(), source })?;
        let mut config = serde_json::to_value(list).map_err(write)?;
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
        self.replace(&file, &serde_json::to_vec(&stored).map_err(write)?)
    }

    /// The attachment of these names, unless there is none on record.
    ///
    /// # Errors
    ///
    /// [`CacheError::Malformed`] where the file can be read and means nothing;
    /// [`CacheError::Taken`] where it is another attachment's.
    pub fn get(
        &self,
        network: &str,
        container_id: &str,
        if_name: &str,
    ) -> Result<Option<CachedAttachment>> {
        let file = self.file(network, container_id, if_name)?;
        let json = match fs::read(&file) {
            Ok(bytes) => lenient::parse(&bytes).map_err(|error| malformed(&file, error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &file)(error)),
        };
        if json.get("kind").is_none_or(|kind| kind != KIND) {
            return read_bare_result(&file, json, network, container_id, if_name).map(Some);
        }
        let found = read(&file, json)?;
        let of = &found.attachment;
        if (found.network.as_str(), of.container_id.as_str(), of.if_name.as_str())
            == (network, container_id, if_name)
        {
            return Ok(Some(found));
        }
        Err(CacheError::Taken {
            path: file,
            network: found.network,
            container_id: found.attachment.container_id,
            if_name: found.attachment.if_name,
        })
    }

    /// Every attachment of a network, by file name. What cannot be read is passed over.
    ///
    /// # Errors
    ///
    /// The folder cannot be listed.
    pub fn of_network(&self, network: &str) -> Result<Vec<CachedAttachment>> {
        let found = self.files()?.into_iter().filter_map(|file| {
            let json = lenient::parse(&fs::read(&file).ok()?).ok()?;
            read(&file, json).ok()
        });
        Ok(found.filter(|found| found.network == network).collect())
    }

    /// Whose attachments of a network are valid, by file name. Of a file is read no more than
    /// that: the rest may be of a later version than this runtime knows.
    ///
    /// # Errors
    ///
    /// The folder cannot be listed; [`CacheError::Unclear`] where a file that is named after
    /// the network cannot be read, as while libcni is writing it.
    pub fn valid_of_network(&self, network: &str) -> Result<Vec<ValidAttachment>> {
        let mut valid = Vec::new();
        for file in self.files()? {
            let bytes = match fs::read(&file) {
                // Detached in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes.map_err(failed("read", &file))?,
            };
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            match lenient::parse(&bytes).and_then(serde_json::from_value::<Owner>) {
                Ok(Owner { network_name, container_id, if_name }) if network_name == network => {
                    valid.push(ValidAttachment { container_id, if_name });
                }
                Err(source) if name.starts_with(&format!("{network}-")) => {
                    return Err(CacheError::Unclear { path: file, source });
                }
                _ => {}
            }
        }
        Ok(valid)
    }

    /// Every file, by name; no folder is no files.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.results) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("list", &self.results))?,
        };
        let files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        let mut files = files.map_err(failed("list", &self.results))?;
        files.sort();
        Ok(files)
    }

    /// Forgets an attachment. One that is not there is forgotten already.
    ///
    /// # Errors
    ///
    /// A name is not valid, or the file system refuses.
    pub fn remove(&self, network: &str, container_id: &str, if_name: &str) -> Result<()> {
        let file = self.file(network, container_id, if_name)?;
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &file)(error))
            }
            _ => Ok(()),
        }
    }

    /// The names are checked: none of them can lead out of the folder.
    fn file(&self, network: &str, container_id: &str, if_name: &str) -> Result<PathBuf> {
        name::check_network(network)?;
        name::check_container_id(container_id)?;
        name::check_interface(if_name)?;
        Ok(self.results.join(format!("{network}-{container_id}-{if_name}")))
    }

    fn make_folder(&self) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.results)
            .map_err(failed("create folder", &self.results))
    }

    /// Puts a whole file in its place at one go.
    fn replace(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        self.make_folder()?;
        let beside = self.results.join(format!(".cnm-cni-{}.tmp", std::process::id()));
        Ok(durable::replace(file, &beside, bytes, |_| ())?)
    }
}

fn read(file: &Path, json: Value) -> Result<CachedAttachment> {
    let stored: Stored =
        serde_json::from_value(json).map_err(|error| malformed(file, error.into()))?;
    if stored.kind != KIND {
        let kind = serde::de::Error::custom(format!("its kind is {:?}, not {KIND:?}", stored.kind));
        return Err(malformed(file, InvalidResult::Syntax(kind)));
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
        result: result.transpose().map_err(|source| malformed(file, source))?,
    })
}

/// The list, if all of its plugins are in it.
fn read_whole_list(config: &str) -> Option<NetworkConfigList> {
    let bytes = BASE64.decode(config).ok()?;
    let inlined = NetworkConfigList::parse_inlined(&bytes).ok()?;
    inlined.only.then_some(inlined.list)
}

/// The form from before `kind`: the result alone.
fn read_bare_result(
    file: &Path,
    json: Value,
    network: &str,
    container_id: &str,
    if_name: &str,
) -> Result<CachedAttachment> {
    let result =
        AttachResult::from_json(json, Version::V0_1_0).map_err(|source| malformed(file, source))?;
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

fn malformed(file: &Path, source: InvalidResult) -> CacheError {
    CacheError::Malformed { path: file.to_owned(), source }
}

impl From<durable::Failed> for CacheError {
    fn from(failed: durable::Failed) -> Self {
        Self::Io { action: failed.action, path: failed.path, source: failed.source }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { action, path, source }
}
