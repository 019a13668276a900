//! Logs: lines for people or JSON for machines, on standard error; or, instead of lines for people, what
//! systemd's journal takes.
//!
//! Plugins, containers and users choose some of what is logged. In lines for people one place makes it safe
//! to show: the format of fields. JSON has its own escapes.

use std::fmt::Debug;
use std::io::{IsTerminal, stderr};

use clap::ValueEnum;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use super::journald;
use crate::plain;

/// How much is logged, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Least severe level that is logged; debug adds the bodies of calls and answers
    /// [default: info for serve, error for validate, warn for the others]
    #[arg(long, value_name = "LEVEL", global = true, display_order = 99)]
    #[arg(env = "CNM_CNI_LOG_LEVEL")]
    log_level: Option<Level>,
    /// Lines for people (with colour on a terminal, unless NO_COLOR is set; in systemd's journal each field
    /// is one of the journal, as F_CONTAINER), or JSON
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

/// Starts logging. Libraries log only warnings and errors: their debug lines would hide the driver's own
/// lines.
pub(super) fn start(args: &Args, default: Level) {
    let level = match args.log_level.unwrap_or(default) {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let lines = fmt::layer().with_writer(stderr);
    let lines = match (args.log_format, journald::connected()) {
        (Format::Text, Some(journald)) => journald.boxed(),
        (Format::Text, None) => {
            let uncoloured = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            lines
                .fmt_fields(debug_fn(field).delimited(" "))
                .with_target(false)
                .with_ansi(!uncoloured && stderr().is_terminal())
                .boxed()
        }
        (Format::Json, _) => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    registry().with(lines.with_filter(targets)).init();
}

/// Writes a field of a line for people.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    let value = plain::line(&value);
    match field.name() {
        "message" => writer.write_str(&value),
        name => write!(writer, "{name}={value}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_others_wrote_neither_forges_a_line_nor_reaches_the_terminal() {
        let log = Log::default();
        let lines = fmt::layer().with_writer({
            let log = log.clone();
            move || log.clone()
        });
        let lines = lines.fmt_fields(debug_fn(field).delimited(" ")).with_ansi(false);
        tracing::subscriber::with_default(registry().with(lines), || {
            let forged = "x\n2026-01-01T00:00:00Z  INFO all is well\x1b[2J";
            let span = tracing::info_span!("call", method = %forged);
            span.in_scope(|| {
                tracing::info!(error = %forged, text = forged, "it said {forged}");
                tracing::info!(long = %"x".repeat(1 << 20), "long");
            });
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 2, "{log}");
        assert!(!log.contains('\x1b') && log.contains("error=x\\n2026"), "{log}");
        assert!(log.len() < 3 * plain::SHOWN);
    }
}
