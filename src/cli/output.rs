//! Output of the verbs: a table for people, or JSON for programs.

use std::collections::HashSet;
use std::io::{ErrorKind, IsTerminal as _, Write as _, stderr, stdout};

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use super::table::{Style, Table};
use crate::plain;

/// How to print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table that fits the terminal (80 columns where there is none): long cells are wrapped
    #[default]
    Table,
    /// A table of all columns, a line for each row, however long
    Wide,
    /// An array with an object for each row; docs/operations.md tells its form
    Json,
}

/// What is printed of a list, the same for every verb that has one.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Listing {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(super) format: Format,

    /// Only what names each, a line each: what other commands take
    #[arg(long, short)]
    quiet: bool,

    /// Leave out the line with the names of the columns
    #[arg(long)]
    no_header: bool,
}

impl Listing {
    /// Prints rows: `names` has the name of each row, `table` shows the rows, and `below` has more text.
    pub(super) fn print<T: Serialize>(
        self,
        rows: &[T],
        names: impl Iterator<Item = String>,
        table: impl FnOnce() -> Table,
        below: &str,
    ) -> anyhow::Result<()> {
        write(&match (self.quiet, self.format) {
            (true, _) => {
                // A container has several ends, and a conflist several pools.
                let mut told = HashSet::new();
                names.filter(|name| told.insert(name.clone())).map(|name| line(&name)).collect()
            }
            (false, Format::Json) => json(&rows)?,
            (false, _) if rows.is_empty() => below.to_owned(),
            (false, _) => table().text(self.style()) + below,
        })
    }

    /// Whether only the names are asked for.
    pub(super) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// The look of the tables in this format.
    pub(super) fn style(self) -> Style {
        let style = self.format.style();
        Style { header: !self.no_header, ..style }
    }
}

impl Format {
    /// The look of tables on standard output.
    pub(super) fn style(self) -> Style {
        let terminal = stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style {
            width: (self != Self::Wide).then(|| width(terminal)),
            header: true,
            colour: terminal && !no_colour,
        }
    }
}

/// The width of the terminal; otherwise COLUMNS, or 80.
fn width(terminal: bool) -> u16 {
    /// What is narrower is no terminal that anybody reads.
    const LEAST: u16 = 24;
    let said = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|width| *width > 0);
    let shown = terminal.then(terminal_size::terminal_size).flatten();
    let width = shown.map(|(terminal_size::Width(width), _)| width);
    width.or_else(said).unwrap_or(80).max(LEAST)
}

/// Prints `value` as JSON, or as the text that `table` makes of it.
pub(super) fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    write(&match format {
        Format::Table | Format::Wide => table(value),
        Format::Json => json(value)?,
    })
}

/// A value as JSON that is safe to show.
fn json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(plain::json(&serde_json::to_string_pretty(value)?).into_owned() + "\n")
}

/// Writes to standard output.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    write_on(text).map(drop)
}

/// The same; returns whether there is somebody who reads it.
pub(super) fn write_on(text: &str) -> anyhow::Result<bool> {
    match stdout().write_all(text.as_bytes()) {
        // The reader has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write to standard output"),
    }
}

/// A value as one line of JSON that is safe to show.
pub(super) fn json_line<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(plain::json(&serde_json::to_string(value)?).into_owned() + "\n")
}

/// One line of a text, with others' text in it made safe to show.
pub(super) fn line(text: &str) -> String {
    format!("{}\n", plain::line(text))
}

/// Writes to standard error. If that fails, the exit status remains.
pub(super) fn complain(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}
