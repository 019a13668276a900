//! Records on disk: one folder per kind, one JSON file per record, atomically written.
//!
//! ```text
//! <state-dir>/networks/<network id>.json
//! <state-dir>/attachments/<attachment id>.json
//!                        /<…>.json.unreadable    set aside, never deleted
//! ```
//!
//! A file is `{"version": N, "record": {…}}`. It is written beside its place, synced,
//! renamed over it, and the folder is synced: after a crash there is the old record or the
//! new one. What a record means is its owner's business.
//!
//! A record is obeyed by root. So it is believed only if it is root's alone: a regular file with
//! one name, the right one, that nobody else can have written.

mod error;
mod file;
mod private;

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blocking::on_blocking_thread;
use crate::{crash, durable};

use error::failed;
use file::{TEMPORARY, UNREADABLE, read_own, replace, set_aside};

pub use error::Error;
pub use private::{Private, PrivateError};

/// What can be kept in a [`Folder`].
pub trait Record: Sized + Send + 'static {
    /// Name of the folder.
    const FOLDER: &'static str;
    /// The oldest version that this program reads.
    const OLDEST: u32 = Self::VERSION;
    /// The version that this program writes, and the newest that it reads.
    const VERSION: u32;
    /// How a record of that version is written.
    type Form: Serialize;

    /// What it is kept under.
    fn key(&self) -> String;

    /// The record, as it is to be written.
    fn form(&self) -> Self::Form;

    /// Reads a record of a version that this program reads.
    ///
    /// # Errors
    /// Why it is none.
    fn read(version: u32, content: Content<'_>) -> Result<Self, String>;
}

/// The content of a record's file, whose version is known.
#[derive(Debug, Clone, Copy)]
pub struct Content<'c>(&'c [u8]);

impl Content<'_> {
    /// The record in it, in that version's form.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse<Form: DeserializeOwned>(self) -> Result<Form, String> {
        let versioned: Versioned<Form> =
            serde_json::from_slice(self.0).map_err(|error| error.to_string())?;
        Ok(versioned.record)
    }
}

/// The records of one kind.
#[derive(Debug)]
pub struct Folder<R> {
    path: PathBuf,
    of: PhantomData<fn() -> R>,
}

/// What [`Folder::open`] found.
#[derive(Debug)]
pub struct Loaded<R> {
    /// The records that could be read.
    pub records: Vec<R>,
    /// Those that could not, each set aside under the name that is given here.
    pub set_aside: Vec<SetAside>,
}

/// A file that is no record of this version, or not to be believed. Its content is kept.
#[derive(Debug)]
pub struct SetAside {
    /// Where the file is now.
    pub path: PathBuf,
    /// Why it could not be read.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Versioned<T> {
    version: u32,
    record: T,
}

const SUFFIX: &str = ".json";

impl<R: Record> Folder<R> {
    /// Opens the folder below `state_dir`, making both if need be (mode 0700), and reads
    /// every record. Half-written files of a crash are removed.
    ///
    /// # Errors
    /// The folder cannot be made or listed. A record that cannot be read is no error: it
    /// is set aside.
    pub fn open(state_dir: &Path) -> Result<(Self, Loaded<R>), Error> {
        Self::open_with(state_dir, |_| Ok(()))
    }

    /// As [`Folder::open`], with something done to each record before the next one is read. One that
    /// is found wanting then is set aside, with the reason.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_with(
        state_dir: &Path,
        mut prepare: impl FnMut(&mut R) -> Result<(), String>,
    ) -> Result<(Self, Loaded<R>), Error> {
        let path = state_dir.join(R::FOLDER);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(failed("create folder", &path))?;
        let mut loaded = Loaded { records: Vec::new(), set_aside: Vec::new() };
        for entry in fs::read_dir(&path).map_err(failed("list folder", &path))? {
            let file = entry.map_err(failed("list folder", &path))?.path();
            let name = file.to_string_lossy();
            let read = if name.ends_with(TEMPORARY) {
                if !fs::symlink_metadata(&file).is_ok_and(|found| found.is_dir()) {
                    fs::remove_file(&file).map_err(failed("remove", &file))?;
                    continue;
                }
                Err("it is a folder".to_owned())
            } else if name.ends_with(SUFFIX) {
                read(&file).and_then(|mut record| prepare(&mut record).map(|()| record))
            } else {
                continue;
            };
            match read {
                Ok(record) => loaded.records.push(record),
                Err(reason) => {
                    let path = set_aside(&file)?;
                    loaded.set_aside.push(SetAside { path, reason });
                }
            }
        }
        Ok((Self { path, of: PhantomData }, loaded))
    }

    /// Reads the records as they are now, and touches nothing: another process may be
    /// writing. What cannot be read, or was set aside for that, is left out with a warning; no
    /// folder is no records.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn glance(state_dir: &Path) -> Result<Vec<R>, Error> {
        Self { path: state_dir.join(R::FOLDER), of: PhantomData }.look()
    }

    /// As [`Folder::glance`], of this folder.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn look(&self) -> Result<Vec<R>, Error> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("list folder", &self.path))?,
        };
        let mut records = Vec::new();
        for file in entries.flatten().map(|entry| entry.path()) {
            let name = file.to_string_lossy();
            let is_record = name.ends_with(SUFFIX);
            if !is_record && !name.ends_with(UNREADABLE) {
                continue;
            }
            match read(&file) {
                Ok(record) if is_record => records.push(record),
                // One that was removed meanwhile is not missed.
                Err(reason) if file.exists() => {
                    tracing::warn!(file = %file.display(), reason, "a record cannot be read, and is left out");
                }
                _ => {}
            }
        }
        Ok(records)
    }

    /// How many files were set aside because they cannot be read.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn unreadable(&self) -> Result<usize, Error> {
        let entries = fs::read_dir(&self.path).map_err(failed("list folder", &self.path))?;
        let names = entries.flatten().map(|entry| entry.file_name());
        Ok(names.filter(|name| name.to_string_lossy().ends_with(UNREADABLE)).count())
    }

    /// Where the records are: a file for each, named after its key.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps `record` under `key`, in the place of the one that was there. When this
    /// returns, it is on disk.
    ///
    /// # Errors
    /// The file system refused; the record that was there is untouched.
    pub async fn put(&self, key: &str, record: &R) -> Result<(), Error> {
        let path = self.file(key);
        let bytes =
            encode(record).map_err(|source| Error::Encode { path: path.clone(), source })?;
        on_blocking_thread(move || replace(R::FOLDER, &path, &bytes)).await
    }

    /// Forgets the record under `key`, if there is one. When this returns, it does not come back.
    ///
    /// # Errors
    /// The file system refused.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        let path = self.file(key);
        on_blocking_thread(move || {
            crash::point(format_args!("{}: remove", R::FOLDER));
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other.map_err(failed("remove", &path))?,
            }
            crash::point(format_args!("{}: removed", R::FOLDER));
            Ok(durable::sync_folder_of(&path)?)
        })
        .await
    }

    fn file(&self, key: &str) -> PathBuf {
        self.path.join(format!("{key}{SUFFIX}"))
    }
}

fn read<R: Record>(file: &Path) -> Result<R, String> {
    let bytes = read_own(file)?;
    let record: R = decode(&bytes)?;
    let key = record.key();
    if file.file_name().is_none_or(|name| name != format!("{key}{SUFFIX}").as_str()) {
        return Err(format!("it is the record of {key:?}, by another name"));
    }
    Ok(record)
}

/// Writes the content of a record's file.
///
/// # Errors
/// The record has no JSON form.
pub fn encode<R: Record>(record: &R) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Versioned { version: R::VERSION, record: record.form() })
}

/// Reads the content of a record's file.
///
/// # Errors
/// Why it is none.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R, String> {
    // The version first, alone: a record of another version has other fields.
    let Versioned { version, .. } =
        serde_json::from_slice::<Versioned<serde::de::IgnoredAny>>(bytes)
            .map_err(|error| error.to_string())?;
    match version {
        newer if newer > R::VERSION => Err(format!(
            "it has version {newer}, of a newer program (this one reads up to version {})",
            R::VERSION
        )),
        older if older < R::OLDEST => Err(format!(
            "it has version {older} (this program reads from version {} on)",
            R::OLDEST
        )),
        version => R::read(version, Content(bytes)),
    }
}

#[cfg(test)]
mod tests;
