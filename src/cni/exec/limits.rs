//! Limits of a plugin: its time, its output, and how many run at once.

use std::time::Duration;

use crate::cni::Verb;

/// Bounds on the execution of plugins. Times are for one execution of one plugin.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Deadline of ADD.
    pub add: Duration,
    /// Deadline of DEL.
    pub del: Duration,
    /// Deadline of CHECK.
    pub check: Duration,
    /// Deadline of GC.
    pub gc: Duration,
    /// Deadline of STATUS.
    pub status: Duration,
    /// Deadline of VERSION.
    pub version: Duration,
    /// When a plugin is told to be slow, which still runs.
    pub slow: Duration,
    /// How many bytes a plugin may write to standard output.
    pub output: usize,
    /// How many plugins run at the same time; others wait for their turn.
    pub parallel: usize,
    /// How often a plugin is run that reports "try again later" (code 11).
    pub tries: u32,
    /// The pause before the second try; it doubles before each further one.
    pub backoff: Duration,
}

impl Default for Limits {
    /// A minute and a half for what changes something: DHCP takes its time. Slow after 10 s, 1 MiB, 32
    /// plugins at once, 5 tries within three seconds.
    fn default() -> Self {
        Self {
            add: Duration::from_secs(90),
            del: Duration::from_secs(90),
            check: Duration::from_secs(30),
            gc: Duration::from_secs(90),
            status: Duration::from_secs(30),
            version: Duration::from_secs(10),
            slow: Duration::from_secs(10),
            output: 1 << 20,
            parallel: 32,
            tries: 5,
            backoff: Duration::from_millis(200),
        }
    }
}

impl Limits {
    pub(in crate::cni) fn deadline(&self, verb: Verb) -> Duration {
        match verb {
            Verb::Add => self.add,
            Verb::Del => self.del,
            Verb::Check => self.check,
            Verb::Gc => self.gc,
            Verb::Status => self.status,
            Verb::Version => self.version,
        }
    }
}
