//! The host name of a container, which its UTS namespace has.

use std::fs::File;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::unistd::gethostname;

use super::{Result, failed, on_own_thread};

/// The host name that a process sees, by its folder below `/proc`.
///
/// # Errors
///
/// [`Error::Failed`](super::Error::Failed), also if the process has ended.
pub async fn host_name(process: &Path) -> Result<String> {
    let path = process.join("ns/uts");
    let target = path.clone();
    on_own_thread(&path, move || {
        let namespace = File::open(&target).map_err(failed("open UTS namespace", &target))?;
        setns(namespace, CloneFlags::CLONE_NEWUTS)
            .map_err(failed("enter UTS namespace", &target))?;
        let name = gethostname().map_err(failed("read the host name in", &target))?;
        Ok(name.to_string_lossy().into_owned())
    })
    .await?
}
