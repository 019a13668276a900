//! Logs: lines for people or JSON for machines, always on standard error.

use std::io::{IsTerminal, stderr};

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// How much is logged, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Least severe level that is logged; debug adds the bodies of calls and answers
    /// [default: info for serve, error for validate, warn for the others]
    #[arg(long, value_name = "LEVEL", global = true, display_order = 99)]
    #[arg(env = "CNM_CNI_LOG_LEVEL")]
    log_level: Option<Level>,
    /// Lines for people (with colour on a terminal, unless NO_COLOR is set), or JSON
    #[arg(long, value_name = "FORMAT", global = true, display_order = 100)]
    #[arg(env = "CNM_CNI_LOG_FORMAT", default_value = "text")]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Starts logging. Libraries are heard from warnings up: at their debug levels they would
/// drown the driver's own lines.
pub(super) fn start(args: &Args, default: Level) {
    let level = match args.log_level.unwrap_or(default) {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let heard = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let lines = fmt::layer().with_writer(stderr);
    let lines = match args.log_format {
        Format::Text => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            lines.with_target(false).with_ansi(!plain && stderr().is_terminal()).boxed()
        }
        Format::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    registry().with(lines.with_filter(heard)).init();
}
