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

use crate::{crash, durable};

use error::failed;
use file::{TEMPORARY, UNREADABLE, read_own, replace, set_aside};

pub use error::Error;
pub use private::{Private, PrivateError};

/// What can be kept in a [`Folder`].
pub trait Record: Serialize + DeserializeOwned + Send + 'static {
    /// Name of the folder.
    const FOLDER: &'static str;
    /// The version that this program writes, and the only one that it reads.
    const VERSION: u32;

    /// What it is kept under.
    fn key(&self) -> String;
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
    serde_json::to_vec(&Versioned { version: R::VERSION, record })
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
    if version != R::VERSION {
        return Err(format!("version {version} (this program reads version {})", R::VERSION));
    }
    let versioned: Versioned<R> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(versioned.record)
}

async fn on_blocking_thread(
    work: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<(), Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        // Nothing here panics, and nobody cancels: the runtime itself is going down.
        Err(stopped) => Err(Error::Stopped(stopped)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Note {
        key: String,
        text: String,
    }

    impl Record for Note {
        const FOLDER: &'static str = "notes";
        const VERSION: u32 = 3;

        fn key(&self) -> String {
            self.key.clone()
        }
    }

    fn note(text: &str) -> Note {
        Note { key: "a".into(), text: text.into() }
    }

    fn open(dir: &Path) -> (Folder<Note>, Loaded<Note>) {
        Folder::open(dir).unwrap()
    }

    #[tokio::test]
    async fn a_record_survives_its_folder_being_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _) = open(dir.path());
        folder.put("a", &note("first")).await.unwrap();
        folder.put("a", &note("second")).await.unwrap();
        assert_eq!(open(dir.path()).1.records, [note("second")]);

        folder.remove("a").await.unwrap();
        folder.remove("a").await.unwrap();
        assert!(open(dir.path()).1.records.is_empty());
    }

    #[tokio::test]
    async fn unreadable_records_are_set_aside_and_the_others_load() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _) = open(dir.path());
        folder.put("a", &note("x")).await.unwrap();
        let notes = dir.path().join("notes");
        fs::write(notes.join("garbage.json"), "{").unwrap();
        fs::write(notes.join("newer.json"), r#"{"version":4,"record":{"other":1}}"#).unwrap();

        let (_, loaded) = open(dir.path());
        assert_eq!(loaded.records, [note("x")]);
        assert_eq!(loaded.set_aside.len(), 2);
        assert!(loaded.set_aside.iter().any(|aside| aside.reason.contains("version 4")));
        assert_eq!(fs::read_to_string(notes.join("garbage.json.unreadable")).unwrap(), "{");
        assert!(open(dir.path()).1.set_aside.is_empty());
    }

    #[tokio::test]
    async fn a_glance_reads_what_is_whole_and_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Folder::<Note>::glance(dir.path()).unwrap(), []);
        let (folder, _) = open(dir.path());
        folder.put("a", &note("whole")).await.unwrap();
        let others = ["b.json.tmp", "c.json"].map(|name| dir.path().join("notes").join(name));
        for other in &others {
            fs::write(other, "{").unwrap();
        }
        assert_eq!(Folder::<Note>::glance(dir.path()).unwrap(), [note("whole")]);
        assert!(others.iter().all(|other| other.exists()));
    }

    #[tokio::test]
    async fn what_a_crash_left_half_written_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _) = open(dir.path());
        folder.put("a", &note("whole")).await.unwrap();
        let half = dir.path().join("notes/a.json.tmp");
        fs::write(&half, r#"{"version":3,"rec"#).unwrap();
        assert_eq!(open(dir.path()).1.records, [note("whole")]);
        assert!(!half.exists());
    }

    #[tokio::test]
    async fn a_failed_write_leaves_the_old_record_and_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _) = open(dir.path());
        folder.put("a", &note("old")).await.unwrap();
        // A folder stands where the temporary file would go.
        fs::create_dir(dir.path().join("notes/a.json.tmp")).unwrap();
        let error = folder.put("a", &note("new")).await.unwrap_err();
        assert!(error.to_string().contains("notes/a.json.tmp"), "{error}");
        fs::remove_dir(dir.path().join("notes/a.json.tmp")).unwrap();
        assert_eq!(open(dir.path()).1.records, [note("old")]);
    }
}
