//! Sends a ping from inside of a container, even if its image has no `ping`.

use std::net::IpAddr;
use std::path::Path;

use crate::process::host;

/// Sends one packet from the namespace at `sandbox`, and waits two seconds for the answer. The host's own
/// programs do both.
pub(super) async fn ping(sandbox: &Path, to: IpAddr) -> Result<(), String> {
    let (namespace, to) = (format!("--net={}", sandbox.display()), to.to_string());
    let arguments = [&*namespace, "ping", "-n", "-q", "-c", "1", "-W", "2", &to];
    match host::run("nsenter", &arguments, b"").await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err("this host has no 'nsenter' to ask with".to_owned()),
        Err(host::Failed::Exit { stderr, .. }) if stderr.trim().is_empty() => {
            Err("no answer within 2 s".to_owned())
        }
        Err(failed) => Err(failed.to_string()),
    }
}
