//! The log's lines of plugins: that one starts, that it takes long, and what came of it, with what the plugin
//! itself had to say.

use std::time::Duration;

use super::observer::{Observer, PluginEnd, PluginOutcome, PluginRun};
use crate::cni::Verb;
use crate::plain;

/// Writes to the log.
#[derive(Debug)]
pub(super) struct Log {
    /// Nobody else is told: it is a tool that runs the plugin, and shows its error itself.
    pub(super) alone: bool,
}

impl Observer for Log {
    fn started(&self, run: &PluginRun<'_>) {
        tracing::debug!(
            plugin = run.plugin,
            verb = %run.verb,
            conflist = run.conflist,
            container_id = run.container_id,
            ifname = run.if_name,
            "plugin starts"
        );
    }

    fn slow(&self, run: &PluginRun<'_>, so_far: Duration) {
        tracing::warn!(
            plugin = run.plugin,
            verb = %run.verb,
            conflist = run.conflist,
            container_id = run.container_id,
            "the plugin has run for {} s, and still runs",
            so_far.as_secs()
        );
    }

    fn ended(&self, run: &PluginRun<'_>, end: &PluginEnd<'_>) {
        let ms = end.took.as_micros() as f64 / 1000.0;
        let error = end.failure.map(ToString::to_string).unwrap_or_default();
        let outcome = match end.outcome {
            PluginOutcome::Ok => "plugin executed".to_owned(),
            PluginOutcome::Cut => "plugin killed before its end".to_owned(),
            PluginOutcome::NotRun => format!("plugin not run: {}", first_line(&error)),
            PluginOutcome::Failed | PluginOutcome::TimedOut => {
                format!("plugin failed: {}", first_line(&error))
            }
        };
        // What is in the message already is not told again.
        let error = Some(&*error).filter(|error| *error != first_line(error));
        let stderr = Some(plain::cut(end.stderr)).filter(|stderr| !stderr.is_empty());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    plugin = run.plugin,
                    verb = %run.verb,
                    conflist = run.conflist,
                    container_id = run.container_id,
                    ifname = run.if_name,
                    ms,
                    error,
                    stderr = stderr.as_deref(),
                    "{outcome}"
                )
            };
        }
        match end.outcome {
            // Plugins from before VERSION fail at it.
            _ if run.verb == Verb::Version => line!(debug),
            PluginOutcome::Ok => line!(debug),
            // Who asked for CHECK is told, and knows which complaints count. It is cut short where Docker needs
            // the interface.
            PluginOutcome::Cut if run.verb == Verb::Check => line!(debug),
            PluginOutcome::Failed if run.verb == Verb::Check => line!(info),
            _ if self.alone && stderr.is_none() => line!(debug),
            _ => line!(warn),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
