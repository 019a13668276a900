//! Metrics for Prometheus: what has happened since the driver's start, and how things stand now.
//!
//! | file | has |
//! |---|---|
//! | `calls` | Docker's calls, and those of the command line |
//! | `plugins` | runs of plugins, of which the engine tells |
//! | `happened` | attachments made, settled and removed; spares; garbage; port conflicts; checks |
//! | `state` | how things stand: gathered for each scrape by who knows |
//! | `process` | this process |
//! | `kinds` | the kinds of metrics |
//! | `names` | names as the values of labels, bounded in number |
//!
//! To count costs a call some microseconds, so it is always done; what is asked for is only who may read.
//! No label has an id, an address of a container or a container's name: the number of series does not grow
//! with what containers come and go. All names begin with `cnm_cni_`, also those of the process: the textfile
//! collector of node_exporter refuses names that it has itself.

mod calls;
mod happened;
mod kinds;
mod names;
mod plugins;
mod process;
mod state;

use std::sync::Arc;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

use names::Names;
use process::Process;

pub use calls::{Calls, InFlight};
pub use happened::{Happened, Step, Unused};
pub use plugins::Plugins;
pub use state::{OrphanState, Orphans, Pool, State};

/// The form of [`Metrics::text`], as HTTP names it.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// What all names begin with.
const PREFIX: &str = "cnm_cni";

/// All metrics of one driver.
#[derive(Debug)]
pub struct Metrics {
    /// Calls.
    pub calls: Calls,
    /// Runs of plugins.
    pub plugins: Arc<Plugins>,
    /// What has happened to attachments, and what was found.
    pub happened: Happened,
    process: Process,
    names: Arc<Names>,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let names = Arc::<Names>::default();
        let mut registry = Registry::with_prefix(PREFIX);
        Self {
            calls: Calls::registered(&mut registry),
            plugins: Arc::new(Plugins::registered(&mut registry, &names)),
            happened: Happened::registered(&mut registry, &names),
            process: Process::starting(),
            names,
            registry,
        }
    }
}

impl Metrics {
    /// All metrics, in the text format that every Prometheus reads.
    #[must_use]
    pub fn text(&self, state: &State) -> String {
        let mut now = Registry::with_prefix(PREFIX);
        self.plugins.register_running(&mut now);
        state.register(&self.names, &mut now);
        self.process.register(&mut now);
        let mut text = String::new();
        for registry in [&self.registry, &now] {
            // Writing to a string cannot fail.
            let _ = prometheus_text::encode(&mut text, registry);
        }
        text
    }
}
