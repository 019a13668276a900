//! The journal of systemd: each field of a line is a field there, so that `journalctl F_CONTAINER=web` finds it.
//!
//! Only where standard error is connected to that journal, as in a service. Then nothing is written to standard
//! error: no line is there twice.

use std::array;
use std::fmt::{Debug, Write as _};
use std::io::stderr;

use nix::sys::stat::fstat;
use tracing::field::{Field, Value, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::plain;

/// How many fields `tracing` takes in a line.
const FIELDS: usize = 32;

/// Sends lines to the journal. Its message has the fields as well: it is what `journalctl` shows.
pub(super) struct Journald(tracing_journald::Layer);

/// The journal, if standard error is connected to it: then the service manager names its file in
/// `JOURNAL_STREAM`, as `DEVICE:INODE`. Programs that are started from there inherit the variable, and not
/// always standard error.
pub(super) fn connected() -> Option<Journald> {
    let named = std::env::var("JOURNAL_STREAM").ok()?;
    let (device, inode) = named.split_once(':')?;
    let found = fstat(stderr()).ok()?;
    if device.parse() != Ok(found.st_dev) || inode.parse() != Ok(found.st_ino) {
        return None;
    }
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer().ok()?.with_priority_mappings(priorities);
    Some(Journald(layer.with_syslog_identifier(env!("CARGO_PKG_NAME").to_owned())))
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Journald {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        line.put_fields_into_message();
        let none = event.metadata().fields().iter().next();
        let Some(none) = line.0.first().map(|(field, _)| field.clone()).or(none) else { return };
        let values: [(&Field, Option<&dyn Value>); FIELDS] = array::from_fn(|index| {
            line.0
                .get(index)
                .map_or((&none, None), |(field, text)| (field, Some(text as &dyn Value)))
        });
        let values = event.metadata().fields().value_set(&values);
        self.0.on_event(&Event::new(event.metadata(), &values), context);
    }
}

/// The fields of a line, as text that is safe to show.
#[derive(Default)]
struct Line(Vec<(Field, String)>);

impl Line {
    fn put_fields_into_message(&mut self) {
        let mut told = String::new();
        for (field, text) in &self.0 {
            if field.name() != "message" {
                // Writing to a string cannot fail.
                let _ = write!(told, " {}={text}", field.name());
            }
        }
        if let Some((_, message)) = self.0.iter_mut().find(|(field, _)| field.name() == "message") {
            *message += &told;
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.clone(), plain::line(value).into_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
