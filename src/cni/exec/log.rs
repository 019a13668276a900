//! The log's lines of plugins: one for each run, and what the plugin itself had to say.

use super::observer::{Observer, PluginEnd, PluginOutcome, PluginRun};
use crate::plain;

/// Writes to the log.
#[derive(Debug)]
pub(super) struct Log;

impl Observer for Log {
    fn started(&self, run: &PluginRun<'_>) {
        tracing::debug!(
            plugin = run.plugin,
            verb = %run.verb,
            network = run.conflist,
            container_id = run.container_id,
            ifname = run.if_name,
            "plugin starts"
        );
    }

    fn ended(&self, run: &PluginRun<'_>, end: &PluginEnd<'_>) {
        let plugin = run.plugin;
        tracing::info!(
            plugin,
            verb = %run.verb,
            network = run.conflist,
            container_id = run.container_id,
            ifname = run.if_name,
            ms = end.took.as_micros() as f64 / 1000.0,
            error = end.failure.map(tracing::field::display),
            "{}",
            match end.outcome {
                PluginOutcome::Cut => "plugin killed before its end",
                PluginOutcome::NotRun => "plugin not run",
                _ => "plugin executed",
            }
        );
        let stderr = &*plain::cut(end.stderr);
        match end.outcome {
            _ if stderr.is_empty() => {}
            PluginOutcome::Ok => tracing::debug!(plugin, stderr, "plugin wrote to standard error"),
            _ => tracing::warn!(plugin, stderr, "plugin wrote to standard error"),
        }
    }
}
