//! Whom root would obey: plugins run as root, and configurations name them. So neither may be
//! in a place that somebody else than root can write.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// Somebody else could change what root runs.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// The file or folder belongs to somebody else.
    #[error(
        "{} belongs to user {owner}, who could have root run anything by it; \
         run 'chown root' on it, or start the driver with --allow-writable",
        path.display()
    )]
    Owner {
        /// Which one.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// Others than its owner may write it.
    #[error(
        "{} can be written by others than root (mode {mode:04o}), who could have root run anything by \
         it; run 'chmod go-w' on it, or start the driver with --allow-writable",
        path.display()
    )]
    Writable {
        /// Which one.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It cannot be looked at.
    #[error("cannot look at {}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Makes sure that nobody but root can change a folder, or a file directly in it. One that is not
/// there cannot be changed either.
///
/// # Errors
/// Somebody can; the error names the first such file.
pub fn is_roots(folder: &Path) -> Result<(), Untrusted> {
    check(folder)?;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        check(&entry.path())?;
    }
    Ok(())
}

/// Follows links: what they lead to is what is read or run.
fn check(path: &Path) -> Result<(), Untrusted> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Untrusted::Io { path: path.to_owned(), source }),
    };
    if ![0, geteuid().as_raw()].contains(&found.uid()) {
        return Err(Untrusted::Owner { path: path.to_owned(), owner: found.uid() });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Untrusted::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    #[test]
    fn what_others_can_write_is_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("net.d");
        is_roots(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        let file = folder.join("10-net.conflist");
        fs::write(&file, "{}").unwrap();
        is_roots(&folder).unwrap();

        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        let error = is_roots(&folder).unwrap_err().to_string();
        assert!(error.contains("10-net.conflist") && error.contains("0666"), "{error}");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();

        fs::set_permissions(&folder, Permissions::from_mode(0o775)).unwrap();
        let error = is_roots(&folder).unwrap_err().to_string();
        assert!(error.contains("chmod go-w") && error.contains("--allow-writable"), "{error}");
    }

    #[test]
    fn what_a_link_leads_to_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, elsewhere) = (dir.path().join("bin"), dir.path().join("bridge"));
        fs::create_dir(&folder).unwrap();
        fs::write(&elsewhere, "").unwrap();
        symlink(&elsewhere, folder.join("bridge")).unwrap();
        is_roots(&folder).unwrap();
        if geteuid().is_root() {
            chown(&elsewhere, Some(65534), None).unwrap();
            let error = is_roots(&folder).unwrap_err().to_string();
            assert!(error.contains("user 65534") && error.contains("bridge"), "{error}");
        }
    }
}
