//! The daemon of IPAM plugin `dhcp`: whether it answers, and where it keeps leases.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::Result;
use crate::lifecycle::host_folders::{entries, unless_gone};
use crate::netns::{self, Identity};
use crate::translate::DHCP;

/// Whether somebody listens on the daemon's socket. With systemd's socket unit, this starts the daemon.
pub(crate) async fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}

/// The network namespaces in which a daemon of the plugin keeps leases: it has a thread in each of them.
///
/// # Errors
/// The processes of the host cannot be read.
pub(crate) async fn kept() -> Result<HashSet<Identity>> {
    on_blocking_thread(|| {
        let mut namespaces = HashSet::new();
        for process in numbered(Path::new("/proc"))? {
            let comm = process.join("comm");
            let name = unless_gone(&comm, std::fs::read_to_string(&comm))?;
            if name.is_some_and(|name| name.trim_end() == DHCP) {
                for thread in numbered(&process.join("task"))? {
                    namespaces.extend(netns::identity(&thread.join("ns/net")).ok().flatten());
                }
            }
        }
        Ok(namespaces)
    })
    .await
}

/// The entries of a folder below `/proc` that are numbers: processes, or threads.
pub(super) fn numbered(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_number = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    Ok(entries(folder)?.into_iter().filter(is_number).collect())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn a_namespace_is_kept_while_a_process_of_that_name_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(DHCP);
        std::fs::copy("/bin/sleep", &program).unwrap();
        let mut command = Command::new("unshare");
        let mut daemon = command.arg("--net").arg(&program).arg("60").spawn().unwrap();
        let process = PathBuf::from(format!("/proc/{}", daemon.id()));
        let comm = || std::fs::read_to_string(process.join("comm")).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while comm().trim_end() != DHCP {
            assert!(Instant::now() < end, "it does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Held, so that its number is not given away.
        let namespace = netns::open(&process.join("ns/net")).unwrap();
        let identity = netns::identity(&process.join("ns/net")).unwrap().unwrap();
        assert!(kept().await.unwrap().contains(&identity));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert!(!kept().await.unwrap().contains(&identity));
        drop(namespace);
    }

    #[tokio::test]
    async fn a_socket_answers_while_somebody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("dhcp.sock");
        assert!(!answers(&socket).await);
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(answers(&socket).await);
        drop(listener);
        assert!(!answers(&socket).await);
    }
}
