//! A man page for each verb: clap's own sections, and those that the verb's help ends with.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Parts of a help that are one sentence, as `Exit status: 0`.
const SENTENCES: [&str; 4] = ["Times", "Files", "Exit status", "See also"];

/// A section: its heading, and its lines.
type Section = (String, Vec<String>);

/// Writes the pages of `command`, the whole command line, and of all its verbs that are not hidden.
pub(super) fn write_to(folder: &Path, command: Command) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write_pages(folder, &command)
}

fn write_pages(folder: &Path, command: &Command) -> io::Result<()> {
    let mut verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.try_for_each(|verb| write_pages(folder, verb))?;
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let page = Man::new(command.clone().after_help(Resettable::Reset));
    let mut text = Vec::new();
    page.render(&mut text)?;
    let mut end = Roff::new();
    for (heading, lines) in sections(&help) {
        end.control("SH", [heading.as_str()]);
        // Columns and examples keep their lines; sentences are filled.
        let is_sentence = lines.iter().all(|line| !line.starts_with(' '));
        end.control(if is_sentence { "fi" } else { "nf" }, []);
        for line in &lines {
            end.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        end.control("fi", []);
    }
    end.to_writer(&mut text)?;
    fs::write(folder.join(page.get_filename()), text)
}

/// The sections of what a help ends with. Empty lines separate its parts; a part begins with its heading and a
/// colon, is indented and belongs to the part before, or is a note.
fn sections(help: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for part in help.split("\n\n").filter(|part| !part.is_empty()) {
        let (first, rest) = part.split_once('\n').unwrap_or((part, ""));
        let rest = rest.lines().map(str::to_owned);
        let sentence = first.split_once(": ").filter(|(heading, _)| SENTENCES.contains(heading));
        match (first.strip_suffix(':'), sentence, sections.last_mut()) {
            (Some(heading), ..) => sections.push((heading.to_uppercase(), rest.collect())),
            (None, Some(("See also", text)), _) => {
                sections.push(("SEE ALSO".to_owned(), vec![pages(text)]));
            }
            (None, Some((heading, text)), _) => {
                let lines = std::iter::once(text.to_owned()).chain(rest);
                sections.push((heading.to_uppercase(), lines.collect()));
            }
            (None, None, Some((_, lines))) if first.starts_with(' ') => {
                lines.extend([String::new(), first.to_owned()]);
                lines.extend(rest);
            }
            (None, None, _) => {
                let lines = std::iter::once(first.to_owned()).chain(rest);
                sections.push(("NOTES".to_owned(), lines.collect()));
            }
        }
    }
    sections
}

/// The text with the names of pages, `cnm-cni-ls(1)`, in place of commands, `'cnm-cni ls'`.
fn pages(text: &str) -> String {
    let mut pages = String::new();
    for (index, part) in text.split('\'').enumerate() {
        match part.strip_prefix("cnm-cni ").filter(|_| index % 2 == 1) {
            Some(verb) if !verb.contains(' ') => pages += &format!("cnm-cni-{verb}(1)"),
            _ if index % 2 == 1 => pages += &format!("'{part}'"),
            _ => pages += part,
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_help_is_a_section() {
        let help = "Columns:\n  AGE  how long\n\nExamples:\n  cnm-cni ls\n\n  cnm-cni ls -w\n\nIt \
                    waits.\n\nExit status: 0.\n\nSee also: 'cnm-cni net', 'cnm-cni check --repair'.";
        let section = |heading: &str, lines: &[&str]| {
            (heading.to_owned(), lines.iter().map(|it| (*it).to_owned()).collect())
        };
        assert_eq!(
            sections(help),
            [
                section("COLUMNS", &["  AGE  how long"]),
                section("EXAMPLES", &["  cnm-cni ls", "", "  cnm-cni ls -w"]),
                section("NOTES", &["It waits."]),
                section("EXIT STATUS", &["0."]),
                section("SEE ALSO", &["cnm-cni-net(1), 'cnm-cni check --repair'."]),
            ]
        );
    }
}
