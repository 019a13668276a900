//! `cnm-cni events`: what happened, from the driver's journal.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use jiff::{Timestamp, ZonedDateTime};

use super::docker::{names, names_within};
use super::named_events::{Called, NamedEvents, Wanted as Chosen};
use crate::cli::client::DockerArgs;
use crate::cli::folders::UNREADABLE_RECORDS;
use crate::cli::output::{Format, complain, json_line, line, write, write_on};
use crate::cli::table::{Cell, Style, Table, or_none};
use crate::cli::time::{Moment, of_day, took};
use crate::cli::time_zone;
use crate::docker::Wanted;
use crate::journal::{Event, Kind, Reader};

const HELP: &str = "\
Events:
  start, stop     the driver
  network_create, network_remove
                  a network, by Docker
  attach, refuse  a container has an attachment; a call of Docker's that failed,
                  and why
  spare           one made ahead is ready, or was removed; or none can be made,
                  and why
  settle          the container has what Docker does not carry over
  detach          the plugins' DEL
  orphan, retry   a DEL has failed, for the first time, or again
  forget          an orphan's record was dropped, by 'orphans forget'
  repair          something was put back, by 'check --repair'
  garbage         something was collected, by the driver or 'gc --apply'
  slow            a plugin has run for 10 s, and still runs
  lost            events are missing: the disk was slow or full

Times: HH:MM or HH:MM:SS of today (of yesterday, if that is still to come); how long ago, as 10m or \
2h30m; or in full, as 2026-08-01T03:00:00Z.

Examples:
  cnm-cni events --since 03:00 --until 03:30    # what happened in the night
  cnm-cni events -f                             # what happens, until Ctrl-C
  cnm-cni events --container web-1              # one, also if it is gone
  cnm-cni events --kind refuse,orphan,retry     # what failed
  cnm-cni events --plugin portmap --since 1h    # how long this plugin took
  cnm-cni events --format json | jq -r '.plugins[] | [.plugin, .ms] | @tsv'

Files: the journal in /var/lib/cnm-cni/journal, 16 MiB at most, for root alone. The driver need not run.

Exit status: 0; 1 if the journal cannot be read.

See also: 'cnm-cni status', with the plugins of the last hour; 'cnm-cni ls'; 'journalctl -u cnm-cni'.";

/// How long Docker may take to tell whether a word is a name.
const ANSWER: Duration = Duration::from_secs(1);

/// Show what happened: attached, refused, removed; how long it took, and why it failed
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// Go on with what happens, until Ctrl-C; begins with the last 10, unless -n or --since says otherwise
    #[arg(long, short)]
    follow: bool,

    /// Only from that time on
    #[arg(long, value_name = "TIME", value_parser = Moment::read)]
    since: Option<Moment>,

    /// Only up to that time
    #[arg(long, value_name = "TIME", value_parser = Moment::read)]
    until: Option<Moment>,

    /// Only of this container: its name, or the beginning of its id. The exact name takes precedence
    #[arg(long, value_name = "CONTAINER")]
    container: Option<String>,

    /// Only of this network: its name, or the beginning of its id. The exact name takes precedence
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,

    /// Only what ran this plugin
    #[arg(long, value_name = "PLUGIN")]
    plugin: Option<String>,

    /// Only events of these kinds
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kinds())]
    kind: Vec<Kind>,

    /// Only the last ones, that many
    #[arg(short = 'n', long = "lines", value_name = "NUMBER")]
    lines: Option<usize>,

    /// A table for people; of all columns, a line for each event; or a JSON object for each event, a line each
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    /// Leave out the line with the names of the columns
    #[arg(long)]
    no_header: bool,

    /// Folder of the driver's records, as for 'cnm-cni serve'
    #[arg(long, value_name = "DIR", env = "CNM_CNI_STATE_DIR", default_value = "/var/lib/cnm-cni")]
    state_dir: PathBuf,

    #[command(flatten)]
    docker: DockerArgs,
}

fn kinds() -> impl clap::builder::TypedValueParser<Value = Kind> {
    let names = PossibleValuesParser::new(Kind::SHOWN.map(Kind::name));
    names.map(|name| {
        // The parser takes no other name.
        Kind::SHOWN.into_iter().find(|kind| kind.name() == name).unwrap_or_default()
    })
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<()> {
    let now = time_zone::now();
    let mut chosen = args.chosen(&now)?;
    let mut reader = Reader::open(&args.state_dir).context(UNREADABLE_RECORDS)?;
    let batch = reader.read().context(UNREADABLE_RECORDS)?;
    warn_of(&batch.damaged);
    let mut happened = NamedEvents::default();
    for event in batch.events {
        happened.add(event);
    }
    chosen.note_names(|it| happened.has_container(it), |it| happened.has_network(it));
    let mut events = happened.named();
    let is_nameless = |event: &Event| {
        event.endpoint.is_some() && event.names.container.is_none() && chosen.is_within(event)
    };
    let names = match events.iter().any(is_nameless) {
        true => Some(names(&args.docker, outer)),
        // What is called like the beginning of an id may have no event.
        false if chosen.may_be_ids() => names_within(ANSWER, &args.docker, outer),
        false => None,
    };
    if let Some(names) = names {
        let is_container = |word: &str| names.container_named(word).is_some();
        chosen.note_names(is_container, |word| names.is_network_of_driver(word));
        for event in &mut events {
            if let (Some(endpoint), Some(network)) = (&event.endpoint, &event.network) {
                event.names.complete(&names.of(endpoint, network));
            }
        }
    }
    events.retain(|event| chosen.has(event));
    let most = match (args.lines, args.follow && args.since.is_none()) {
        (Some(most), _) => most,
        (None, true) => 10,
        (None, false) => usize::MAX,
    };
    events.drain(..events.len().saturating_sub(most));
    if args.follow {
        return args.go_on(reader, happened, chosen, &events, &now);
    }
    warn_of(&reader.end());
    write(&match args.format {
        Format::Json => events.iter().map(json_line).collect::<anyhow::Result<String>>()?,
        _ if events.is_empty() => "No such events in the journal.\n".to_owned(),
        format => table(&events, &chosen, &now).text(args.style(format)),
    })
}

impl Args {
    fn chosen(&self, now: &ZonedDateTime) -> anyhow::Result<Chosen> {
        let since = self.since.as_ref().map(|since| since.before(now)).transpose()?;
        let until = match (&self.until, since) {
            (Some(until), Some(since)) => Some(until.after(since, now)?),
            (Some(until), None) => Some(until.before(now)?),
            (None, _) => None,
        };
        if let (Some(since), Some(until)) = (since, until)
            && until < since
        {
            bail!("--until ({until}) is before --since ({since})");
        }
        Ok(Chosen {
            since,
            until,
            container: self.container.as_deref().map(Called::new),
            network: self.network.as_deref().map(Called::new),
            plugin: self.plugin.clone(),
            kinds: self.kind.clone(),
        })
    }

    fn style(&self, format: Format) -> Style {
        let style = format.style();
        Style { header: !self.no_header, ..style }
    }

    /// Prints what there is and what comes, until nobody reads it, or nothing can come any more.
    fn go_on(
        &self,
        mut reader: Reader,
        mut happened: NamedEvents,
        mut chosen: Chosen,
        before: &[Event],
        now: &ZonedDateTime,
    ) -> anyhow::Result<()> {
        /// How often the journal is read.
        const PAUSE: Duration = Duration::from_millis(250);
        /// How long an event waits for the name of its container, which Docker tells a little later.
        const PATIENCE: Duration = Duration::from_millis(1500);
        let mut text = String::new();
        if self.format != Format::Json && !self.no_header {
            text += &line(&heading());
        }
        for event in before {
            text += &self.one(event, &chosen, now)?;
        }
        loop {
            if !write_on(&text)? {
                return Ok(());
            }
            text.clear();
            let now = time_zone::now();
            if chosen.until.is_some_and(|until| until < now.timestamp()) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
            let batch = reader.read().context(UNREADABLE_RECORDS)?;
            warn_of(&batch.damaged);
            batch.events.into_iter().for_each(|event| happened.add_new(event));
            chosen.note_names(|it| happened.has_container(it), |it| happened.has_network(it));
            let waits = |event: &Event| {
                let age = Timestamp::now().duration_since(event.time);
                age.unsigned_abs() < PATIENCE && !age.is_negative()
            };
            for event in happened.take_new(waits) {
                if chosen.has(&event) {
                    text += &self.one(&event, &chosen, &now)?;
                }
            }
        }
    }

    /// One event on a line of its own.
    fn one(&self, event: &Event, chosen: &Chosen, now: &ZonedDateTime) -> anyhow::Result<String> {
        match self.format {
            Format::Json => json_line(event),
            Format::Table => Ok(line(&one_line(event, chosen, now))),
            Format::Wide => {
                let (id, plugins) = (event.attachment.as_deref().unwrap_or("-"), runs(event));
                Ok(line(&format!("{}  {plugins}  {id}", one_line(event, chosen, now))))
            }
        }
    }
}

fn one_line(event: &Event, chosen: &Chosen, now: &ZonedDateTime) -> String {
    aligned([
        &of_day(event.time, now),
        event.kind.name(),
        event.names.container(),
        network(event),
        &event.ms.map_or_else(|| "-".to_owned(), took),
        &detail(event, chosen),
    ])
}

fn warn_of(damaged: &[String]) {
    for problem in damaged {
        complain(&line(&format!("note: {problem}")));
    }
}

pub(super) fn table(events: &[Event], chosen: &Chosen, now: &ZonedDateTime) -> Table {
    let head = ["TIME", "EVENT", "CONTAINER", "NETWORK", "TOOK", "DETAIL"];
    let wide = ["PLUGINS", "CONFLIST", "ENDPOINT", "ATTACHMENT"];
    let mut table = Table::new(head).and_wide(wide);
    for event in events {
        let detail = Cell::from(detail(event, chosen)).bad_if(event.error.is_some());
        table.row([
            of_day(event.time, now).into(),
            event.kind.name().into(),
            event.names.container().into(),
            network(event).into(),
            event.ms.map_or_else(|| "-".to_owned(), took).into(),
            detail,
            runs(event).into(),
            or_none(event.conflist.as_ref()),
            or_none(event.endpoint.as_ref().map(|id| id.short())),
            or_none(event.attachment.as_ref()),
        ]);
    }
    table
}

fn heading() -> String {
    aligned(["TIME", "EVENT", "CONTAINER", "NETWORK", "TOOK", "DETAIL"])
}

/// The columns of a line that comes alone: nobody knows how wide the next ones will be.
fn aligned([time, event, container, network, took, detail]: [&str; 6]) -> String {
    format!("{time:<8}  {event:<14}  {container:<16}  {network:<12}  {took:>7}  {detail}")
}

fn network(event: &Event) -> &str {
    event.network.as_ref().map_or("-", |id| event.names.network(id))
}

/// What is said in a table: why it failed, or what the plugin in question took, or what the container got.
fn detail(event: &Event, chosen: &Chosen) -> String {
    let of_plugin = chosen.plugin.as_ref().map(|_| runs_of(event, |it| chosen.has_plugin(it)));
    let told = event.error.as_deref().map(super::short::short);
    let told = told.or(of_plugin);
    let addresses = event.addresses.iter().map(|it| it.addr().to_string());
    let has = addresses.chain(event.ports.iter().map(ToString::to_string)).collect::<Vec<_>>();
    let has = Some(has.join(", ")).filter(|it| !it.is_empty());
    let more = match (event.kind, &event.detail, has) {
        (Kind::Attach | Kind::Spare, Some(detail), Some(has)) => Some(format!("{has}; {detail}")),
        (_, Some(detail), _) => Some(detail.clone()),
        (_, None, has) => has,
    };
    told.or(more).unwrap_or_else(|| "-".to_owned())
}

fn runs(event: &Event) -> String {
    runs_of(event, |_| true)
}

fn runs_of(event: &Event, wanted: impl Fn(&str) -> bool) -> String {
    let runs = event.plugins.iter().filter(|run| wanted(&run.plugin));
    let runs = runs.map(|run| {
        let failed = if run.error.is_some() { " failed" } else { "" };
        format!("{} {} {}{failed}", run.plugin, run.verb, took(run.ms))
    });
    let runs: Vec<_> = runs.collect();
    if runs.is_empty() { "-".to_owned() } else { runs.join(", ") }
}
