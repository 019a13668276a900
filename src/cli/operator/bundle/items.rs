//! What a bug report has: files, what programs of the host say, and what the driver and Docker answer.
//!
//! Each item has its bounds in size and in time. What fails stands in its place, with the reason.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::redact::Redaction;
use crate::cli::client::answer_of;
use crate::docker::Docker;
use crate::process::host;

/// How large an item may be, in bytes.
pub(super) const MOST: usize = 4 << 20;

/// How many files of a folder are taken.
const MOST_FILES: usize = 2_000;

/// How long an item may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Something of a report.
#[derive(Debug)]
pub(super) struct Item {
    /// Its path in the archive.
    pub(super) name: String,
    /// The text, or why there is none.
    pub(super) content: Result<String, String>,
    /// Whether it is cut: only its end is here.
    pub(super) is_cut: bool,
}

impl Item {
    /// A text, cut to its end where it is too long.
    pub(super) fn text(name: impl Into<String>, content: Result<String, String>) -> Self {
        let (mut content, mut is_cut) = (content, false);
        if let Ok(text) = &mut content
            && text.len() > MOST
        {
            let begin = (text.len() - MOST..text.len()).find(|at| text.is_char_boundary(*at));
            text.drain(..begin.unwrap_or(0));
            is_cut = true;
        }
        Self { name: name.into(), content, is_cut }
    }
}

/// What a program of the host says, and with which arguments it is run.
pub(super) const PROGRAMS: [(&str, &str, &[&str]); 13] = [
    ("log/driver.txt", "journalctl", &["--unit", "cnm-cni", "--lines", "2000", "--no-pager"]),
    ("host/links.txt", "ip", &["-details", "-statistics", "link"]),
    ("host/addresses.txt", "ip", &["address"]),
    ("host/routes.txt", "ip", &["route", "show", "table", "all"]),
    ("host/routes-6.txt", "ip", &["-6", "route", "show", "table", "all"]),
    ("host/rules.txt", "ip", &["rule"]),
    ("host/namespaces.txt", "lsns", &["--type", "net"]),
    ("host/iptables.txt", "iptables-save", &[]),
    ("host/ip6tables.txt", "ip6tables-save", &[]),
    ("host/nftables.txt", "nft", &["list", "ruleset"]),
    ("versions/iptables.txt", "iptables", &["--version"]),
    ("versions/kernel.txt", "uname", &["-a"]),
    ("versions/docker-cli.txt", "docker", &["--version"]),
];

/// Runs a program.
pub(super) fn program(redaction: &Redaction, name: &str, program: &str, args: &[&str]) -> Item {
    let run = answer_of(host::run_within(PATIENCE, None, program, args, b""));
    let content = match run {
        Err(error) => Err(error.to_string()),
        Ok(Err(failed)) => Err(failed.to_string()),
        Ok(Ok(None)) => Err(format!("there is no {program} on this host")),
        Ok(Ok(Some(said))) => Ok(redaction.text(String::from_utf8_lossy(&said).into_owned())),
    };
    Item::text(name, content)
}

/// An answer as JSON.
pub(super) fn answer<T: Serialize>(
    redaction: &Redaction,
    name: &str,
    answer: anyhow::Result<T>,
) -> Item {
    let json = answer.and_then(|it| Ok(serde_json::to_string_pretty(&it)?));
    let content = json.map_err(|error| format!("{error:#}"));
    Item::text(name, content.map(|json| redaction.json(&json).unwrap_or_default()))
}

/// What Docker tells of itself.
pub(super) fn docker(redaction: &Redaction, docker: &Result<Docker, String>, path: &str) -> Item {
    let asked = docker.as_ref().map_err(|error| anyhow::anyhow!(error.clone()));
    let asked = asked.and_then(|docker| Ok(answer_of(docker.about(path))??));
    answer(redaction, &format!("docker{path}.json"), asked)
}

/// Files of JSON in a folder.
pub(super) fn files_of_json(
    redaction: &Redaction,
    to: &str,
    folder: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<Item> {
    let of_file = |path: &PathBuf, name: &str| {
        let shown = read(path).and_then(|(text, _)| {
            let json = redaction.json(&text);
            json.ok_or_else(|| "it is not valid JSON, and may have a secret: left out".to_owned())
        });
        Item::text(format!("{to}/{name}"), shown)
    };
    each(to, folder, is_wanted, of_file)
}

/// Files of text in a folder: logs, of which the end counts.
pub(super) fn files_of_text(
    redaction: &Redaction,
    to: &str,
    folder: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<Item> {
    let of_file = |path: &PathBuf, name: &str| {
        let (content, is_cut) = match read(path) {
            Ok((text, is_cut)) => (Ok(redaction.text(text)), is_cut),
            Err(error) => (Err(error), false),
        };
        Item { is_cut, ..Item::text(format!("{to}/{name}"), content) }
    };
    each(to, folder, is_wanted, of_file)
}

/// One file of settings.
pub(super) fn settings(redaction: &Redaction, name: &str, path: &Path) -> Item {
    let read = read(path).map(|(text, _)| redaction.settings(&text));
    Item::text(name, read)
}

/// An item for each file of a folder, by their names.
fn each(
    to: &str,
    folder: &Path,
    is_wanted: impl Fn(&str) -> bool,
    of_file: impl Fn(&PathBuf, &str) -> Item,
) -> Vec<Item> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let why = format!("cannot list {}: {error}", folder.display());
            return vec![Item::text(to, Err(why))];
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let named = paths.iter().filter_map(|path| Some((path, path.file_name()?.to_str()?)));
    let wanted = named.filter(|(path, name)| path.is_file() && is_wanted(name));
    wanted.take(MOST_FILES).map(|(path, name)| of_file(path, name)).collect()
}

/// The end of a file, and whether that is not all of it.
fn read(path: &Path) -> Result<(String, bool), String> {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let begin = length.saturating_sub(MOST as u64);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(MOST as u64).read_to_end(&mut bytes)?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), begin > 0))
    };
    read().map_err(|error: std::io::Error| format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_to_its_end() {
        let long = "ä".repeat(MOST) + "end";
        let item = Item::text("log", Ok(long));
        let text = item.content.unwrap();
        assert!(item.is_cut && text.len() <= MOST && text.ends_with("äend"));
    }

    #[test]
    fn a_file_that_cannot_be_read_and_a_program_that_fails_stand_there_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("10-a.conflist"), "{\"password\": 1").unwrap();
        let none = Redaction::of(std::iter::empty());
        let items = files_of_json(&none, "conflists", folder.path(), |_| true);
        assert!(items[0].content.as_ref().is_err_and(|why| why.contains("left out")));
        let gone = files_of_json(&none, "x", &folder.path().join("gone"), |_| true);
        assert!(gone[0].content.as_ref().is_err_and(|why| why.contains("cannot list")));
        let failed = program(&none, "x", "sh", &["-c", "echo no >&2; exit 1"]);
        assert_eq!(failed.content.unwrap_err(), "no");
        let absent = program(&none, "x", "no-such-program", &[]);
        assert_eq!(absent.content.unwrap_err(), "there is no no-such-program on this host");
    }
}
