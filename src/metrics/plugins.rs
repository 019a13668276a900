//! Runs of plugins: how many, how they end, how long they take, and which run now.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::kinds::{Times, gauge, registered, seconds, times};
use super::names::Names;
use crate::cni::{Failure, Observer, PluginEnd, PluginRun};

/// Metrics of plugins.
#[derive(Debug)]
pub struct Plugins {
    names: Arc<Names>,
    durations: Times<Ended>,
    exhausted: Family<Conflist, Counter>,
    running: Mutex<Running>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    conflist: String,
    plugin: String,
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Conflist {
    conflist: String,
}

#[derive(Debug, Default)]
struct Running {
    /// The runs under way, by their numbers.
    runs: HashMap<u64, (Kind, Instant)>,
    /// Kinds that have run once keep their series: a metric that comes and goes cannot be drawn.
    kinds: HashSet<Kind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    conflist: String,
    plugin: String,
    verb: &'static str,
}

impl Plugins {
    pub(super) fn registered(registry: &mut Registry, names: &Arc<Names>) -> Self {
        let help = "How long runs of plugins took, by conflist, plugin, verb and outcome";
        let durations = times(registry, "plugin_run_duration_seconds", help);
        let help = "Containers that got no address because their pool was full";
        let exhausted = registered(registry, "pool_exhausted", help);
        Self { names: Arc::clone(names), durations, exhausted, running: Mutex::default() }
    }

    /// The runs under way, as they are now.
    pub(super) fn register_running(&self, registry: &mut Registry) {
        let running = self.running();
        let mut kinds: HashMap<&Kind, (u64, Duration)> =
            running.kinds.iter().map(|kind| (kind, (0, Duration::ZERO))).collect();
        for (kind, begun) in running.runs.values() {
            let (count, oldest) = kinds.entry(kind).or_default();
            *count += 1;
            *oldest = begun.elapsed().max(*oldest);
        }
        let labels = |kind: &Kind| {
            let (conflist, plugin) = (kind.conflist.clone(), kind.plugin.clone());
            vec![("conflist", conflist), ("plugin", plugin), ("verb", kind.verb.to_owned())]
        };
        gauge(
            registry,
            "plugin_runs_in_flight",
            "Plugins that run now",
            kinds.iter().map(|(kind, (count, _))| (labels(kind), *count as f64)),
        );
        gauge(
            registry,
            "plugin_run_oldest_seconds",
            "For how long the oldest of the plugins that run now has been running; 0 if none runs",
            kinds.iter().map(|(kind, (_, oldest))| (labels(kind), seconds(*oldest))),
        );
    }

    fn kind(&self, run: &PluginRun<'_>) -> Kind {
        let (conflist, plugin) = self.names.plugin(run.conflist, run.plugin);
        Kind { conflist, plugin, verb: run.verb.as_str() }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Whole even if a holder panicked: every change is one insert or remove.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Plugins {
    fn started(&self, run: &PluginRun<'_>) {
        let kind = self.kind(run);
        if let Some(conflist) = run.conflist {
            // A counter that begins at 1 has not grown for Prometheus.
            let conflist = self.names.conflist(conflist);
            drop(self.exhausted.get_or_create(&Conflist { conflist }));
        }
        let mut running = self.running();
        running.kinds.insert(kind.clone());
        running.runs.insert(run.number, (kind, Instant::now()));
    }

    fn ended(&self, run: &PluginRun<'_>, end: &PluginEnd<'_>) {
        self.running().runs.remove(&run.number);
        let Kind { conflist, plugin, verb } = self.kind(run);
        let labels = Ended { conflist, plugin, verb, outcome: end.outcome.as_str() };
        self.durations.get_or_create(&labels).observe(seconds(end.took));
        if end.failure.is_some_and(is_full_pool) {
            let conflist = self.names.conflist(run.conflist.unwrap_or_default());
            self.exhausted.get_or_create(&Conflist { conflist }).inc();
        }
    }
}

/// Whether `host-local` has no address left. Its message is the same in every version.
fn is_full_pool(failure: &Failure) -> bool {
    const FULL: &str = "no IP addresses available in range set";
    matches!(failure, Failure::Reported { msg, details, .. }
        if msg.contains(FULL) || details.contains(FULL))
}
