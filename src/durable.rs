//! Files that are replaced durably: after a crash, or a loss of power, there is the old content or
//! the new one, and nothing between.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The mode of a file that only this program's user can read.
pub(crate) const FOR_ROOT: u32 = 0o600;

/// What could not be done, on which path, and why.
pub(crate) struct Failed {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Writes `bytes` to `temporary`, in the same folder, and renames that to `file`, which has `mode` then.
/// `reached` is called after each step after which a crash leaves something else:
/// `written`, `renamed`.
///
/// # Errors
/// What the file system refused first. `file` is as it was, unless only its folder could not be synced.
pub(crate) fn replace(
    file: &Path,
    temporary: &Path,
    bytes: &[u8],
    mode: u32,
    reached: impl Fn(&str),
) -> Result<(), Failed> {
    // What stands there is nothing that is wanted, and it is not followed either.
    let _ = fs::remove_file(temporary);
    let written = (|| {
        let mut open = File::options()
            .write(true)
            .create_new(true)
            .mode(FOR_ROOT)
            .open(temporary)
            .map_err(failed("create", temporary))?;
        open.write_all(bytes).map_err(failed("write", temporary))?;
        // Whatever the umask of this process is.
        let mode = Permissions::from_mode(mode);
        open.set_permissions(mode).map_err(failed("set the mode of", temporary))?;
        open.sync_all().map_err(failed("sync", temporary))?;
        reached("written");
        fs::rename(temporary, file).map_err(failed("rename", temporary))
    })();
    if written.is_err() {
        // The first error is returned. What is left is no file that is ever read.
        let _ = fs::remove_file(temporary);
    }
    written?;
    reached("renamed");
    sync_folder_of(file)
}

/// Makes durable what was renamed or removed in the folder of `path`.
///
/// # Errors
/// The folder cannot be opened or synced.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), Failed> {
    let folder = path.parent().unwrap_or(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync folder", folder))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Failed + 'a {
    move |source| Failed { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_link_that_stands_at_the_temporary_name_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let [file, temporary, other] =
            ["file", "file.tmp", "other"].map(|name| folder.path().join(name));
        fs::write(&file, "old").unwrap();
        fs::write(&other, "others'").unwrap();
        std::os::unix::fs::symlink(&other, &temporary).unwrap();
        let steps = RefCell::new(Vec::new());
        let seen = |step: &str| {
            let content = fs::read_to_string(&file).unwrap();
            steps.borrow_mut().push(format!("{step}: {content}"));
        };
        assert!(replace(&file, &temporary, b"new", FOR_ROOT, seen).is_ok());
        assert_eq!(steps.into_inner(), ["written: old", "renamed: new"]);
        assert_eq!(fs::read_to_string(&other).unwrap(), "others'");
        assert!(!temporary.exists());
    }

    #[test]
    fn what_cannot_be_renamed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [file, temporary] = ["file", "file.tmp"].map(|name| folder.path().join(name));
        fs::create_dir(&file).unwrap();
        let failed = replace(&file, &temporary, b"new", FOR_ROOT, |_| ()).err().unwrap();
        assert_eq!((failed.action, failed.path), ("rename", temporary.clone()));
        assert!(file.is_dir() && !temporary.exists());
    }
}
