//! Metrics of this process, and of the plugins that it runs.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, Usage, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::kinds::{alone, gauge, seconds};

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
}

impl Process {
    pub(super) fn starting() -> Self {
        Self { started: SystemTime::now() }
    }

    /// The metrics as they are now. What the kernel does not say is left out.
    pub(super) fn register(&self, registry: &mut Registry) {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let build = std::iter::once((version, 1.0));
        gauge(registry, "build_info", "The version of the driver; always 1", build);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge(
            registry,
            "process_start_time_seconds",
            "When the driver was started, in seconds since 1970",
            alone(seconds(started).round()),
        );
        for (who, name, help) in [
            (
                UsageWho::RUSAGE_SELF,
                "process_cpu_seconds",
                "Time of the processors that the driver itself has used",
            ),
            (
                UsageWho::RUSAGE_CHILDREN,
                "plugins_cpu_seconds",
                "Time of the processors that plugins, and other programs of the driver, have used",
            ),
        ] {
            let Ok(usage) = getrusage(who) else { continue };
            let counter = Counter::<f64, AtomicU64>::default();
            counter.inc_by(cpu_seconds(&usage));
            registry.register(name, help, counter);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kib) = number(&status, "VmRSS:") {
            let help = "Memory of the driver that is in use, in bytes";
            gauge(registry, "process_resident_memory_bytes", help, alone(kib * 1024.0));
        }
        if let Some(threads) = number(&status, "Threads:") {
            gauge(registry, "process_threads", "Threads of the driver", alone(threads));
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is that of this folder.
            let count = files.count().saturating_sub(1) as f64;
            gauge(registry, "process_open_fds", "Files that the driver has open", alone(count));
        }
        if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let help = "How many files the driver may have open";
            gauge(registry, "process_max_fds", help, alone(most as f64));
        }
    }
}

fn cpu_seconds(usage: &Usage) -> f64 {
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}

/// The number of a line in `/proc/self/status`.
fn number(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
