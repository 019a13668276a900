//! `cnm-cni bundle`: all that a bug report needs, in one file, without secrets.
//!
//! | file | its part |
//! |---|---|
//! | `items` | what is in it, each within bounds |
//! | `redact` | what is left out |

mod items;
mod redact;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::json;

use self::items::{Item, PATIENCE, PROGRAMS};
use self::redact::Redaction;
use super::docker;
use super::doctor;
use super::known::{Known, Sources};
use crate::cli::output::{Format, complain, line, write};
use crate::cli::progress::Progress;
use crate::cli::table::{Cell, Table};
use crate::docker::Wanted;
use crate::journal;

const HELP: &str = "\
What is in it:
  of the driver  versions, answers, records, log and events
  of the host    conflists, links, addresses, routes and rules
  of Docker      what it says of itself
  findings       of doctor and check

Each item is limited to 4 MiB, of which the end is kept, and to 20 seconds. What cannot be had stands there \
with the reason.

What is left out:
  the values of cni.args.* and cni.capability.*, wherever they occur
  values whose key names a secret, as 'password' or 'privateKey'
  args in conflists; users and passwords in URLs

Look through it all the same before you give it away: it has the names of your containers, and your addresses.

Examples:
  cnm-cni bundle                      # cnm-cni-bundle-TIME.tar in this folder
  cnm-cni bundle -o /tmp/report.tar
  ssh host cnm-cni bundle -o - >report.tar
  tar tvf report.tar                  # what is in one

Exit status: 0, also if something cannot be had; 1 if the file cannot be written, or is there already.

See also: 'cnm-cni doctor'; CONTRIBUTING.md tells what to do with one.";

/// Gather all that a bug report needs in one file, without secrets
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// File to write, which must not be there yet; - for standard output
    /// [default: cnm-cni-bundle-TIME.tar]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    sources: Sources,
}

/// The folder in the archive.
const FOLDER: &str = "cnm-cni-bundle";

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let file = match &args.output {
        Some(file) => file.clone(),
        None => format!("{FOLDER}-{}.tar", now.strftime("%Y%m%dT%H%M%SZ")).into(),
    };
    if file == Path::new("-") {
        if io::stdout().is_terminal() {
            bail!("an archive is nothing for a terminal: name a file with -o");
        }
        let table = gather(args, outer, now, io::stdout().lock())?;
        complain(&table);
        return Ok(());
    }
    let create = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    let open = create.with_context(|| format!("cannot make {}", file.display()))?;
    match gather(args, outer, now, open) {
        Ok(table) => write(&(table + &line(&format!("written: {}", file.display())))),
        Err(error) => {
            // Half an archive is of no use.
            let _ = std::fs::remove_file(&file);
            Err(error.context(format!("cannot write {}", file.display())))
        }
    }
}

/// Writes the archive, and returns the list of what is in it.
fn gather(args: &Args, outer: &Wanted, now: Timestamp, to: impl Write) -> anyhow::Result<String> {
    let mut archive = Archive { tar: tar::Builder::new(to), now, table: table(), hidden: 0 };
    let progress = Progress::of("gathering");
    let sources = args.sources.within(PATIENCE);
    progress.tell("gathering: the driver's answer");
    let asked = sources.inventory();
    let error = asked.as_ref().err().map(|error| format!("{error:#}"));
    let inventory = asked.or_else(|_| sources.read_records()).unwrap_or_default();
    let info = inventory.driver.as_ref();
    let state_dir = sources.state_dir(info).to_owned();
    let conf_dir = info.map_or(sources.conf_dir(), |info| &info.conf_dir).to_owned();
    let folders = ["attachments", "networks"].map(|folder| state_dir.join(folder));
    let records: Vec<_> = folders.iter().flat_map(|folder| redact::records(folder)).collect();
    let redaction = Redaction::of(records.iter());

    let about = json!({"version": env!("CARGO_PKG_VERSION"), "made": now, "driver_error": error});
    archive.add(items::answer(&redaction, "versions/cnm-cni.json", Ok(about)))?;
    archive.add(items::answer(&redaction, "driver/inventory.json", Ok(&inventory)))?;
    let settings = Path::new("/etc/default/cnm-cni");
    archive.add(items::settings(&redaction, "driver/settings.txt", settings))?;
    let system = Path::new("/etc/os-release");
    archive.add(items::settings(&redaction, "versions/system.txt", system))?;
    for (folder, to) in folders.iter().zip(["records/attachments", "records/networks"]) {
        archive.add_all(items::files_of_json(&redaction, to, folder, |_| true))?;
    }
    let journal = journal::folder(&state_dir);
    let is_journal = |name: &str| name.ends_with(".jsonl");
    archive.add_all(items::files_of_text(&redaction, "journal", &journal, is_journal))?;
    let is_configuration = |name: &str| {
        [".conflist", ".conf", ".json"].iter().any(|extension| name.ends_with(extension))
    };
    archive.add_all(items::files_of_json(&redaction, "conflists", &conf_dir, is_configuration))?;
    for (name, program, args) in PROGRAMS {
        progress.tell(&format!("gathering: {program}"));
        archive.add(items::program(&redaction, name, program, args))?;
    }
    progress.tell("gathering: Docker's answers");
    let found = sources.docker.find(outer).map_err(|error| error.to_string());
    for path in ["/version", "/info"] {
        archive.add(items::docker(&redaction, &found, path))?;
    }
    let known = Known { inventory, names: docker::names(&sources.docker, outer), no_room: None };
    progress.tell("gathering: check of everything");
    let checks = doctor::checks(&sources, &known, false);
    let findings = doctor::everything(&known, checks.as_deref().unwrap_or_default());
    let looked_at = checks.as_ref().map_or(0, Vec::len);
    archive.add(items::answer(&redaction, "check.json", checks))?;
    let findings = redaction.text(doctor::text(&findings, looked_at));
    archive.add(Item::text("doctor.txt", Ok(findings)))?;
    drop(progress);
    archive.finish()
}

fn table() -> Table {
    Table::new(["FILE", "BYTES", "STATE"])
}

/// The archive while it is written.
struct Archive<W: Write> {
    tar: tar::Builder<W>,
    now: Timestamp,
    table: Table,
    /// How many secrets are left out.
    hidden: usize,
}

impl<W: Write> Archive<W> {
    fn add_all(&mut self, items: Vec<Item>) -> anyhow::Result<()> {
        items.into_iter().try_for_each(|item| self.add(item))
    }

    fn add(&mut self, Item { name, content, is_cut }: Item) -> anyhow::Result<()> {
        let (name, text, state) = match content {
            Ok(text) if is_cut => (name, text, Cell::from("only its end")),
            Ok(text) => (name, text, Cell::from("whole")),
            Err(why) => {
                let state = Cell::from(super::short::short(&why)).bad();
                (format!("{name}.error"), why + "\n", state)
            }
        };
        self.hidden += text.matches("[hidden]").count();
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.now.as_second()).unwrap_or_default());
        self.tar.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())?;
        self.table.row([name.into(), text.len().to_string().into(), state]);
        Ok(())
    }

    /// Ends the archive; the list of what is in it, and what is left out.
    fn finish(self) -> anyhow::Result<String> {
        self.tar.into_inner()?.flush()?;
        Ok(self.table.text(Format::Table.style())
            + &format!(
                "\nleft out: {} values that are or may be secrets. Look through the rest before you give it \
                 away: it has the names of your containers, and your addresses.\n",
                self.hidden
            ))
    }
}
