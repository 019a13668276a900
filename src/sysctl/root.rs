//! Where settings are read and set.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// `/proc/sys` in an instance of procfs that nobody else sees.
///
/// The kernel remembers each file below `/proc/sys/net` that somebody has looked up, for each namespace, for as long as the
/// namespace lives. All those of one setting have one name, and whoever looks it up in `/proc`, be it a plugin, Docker or
/// this driver, passes those of all namespaces. Beside a thousand containers that takes longer than all else in a
/// Join. What is remembered of this instance is forgotten with it.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    /// Mounted nowhere; the instance ends with it.
    _instance: Option<OwnedFd>,
}

impl Root {
    /// Where there can be no such instance, as before Linux 5.2, this is `/proc/sys` itself.
    pub(super) fn open() -> Self {
        let instance = instance().inspect_err(|error| {
            tracing::debug!(%error, "settings are read in /proc");
        });
        let proc = match &instance {
            Ok(instance) => format!("/proc/self/fd/{}", instance.as_raw_fd()),
            Err(_) => "/proc".to_owned(),
        };
        Self { path: Path::new(&proc).join("sys"), _instance: instance.ok() }
    }

    /// The file of a setting, or a folder of settings.
    pub(super) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Ends the instance in the background: to forget many files takes the kernel a millisecond.
    pub(super) fn end_soon(self) {
        tokio::task::spawn_blocking(move || drop(self));
    }
}

fn instance() -> rustix::io::Result<OwnedFd> {
    let proc = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&proc)?;
    fsmount(&proc, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_is_an_instance_of_its_own_and_has_the_same_settings() {
        const SETTING: &str = "net/core/somaxconn";
        let (proc, root) = (Path::new("/proc/sys"), Root::open());
        let device = |folder: PathBuf| fs::metadata(folder).unwrap().dev();
        assert_ne!(device(root.join("net")), device(proc.join("net")));
        let value = |file: PathBuf| fs::read_to_string(file).unwrap();
        assert_eq!(value(root.join(SETTING)), value(proc.join(SETTING)));
    }
}
