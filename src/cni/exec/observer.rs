//! Who is told of each run of a plugin: the log, and whoever counts or keeps what happens.
//!
//! ```text
//!   started(run) ──▶ ended(run, end)     one for one, even if the run is cut short
//!           └─ slow(run) ─┘              in between, if it takes long
//!                    ended(run, end)     alone, as `NotRun`: there is no program to start
//! ```
//!
//! A plugin that is tried again is a new run each time, and so is the DEL between two tries.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::call::Call;
use super::error::Failure;
use crate::cni::Verb;

/// Is told of each run of a plugin. [`Runtime::observed`](crate::cni::Runtime::observed) takes any number of
/// them.
///
/// Docker may wait for the run: a method must be quick, and must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A plugin starts.
    fn started(&self, run: &PluginRun<'_>);

    /// A plugin has run for that long, and still runs. It is told once of each run.
    fn slow(&self, _run: &PluginRun<'_>, _so_far: Duration) {}

    /// A plugin has ended, or could not be run at all.
    fn ended(&self, run: &PluginRun<'_>, end: &PluginEnd<'_>);
}

/// One run of one plugin.
#[derive(Debug, Clone, Copy)]
pub struct PluginRun<'a> {
    /// Tells it from all other runs of the same [`Runtime`](crate::cni::Runtime).
    pub number: u64,
    /// The plugin's type.
    pub plugin: &'a str,
    /// What is asked of it.
    pub verb: Verb,
    /// Its place in the chain, from 0.
    pub position: usize,
    /// The name of the conflist; none if the plugin is only asked for its versions.
    pub conflist: Option<&'a str>,
    /// The `CNI_CONTAINERID`, for the verbs that have one.
    pub container_id: Option<&'a str>,
    /// The `CNI_IFNAME`, for the verbs that have one.
    pub if_name: Option<&'a str>,
}

/// How a run of a plugin ended.
#[derive(Debug, Clone, Copy)]
pub struct PluginEnd<'a> {
    /// How, in a word.
    pub outcome: PluginOutcome,
    /// From its start to its end, without the wait for its turn.
    pub took: Duration,
    /// Why it failed; none if it has not, or was cut short.
    pub failure: Option<&'a Failure>,
    /// The start of what it wrote to standard error, without the user's secrets.
    pub stderr: &'a str,
}

/// How a run of a plugin ended, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginOutcome {
    /// It did what it was asked to.
    Ok,
    /// It failed, or its answer cannot be used.
    Failed,
    /// It did not end in its time, and was killed.
    TimedOut,
    /// It was killed before its time was over: the time of its whole chain was, or the program stops.
    Cut,
    /// It is missing, may not be run, or could not be started.
    NotRun,
}

impl PluginOutcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Failed, Self::TimedOut, Self::Cut, Self::NotRun];

    /// The word for tables and labels, in `snake_case`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cut => "cut",
            Self::NotRun => "not_run",
        }
    }

    fn of(failure: Option<&Failure>) -> Self {
        match failure {
            None => Self::Ok,
            Some(Failure::Deadline { .. }) => Self::TimedOut,
            Some(Failure::NotFound(_) | Failure::Untrusted(_) | Failure::Unstarted { .. }) => {
                Self::NotRun
            }
            Some(_) => Self::Failed,
        }
    }
}

/// All who are told.
#[derive(Debug)]
pub(super) struct Observers {
    all: Vec<Arc<dyn Observer>>,
    next_number: AtomicU64,
}

impl Observers {
    pub(super) fn new(all: Vec<Arc<dyn Observer>>) -> Self {
        Self { all, next_number: AtomicU64::new(0) }
    }

    /// Tells of a run that starts. The value has to be told its end; dropping it means that the run was cut
    /// short.
    pub(super) fn start<'a>(&'a self, call: Call<'a>) -> Started<'a> {
        let run = self.run(call);
        self.all.iter().for_each(|observer| observer.started(&run));
        Started { observers: self, run, begun: Instant::now(), is_told: false }
    }

    /// Tells of a plugin that there is no program for.
    pub(super) fn not_run(&self, call: Call<'_>, failure: &Failure) {
        self.end(&self.run(call), Duration::ZERO, Some(failure), "");
    }

    fn run<'a>(&self, call: Call<'a>) -> PluginRun<'a> {
        PluginRun {
            number: self.next_number.fetch_add(1, Relaxed),
            plugin: call.plugin,
            verb: call.verb,
            position: call.position,
            conflist: call.network,
            container_id: call.attachment.map(|attachment| attachment.container_id.as_str()),
            if_name: call.attachment.map(|attachment| attachment.if_name.as_str()),
        }
    }

    fn end(&self, run: &PluginRun<'_>, took: Duration, failure: Option<&Failure>, stderr: &str) {
        let outcome = PluginOutcome::of(failure);
        self.tell(run, &PluginEnd { outcome, took, failure, stderr });
    }

    fn tell(&self, run: &PluginRun<'_>, end: &PluginEnd<'_>) {
        self.all.iter().for_each(|observer| observer.ended(run, end));
    }
}

/// A run that has started.
#[must_use]
pub(super) struct Started<'a> {
    observers: &'a Observers,
    run: PluginRun<'a>,
    begun: Instant,
    is_told: bool,
}

impl Started<'_> {
    /// Waits for the run, and tells if it takes longer than `slow`.
    pub(super) async fn watch<T>(&self, slow: Duration, run: impl Future<Output = T>) -> T {
        let mut run = pin!(run);
        if let Ok(ended) = timeout(slow, &mut run).await {
            return ended;
        }
        self.observers.all.iter().for_each(|observer| observer.slow(&self.run, slow));
        run.await
    }

    /// Tells how it ended; it `took` that long.
    pub(super) fn ended(mut self, took: Duration, failure: Option<&Failure>, stderr: &str) {
        self.is_told = true;
        self.observers.end(&self.run, took, failure, stderr);
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            let (outcome, took) = (PluginOutcome::Cut, self.begun.elapsed());
            self.observers.tell(&self.run, &PluginEnd { outcome, took, failure: None, stderr: "" });
        }
    }
}
