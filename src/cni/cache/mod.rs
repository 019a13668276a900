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

mod error;
mod file;
mod turn;

pub use error::CacheError;
pub use file::CachedAttachment;
pub use turn::Turn;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::cni::{AttachResult, Attachment, NetworkConfigList, ValidAttachment, lenient, name};
use crate::{durable, whole};
use error::{Result, failed, malformed};
use file::{KIND, Owner};

/// No attachment's file is near this size, in bytes.
const MOST: u64 = 32 << 20;

/// A folder of attachments in libcni's format. Its methods block on the disk.
#[derive(Debug, Clone)]
pub struct Cache {
    results: PathBuf,
}

impl Cache {
    /// The cache below `dir`, which is `/var/lib/cni` for all who do not say otherwise. It
    /// need not exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { results: dir.join("results") }
    }

    /// For ADD: waits for a GC to end, and keeps others from beginning. Makes the folder, so
    /// that an ADD that could not be kept fails before it runs.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or not be locked.
    pub async fn turn_for_add(&self) -> Result<Turn> {
        self.make_folder()?;
        Turn::shared(&self.results).await.map_err(failed("lock", &self.results))
    }

    /// For DEL: as for ADD, but where there is no folder, nothing is on record, nothing is
    /// made, and there is no wait.
    ///
    /// # Errors
    ///
    /// The folder cannot be locked.
    pub async fn turn_for_del(&self) -> Result<Turn> {
        Turn::shared(&self.results).await.map_err(failed("lock", &self.results))
    }

    /// For GC: waits for every ADD, DEL and GC to end, and keeps others from beginning.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or not be locked.
    pub async fn turn_for_gc(&self) -> Result<Turn> {
        self.make_folder()?;
        Turn::exclusive(&self.results).await.map_err(failed("lock", &self.results))
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
        let path = self.path(list.name(), &attachment.container_id, &attachment.if_name)?;
        let bytes = file::write(&path, list, attachment, result)?;
        self.replace(&path, &bytes)
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
        let path = self.path(network, container_id, if_name)?;
        let json = match whole::read(&path, MOST) {
            Ok(bytes) => lenient::parse(&bytes).map_err(|error| malformed(&path, error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        if json.get("kind").is_none_or(|kind| kind != KIND) {
            return file::read_bare_result(&path, json, network, container_id, if_name).map(Some);
        }
        let found = file::read(&path, json)?;
        let of = &found.attachment;
        if (found.network.as_str(), of.container_id.as_str(), of.if_name.as_str())
            == (network, container_id, if_name)
        {
            return Ok(Some(found));
        }
        Err(CacheError::Taken {
            path,
            network: found.network,
            container_id: found.attachment.container_id,
            if_name: found.attachment.if_name,
        })
    }

    /// Every attachment of a network, by file name. What cannot be read is skipped.
    ///
    /// # Errors
    ///
    /// The folder cannot be listed.
    pub fn of_network(&self, network: &str) -> Result<Vec<CachedAttachment>> {
        let found = self.files()?.into_iter().filter_map(|path| {
            let json = lenient::parse(&whole::read(&path, MOST).ok()?).ok()?;
            file::read(&path, json).ok()
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
        for path in self.files()? {
            let bytes = match whole::read(&path, MOST) {
                // Detached in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes.map_err(failed("read", &path))?,
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match lenient::parse(&bytes).and_then(serde_json::from_value::<Owner>) {
                Ok(Owner { network_name, container_id, if_name }) if network_name == network => {
                    valid.push(ValidAttachment { container_id, if_name });
                }
                Err(source) if name.starts_with(&format!("{network}-")) => {
                    return Err(CacheError::Unclear { path, source });
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
        let path = self.path(network, container_id, if_name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The names are checked: none of them can lead out of the folder.
    fn path(&self, network: &str, container_id: &str, if_name: &str) -> Result<PathBuf> {
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
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.make_folder()?;
        let beside = self.results.join(format!(".cnm-cni-{}.tmp", std::process::id()));
        Ok(durable::replace(path, &beside, bytes, durable::FOR_ROOT, |_| ())?)
    }
}
