//! What verbs print: a table for people, or JSON for programs.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _, stderr, stdout};

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use crate::plain;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

/// Prints `value` as JSON, or as the table that `table` makes of it.
pub(super) fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    write(&match format {
        Format::Table => table(value),
        Format::Json => plain::json(&serde_json::to_string_pretty(value)?).into_owned() + "\n",
    })
}

/// Writes to standard output.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    match stdout().write_all(text.as_bytes()) {
        // The reader has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// One line of a text, with what others wrote in it made fit to be shown.
pub(super) fn line(text: &str) -> String {
    format!("{}\n", plain::line(text))
}

/// Writes to standard error. If that fails, the exit status remains.
pub(super) fn complain(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

/// Lines up rows of cells, two blanks between columns; nothing is blank at a line's end. What
/// others wrote stays in its cell: see [`plain`].
pub(super) fn columns<const N: usize>(
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows = rows.map(|row| row.map(|cell| plain::line(&cell).into_owned()));
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    rows.iter().fold(String::new(), |mut text, row| {
        let line = row.iter().zip(widths).fold(String::new(), |mut line, (cell, width)| {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
            line
        });
        text.push_str(line.trim_end());
        text.push('\n');
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "…", ""], ["longer", "b", "c"]].map(|row| row.map(str::to_owned));
        let forged = [["a\nb\x1b[31m", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(["ONE", "TWO"], forged.into_iter()).lines().count(), 2);
        assert_eq!(
            columns(["ONE", "TWO", "THREE"], rows.into_iter()),
            "ONE     TWO  THREE\na       …\nlonger  b    c\n"
        );
    }
}
