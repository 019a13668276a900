//! `cnm-cni serve --host-root`: lets Docker's managed plugin use the host's own files.
//!
//! A managed plugin is a container with one static program in it. But CNI plugins, the libraries and
//! programs that they use, their configurations and their records are on the host. So the host's file tree
//! is bound into the plugin, and once the socket is open, this process makes it its own root. After that
//! the paths and files are the same as without a managed plugin. No other code of this program knows about
//! managed plugins.
//!
//! The bound tree shows the host's mounts at the plugin's start, and later mounts only *if* it is bound as
//! a slave of a shared mount. This is necessary, because dockerd mounts each container's network namespace.
//! Mounts of this process are visible only here, and end with it: staging namespaces, and `/proc`, which is
//! not the host's.

use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::mounts::{self, Mount};

/// Where dockerd mounts the network namespaces of its containers.
const NAMESPACES: &str = "/run/docker/netns";

/// Makes `root` the root of this process and of all that it starts.
///
/// Must be called while the process has one thread: other threads would keep the old root.
///
/// # Errors
/// A capability is missing, `root` is not the host's tree, or later mounts of the host would not be visible
/// in it.
pub(super) fn enter(root: &Path) -> anyhow::Result<()> {
    // An own mount namespace, which gets the host's mounts and passes none on: even with a wrong `root`,
    // this /proc cannot cover the host's.
    unshare(CloneFlags::CLONE_NEWNS).context(
        "cannot make a mount namespace; the plugin needs CAP_SYS_ADMIN, see its config.json",
    )?;
    set(Path::new("/"), MsFlags::MS_SLAVE | MsFlags::MS_REC, "receive the host's mounts on")?;
    // The host's /proc would show the host's process ids, but a CNI plugin looks for itself by its id in
    // this namespace. This container's /proc has a read-only /proc/sys.
    let proc = root.join("proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &proc, Some("proc"), flags, None::<&str>)
        .with_context(|| format!("cannot mount a process file system on {}", proc.display()))?;
    nix::unistd::chroot(root)
        .with_context(|| format!("cannot make {} the root folder", root.display()))?;
    nix::unistd::chdir("/").context("cannot enter the new root folder")?;
    let mounts = mounts::seen().context("cannot read what is mounted")?;
    if !follows(&mounts, Path::new(NAMESPACES)) {
        bail!(
            "what is mounted on the host's {NAMESPACES} is not seen in {}, so that no container \
             could be reached; run 'mount --make-rshared /' on the host, as systemd does at \
             boot, and enable the plugin again",
            root.display()
        );
    }
    Ok(())
}

fn set(path: &Path, flags: MsFlags, what: &str) -> anyhow::Result<()> {
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .map_err(io::Error::from)
        .with_context(|| format!("cannot {what} {}", path.display()))
}

/// Whether mounts of another mount namespace on `path` are propagated here.
fn follows(mounts: &[Mount], path: &Path) -> bool {
    // Of several mounts on the same point the last one is on top.
    let nearest = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count());
    nearest.is_some_and(|mount| mount.slave)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "90 80 0:1 / / rw,relatime shared:7 master:1 - overlay overlay rw";
    const RUN: &str = "91 90 0:2 / /run rw,nosuid master:2 - tmpfs tmpfs rw,mode=755";

    fn sees(mounts: &[&str]) -> bool {
        follows(&mounts::read(&mounts.join("\n")), Path::new("/run/docker/netns"))
    }

    #[test]
    fn what_the_host_mounts_is_seen_where_the_nearest_mount_is_a_slave() {
        assert!(sees(&[ROOT]));
        assert!(sees(&[ROOT, RUN]));
        assert!(!sees(&[ROOT, "91 90 0:2 / /run rw,nosuid - tmpfs tmpfs rw,mode=755"]));
        assert!(!sees(&[ROOT, "91 90 0:2 / /run rw,nosuid shared:3 - tmpfs tmpfs rw,mode=755"]));
    }

    #[test]
    fn of_two_mounts_on_one_point_the_upper_counts() {
        let private = "92 91 0:3 / /run rw,nosuid - tmpfs tmpfs rw";
        assert!(!sees(&[ROOT, RUN, private]));
        assert!(sees(&[private, RUN]));
    }

    #[test]
    fn mounts_elsewhere_do_not_count() {
        assert!(!sees(&["91 90 0:2 / /runner rw master:2 - tmpfs tmpfs rw"]));
        assert!(!sees(&[]));
    }
}
