//! The plugins of the last hour, by the journal: which are slow, and which fail.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::table::{Cell, Table};
use crate::cli::time::took;
use crate::journal::{Event, Kind, Reader};

const HOUR: Duration = Duration::from_secs(3600);

/// How many rows fit on a screen beside everything else.
const SHOWN: usize = 8;

/// The runs of a plugin with a verb, in a conflist.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Row {
    plugin: String,
    verb: String,
    conflist: Option<String>,
    /// How often it was run.
    runs: usize,
    /// How often it failed.
    failed: usize,
    /// What half of the runs took at most, in milliseconds.
    median_ms: f64,
    /// What the slowest run took, in milliseconds.
    slowest_ms: f64,
}

/// The plugins of the last hour before `now`, the slowest first; none if there is no journal, or it cannot be
/// read.
pub(super) fn of_last_hour(state_dir: &Path, now: Timestamp) -> Vec<Row> {
    let begin = SystemTime::now().checked_sub(HOUR).unwrap_or(SystemTime::UNIX_EPOCH);
    let read = Reader::open_since(state_dir, begin).and_then(|mut reader| reader.read());
    let events = read.map(|batch| batch.events).unwrap_or_default();
    rows(&events, now)
}

pub(super) fn rows(events: &[Event], now: Timestamp) -> Vec<Row> {
    let begin = now.checked_sub(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MIN);
    let mut all = BTreeMap::<_, (Vec<f64>, usize)>::new();
    // A run that is slow is told once more when it has ended.
    let ended = events.iter().filter(|event| event.kind != Kind::Slow);
    for event in ended.filter(|event| event.time >= begin) {
        for run in &event.plugins {
            let of = (&run.plugin, &run.verb, &event.conflist);
            let (times, failed) = all.entry(of).or_default();
            times.push(run.ms);
            *failed += usize::from(run.error.is_some());
        }
    }
    let rows = all.into_iter().map(|((plugin, verb, conflist), (mut times, failed))| {
        times.sort_by(f64::total_cmp);
        Row {
            plugin: plugin.clone(),
            verb: verb.clone(),
            conflist: conflist.clone(),
            runs: times.len(),
            failed,
            // There is a time for each run, and at least one run.
            median_ms: times.get((times.len() - 1) / 2).copied().unwrap_or_default(),
            slowest_ms: times.last().copied().unwrap_or_default(),
        }
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|one, other| other.median_ms.total_cmp(&one.median_ms));
    rows
}

pub(super) fn table(rows: &[Row]) -> Table {
    let head = ["PLUGIN", "VERB", "CONFLIST", "RUNS", "FAILED", "MEDIAN", "SLOWEST"];
    let mut table = Table::new(head);
    for row in rows.iter().take(SHOWN) {
        table.row([
            row.plugin.as_str().into(),
            row.verb.as_str().into(),
            row.conflist.as_deref().unwrap_or("-").into(),
            row.runs.to_string().into(),
            Cell::from(row.failed.to_string()).bad_if(row.failed > 0),
            took(row.median_ms).into(),
            took(row.slowest_ms).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PluginRun;

    #[test]
    fn a_plugin_is_judged_by_its_runs_within_the_hour() {
        let now: Timestamp = "2026-08-01T03:00:00Z".parse().unwrap();
        let run = |plugin: &str, ms: f64, error: Option<&str>| PluginRun {
            plugin: plugin.into(),
            verb: "ADD".into(),
            ms,
            error: error.map(str::to_owned),
        };
        let event = |time: &str, plugins: Vec<PluginRun>| Event {
            time: time.parse().unwrap(),
            conflist: Some("front".into()),
            plugins,
            ..Event::now(Kind::Attach)
        };
        let events = [
            event("2026-08-01T01:59:59Z", vec![run("portmap", 9000.0, None)]),
            event(
                "2026-08-01T02:10:00Z",
                vec![run("bridge", 10.0, None), run("portmap", 70.0, None)],
            ),
            event(
                "2026-08-01T02:20:00Z",
                vec![run("bridge", 30.0, Some("no")), run("portmap", 90.0, None)],
            ),
            event("2026-08-01T02:30:00Z", vec![run("bridge", 20.0, None)]),
        ];
        let rows = rows(&events, now);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.plugin.as_str(), row.runs, row.failed, row.median_ms, row.slowest_ms))
            .collect();
        assert_eq!(told, [("portmap", 2, 0, 70.0, 90.0), ("bridge", 3, 1, 20.0, 30.0)]);
    }
}
