//! One file of a record: read only if it is this program's own, replaced as a whole.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Error, failed};
use crate::{crash, durable, trust, whole};

/// What a name ends in until the file is whole, and once it is set aside.
pub(super) const TEMPORARY: &str = ".tmp";
pub(super) const UNREADABLE: &str = ".unreadable";

/// No record is near this size, in bytes.
const MOST: u64 = 16 << 20;

/// Reads a file that only this program's user can have written.
pub(super) fn read_own(file: &Path) -> Result<Vec<u8>, String> {
    let reason = |error: io::Error| error.to_string();
    trust::open_own_to_read(file).and_then(|file| whole::all_of(file, MOST)).map_err(reason)
}

/// Gives the file a name under which it is not read. What has such a name already stays.
pub(super) fn set_aside(file: &Path) -> Result<PathBuf, Error> {
    let names = (0..).map(|attempt: u32| {
        let mut name = OsString::from(file);
        if attempt > 0 {
            name.push(format!(".{attempt}"));
        }
        name.push(UNREADABLE);
        PathBuf::from(name)
    });
    let mut free = names.filter(|name| fs::symlink_metadata(name).is_err());
    // The numbers do not come to an end.
    let path = free.next().unwrap_or_default();
    fs::rename(file, &path).map_err(failed("set aside", file))?;
    Ok(path)
}

/// Keeps `bytes` in the place of what was in the file.
pub(super) fn replace(kind: &str, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    crash::point(format_args!("{kind}: write"));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY);
    let reached = |step: &str| crash::point(format_args!("{kind}: {step}"));
    durable::replace(path, Path::new(&temporary), bytes, durable::FOR_ROOT, reached)?;
    crash::point(format_args!("{kind}: kept"));
    Ok(())
}
