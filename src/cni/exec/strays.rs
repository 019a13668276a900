//! Plugins that a runtime which was killed has left running: their end.
//!
//! They are known by their environment, which whatever they run inherits. Each execution is a
//! process group of its own (see `crate::process`), and goes with all of it. What a plugin has made a
//! daemon of leads a session of its own, and is left alone.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid, getsid};
use tokio::time::{Instant, sleep, timeout};

/// How long they may go on: a plugin that ends by itself leaves less to repair than a killed one.
const GRACE: Duration = Duration::from_secs(5);

/// How long killed processes may take to go. One that is stuck in the kernel does not.
const LIMIT: Duration = Duration::from_secs(5);

/// How often to look whether they are gone.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until every execution for one of these containers is gone, and kills those that take long.
pub(in crate::cni) async fn end(containers: HashSet<String>) {
    let begun = Instant::now();
    let all_gone = async {
        loop {
            let of_containers = containers.clone();
            let look = tokio::task::spawn_blocking(move || groups(&of_containers));
            // Nothing there panics: the runtime is going down.
            let Ok(groups) = look.await else { return };
            if groups.is_empty() {
                return;
            }
            let overdue = groups.into_iter().filter(|_| begun.elapsed() > GRACE);
            for (group, container) in overdue {
                tracing::info!(%group, container, "ending a plugin that the last driver left running");
                // It fails only if no process is left to kill.
                let _ = killpg(group, Signal::SIGKILL);
            }
            sleep(PAUSE).await;
        }
    };
    if timeout(GRACE + LIMIT, all_gone).await.is_err() {
        tracing::warn!("plugins that the last driver left running do not end");
    }
}

/// The process groups of executions for these containers, each with its container.
fn groups(containers: &HashSet<String>) -> HashSet<(Pid, String)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| {
        // A zombie's is empty: it does nothing any more.
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let id = variables.find_map(|variable| variable.strip_prefix(b"CNI_CONTAINERID="))?;
        let container = containers.get(str::from_utf8(id).ok()?)?;
        let pid = Some(Pid::from_raw(pid));
        let group = getpgid(pid).ok()?;
        (getsid(pid).ok()? != group).then(|| (group, container.clone()))
    })
    .collect()
}
