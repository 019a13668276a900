//! Whose files are obeyed: plugins run as root, and configurations name them. So only root may
//! be able to change one.
//!
//! A file is judged with all that leads to it, as sshd judges what it reads (StrictModes): each
//! folder from `/` down, along links. Each is opened in the one before it that was found to be
//! root's, and judged by its descriptor: nobody else can swap what was judged for something else.
//! In a folder that others can write and that is sticky, as `/tmp`, what is root's is safe.

mod judged;
mod untrusted;
mod walk;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::geteuid;

pub(crate) use judged::Judged;
pub use untrusted::Untrusted;

use judged::LOOK;
use walk::Walk;

/// Whose files are obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Those that nobody but root can change, and the user that this program runs as.
    Root,
    /// Anybody's.
    Anybody,
}

impl Trust {
    /// Finds `path`, along links, and judges it and what leads to it. None if it is not there.
    ///
    /// # Errors
    /// A user who is not trusted could change it, or put it there; or it cannot be looked at.
    pub(crate) fn judge(self, path: &Path) -> Result<Option<Judged>, Untrusted> {
        let Some(judged) = self.judge_way(path)? else { return Ok(None) };
        let counts = judged.is_file() || judged.is_folder();
        if self == Self::Root && counts && judged.mode & 0o022 != 0 {
            let (asked, mode) = (absolute(path)?, judged.mode);
            return Err(Untrusted::Writable { asked, path: judged.path, mode });
        }
        Ok(Some(judged))
    }

    /// As [`Trust::judge`], whatever the mode of `path` itself.
    ///
    /// # Errors
    /// As [`Trust::judge`].
    pub(crate) fn judge_way(self, path: &Path) -> Result<Option<Judged>, Untrusted> {
        let io = |source| Untrusted::Io { path: path.to_owned(), source };
        let absolute = absolute(path)?;
        match self {
            Self::Root => Walk::along(absolute),
            Self::Anybody => match open(&absolute, LOOK, Mode::empty()) {
                Ok(file) => {
                    let stat = fstat(&file).map_err(|errno| io(errno.into()))?;
                    Ok(Some(Judged::new(file, absolute, &stat)))
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
                Err(errno) => Err(io(errno.into())),
            },
        }
    }
}

/// Opens a file that this program itself has made or makes (mode 0600), to read and write. It is
/// not cut, and no link is followed.
///
/// # Errors
/// It is another user's, has a second name, or is no regular file.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    open_judged(path, options.read(true).write(true).create(true).truncate(false).mode(0o600))
}

/// The same to append to: whatever else writes it, no line is written over.
///
/// # Errors
/// As [`open_own`].
pub(crate) fn open_own_to_append(path: &Path) -> io::Result<File> {
    open_judged(path, File::options().read(true).append(true).create(true).mode(0o600))
}

/// Opens a file to read that only this program's user can have written. No link is followed.
///
/// # Errors
/// It is another user's, others can write it, it has a second name, or is no regular file.
pub(crate) fn open_own_to_read(path: &Path) -> io::Result<File> {
    let file = open_judged(path, File::options().read(true))?;
    let mode = file.metadata()?.mode();
    match mode & 0o022 {
        0 => Ok(file),
        _ => Err(io::Error::other(format!("others can write it (mode {:04o})", mode & 0o7777))),
    }
}

/// Opens a file without waiting (a pipe has no end, and a device may not have one), and judges it.
fn open_judged(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file =
        options.custom_flags(flags).open(path).map_err(|error| match error.raw_os_error() {
            Some(nix::libc::ELOOP) => io::Error::other("it is a link"),
            _ => error,
        })?;
    let found = file.metadata()?;
    match () {
        () if !found.is_file() => Err(io::Error::other("it is not a regular file")),
        () if found.uid() != geteuid().as_raw() => {
            Err(io::Error::other(format!("it belongs to user {}", found.uid())))
        }
        () if found.nlink() > 1 => Err(io::Error::other("it has a second name (a hard link)")),
        () => Ok(file),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Untrusted> {
    let failed = |source| Untrusted::Io { path: path.to_owned(), source };
    std::path::absolute(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> String {
        Trust::Root.judge(path).unwrap_err().to_string()
    }

    /// A folder, and a file in a folder in it, all root's.
    fn tree() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("net.d");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("10-net.conflist");
        fs::write(&file, "{}").unwrap();
        mode(&folder, 0o755);
        mode(&file, 0o644);
        (dir, folder, file)
    }

    #[test]
    fn what_others_can_write_is_refused_by_name() {
        let (_dir, folder, file) = tree();
        assert_eq!(Trust::Root.judge(&file).unwrap().unwrap().path, file);
        assert!(Trust::Root.judge(&folder.join("none")).unwrap().is_none());
        mode(&file, 0o666);
        let error = refusal(&file);
        assert!(error.contains("10-net.conflist") && error.contains("0666"), "{error}");
        assert!(error.contains(&format!("chmod go-w {}", file.display())), "{error}");
        Trust::Anybody.judge(&file).unwrap().unwrap();
        mode(&file, 0o644);
        // Others could put anything there, sticky or not.
        for open in [0o775, 0o1777] {
            mode(&folder, open);
            assert!(refusal(&folder).contains("net.d"));
            assert!(refusal(&folder.join("none")).contains(&format!("{open:04o}")));
        }
        // They cannot take away what is root's in a sticky folder.
        Trust::Root.judge(&file).unwrap().unwrap();
    }

    #[test]
    fn every_folder_on_the_way_counts() {
        let (dir, folder, file) = tree();
        mode(dir.path(), 0o777);
        for path in [&file, &folder, &folder.join("none")] {
            let error = refusal(path);
            assert!(error.contains(&format!("depends on {}, which", dir.path().display())));
        }
        mode(dir.path(), 0o1777);
        Trust::Root.judge(&file).unwrap().unwrap();
        if geteuid().is_root() {
            chown(&folder, Some(65534), None).unwrap();
            assert!(refusal(&file).contains("user 65534"));
        }
    }

    #[test]
    fn what_a_link_leads_through_and_to_counts_and_is_named() {
        let (dir, folder, file) = tree();
        let (elsewhere, link) = (dir.path().join("elsewhere"), folder.join("link"));
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("bridge"), "").unwrap();
        symlink("../elsewhere/bridge", &link).unwrap();
        let judged = Trust::Root.judge(&link).unwrap().unwrap();
        assert_eq!(judged.path, elsewhere.join("bridge"));
        mode(&elsewhere, 0o777);
        assert!(refusal(&link).contains(&format!("{}, which can be", elsewhere.display())));
        mode(&elsewhere, 0o755);
        mode(&elsewhere.join("bridge"), 0o606);
        assert!(refusal(&link).contains("elsewhere/bridge, which can be"), "{}", refusal(&link));
        let round = folder.join("round");
        symlink("round", &round).unwrap();
        assert!(matches!(Trust::Root.judge(&round), Err(Untrusted::Io { .. })));
        // A folder's own `..` is followed on the disk, not in the text.
        let detour = folder.join("../net.d/./10-net.conflist");
        assert_eq!(Trust::Root.judge(&detour).unwrap().unwrap().path, file);
    }

    #[test]
    fn a_device_is_found_and_is_no_file() {
        let (_dir, folder, _) = tree();
        let mask = folder.join("20-masked.conflist");
        symlink("/dev/null", &mask).unwrap();
        let judged = Trust::Root.judge(&mask).unwrap().unwrap();
        assert!(!judged.is_file() && judged.read().is_err());
    }

    #[test]
    fn what_was_judged_stays_this_one() {
        let (_dir, folder, file) = tree();
        let judged = Trust::Root.judge(&file).unwrap().unwrap();
        fs::rename(&file, folder.join("away")).unwrap();
        fs::write(&file, "another").unwrap();
        assert_eq!(fs::read_to_string(judged.descriptor()).unwrap(), "{}");
        assert_eq!(io::read_to_string(judged.read().unwrap()).unwrap(), "{}");
    }

    #[test]
    fn an_own_file_is_never_cut_nor_one_behind_a_link() {
        let (_dir, folder, file) = tree();
        let (link, second) = (folder.join("link"), folder.join("second"));
        symlink(&file, &link).unwrap();
        assert_eq!(open_own(&link).unwrap_err().to_string(), "it is a link");
        fs::hard_link(&file, &second).unwrap();
        assert!(open_own(&second).unwrap_err().to_string().contains("second name"));
        fs::remove_file(&second).unwrap();
        open_own(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "{}");
        nix::unistd::mkfifo(&second, Mode::S_IRUSR).unwrap();
        assert!(open_own(&second).is_err());
    }
}
