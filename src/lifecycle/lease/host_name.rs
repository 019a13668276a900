//! The container's host name, for its request to the DHCP server. Docker tells it to no driver, but a process
//! of the container is in the container's network namespace, and sees it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::gethostname;
use tokio::time::sleep;

use super::daemon::numbered;
use crate::cni;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::Result;
use crate::lifecycle::record::Attachment;
use crate::netns::{self, Identity};
use crate::translate;

/// How long the container's runtime may take to set the name. Before Docker 28 it does so after the interface
/// has arrived; until then the container has the host's.
const UNTIL_SET: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

const OWN_UTS: &str = "/proc/self/ns/uts";

/// The parameters for `dhcp` in the container at `sandbox`. Where the chain has the server told a host name, they
/// have the container's, unless the user has chosen another.
pub(super) async fn with_host_name(attachment: &Attachment, sandbox: &Path) -> cni::Attachment {
    let mut parameters = attachment.parameters.clone();
    let Some(key) = translate::dhcp_host_name_arg(&attachment.list) else { return parameters };
    // What the driver itself has told in place of a pod's name counts as nothing.
    let ours = translate::kubernetes_args(&parameters.container_id);
    if parameters.args.iter().any(|arg| arg.0 == key && !ours.contains(arg)) {
        return parameters;
    }
    match host_name(sandbox).await {
        Ok(Some(name)) => {
            parameters.args.retain(|arg| arg.0 != key);
            parameters.args.push((key.to_owned(), name));
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, attachment = %attachment.id, "the DHCP server is told no host name");
        }
    }
    parameters
}

/// The host name of the container at `sandbox`. None if it has the host's: the server is to know the host by it.
async fn host_name(sandbox: &Path) -> Result<Option<String>> {
    let (Some(sandbox), Some(hosts)) =
        (netns::identity(sandbox)?, netns::identity(Path::new(OWN_UTS))?)
    else {
        return Ok(None);
    };
    let hosts_name = gethostname().unwrap_or_default();
    let deadline = Instant::now() + UNTIL_SET;
    while let Some(process) = process_in(sandbox).await?
        && netns::identity(&process.join("ns/uts"))? != Some(hosts)
    {
        let name = netns::host_name(&process).await?;
        if *name != *hosts_name {
            return Ok(Some(name));
        }
        if Instant::now() >= deadline {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(None)
}

/// A process in this network namespace, as its folder below `/proc`.
async fn process_in(namespace: Identity) -> Result<Option<PathBuf>> {
    on_blocking_thread(move || {
        let mut processes = numbered(Path::new("/proc"))?.into_iter();
        Ok(processes.find(|process| {
            matches!(netns::identity(&process.join("ns/net")), Ok(Some(it)) if it == namespace)
        }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A process in namespaces of its own, which has run `script`.
    fn container(namespaces: &[&str], script: &str) -> Child {
        let script = format!("{script}; exec sleep 60");
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["sh", "-c", &script]).spawn().unwrap()
    }

    async fn seen_of(mut container: Child) -> Option<String> {
        let sandbox = PathBuf::from(format!("/proc/{}/ns/net", container.id()));
        let own = netns::identity(Path::new("/proc/self/ns/net")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while netns::identity(&sandbox).unwrap() == own {
            assert!(Instant::now() < deadline, "it does not start");
            sleep(PAUSE).await;
        }
        let name = host_name(&sandbox).await.unwrap();
        container.kill().unwrap();
        container.wait().unwrap();
        name
    }

    #[tokio::test]
    async fn a_container_has_the_name_of_its_uts_namespace_and_the_host_keeps_its_own() {
        let set = "sleep 0.1; echo web >/proc/sys/kernel/hostname";
        assert_eq!(seen_of(container(&["--net", "--uts"], set)).await.as_deref(), Some("web"));
        assert_eq!(seen_of(container(&["--net", "--uts"], "true")).await, None);
        assert_eq!(seen_of(container(&["--net"], "true")).await, None);
    }
}
