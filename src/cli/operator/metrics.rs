//! `cnm-cni metrics`: the driver's metrics, for Prometheus.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::client::Socket;
use crate::cli::output::write;
use crate::durable;
use crate::server::control::{Everything, METRICS};

const HELP: &str = "\
Examples:
  cnm-cni metrics | grep pool         # how full the pools of addresses are
  cnm-cni metrics --textfile /var/lib/prometheus/node-exporter/cnm-cni.prom

Prometheus reads the same from the driver itself if that was started with --metrics. What the metrics \
mean, alert rules and a dashboard: docs/operations.md, \"Metrics\".

Exit status: 0; 1 if the driver does not answer, or the file cannot be written: it stays as it was then.

See also: 'cnm-cni serve --help', --metrics.";

/// Print the driver's metrics as Prometheus reads them, or write them for node_exporter
///
/// The running driver tells them: what has happened since its start, and how things stand now.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// Write them to this file, as a whole, for the textfile collector of node_exporter; it reads files
    /// whose names end in .prom
    #[arg(long, value_name = "FILE", value_parser = prom_file)]
    textfile: Option<PathBuf>,

    #[command(flatten)]
    socket: Socket,
}

fn prom_file(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    match path.extension() {
        Some(extension) if extension == "prom" => Ok(path),
        _ => Err("node_exporter reads only files whose names end in .prom".to_owned()),
    }
}

pub(in crate::cli) fn run(args: &Args) -> anyhow::Result<()> {
    let text: String = args.socket.ask(METRICS, &Everything {})?;
    match &args.textfile {
        None => write(&text),
        Some(file) => replace(file, &text),
    }
}

/// Replaces the file at once: the collector never sees a part of it. It runs as a user of its own.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    const FOR_ALL: u32 = 0o644;
    let Some(name) = file.file_name() else { bail!("{} names no file", file.display()) };
    // The collector reads no such name, and two writers have one each.
    let temporary = format!("{}.{}.tmp", name.to_string_lossy(), std::process::id());
    let temporary = file.with_file_name(temporary);
    durable::replace(file, &temporary, text.as_bytes(), FOR_ALL, |_| ()).map_err(|failed| {
        let cause = anyhow::Error::new(failed.source);
        cause.context(format!("cannot {} {}", failed.action, failed.path.display()))
    })
    .context("the metrics are not written; the folder is that of node_exporter's --collector.textfile.directory")
}
