//! Every outcome is told here, once, with all that is known about it: to the journal, to the log and to the
//! metrics. Nobody else counts or logs an outcome.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::{Error, Result, chain};
use super::record::{Attachment, Network};
use crate::cni::{self, Observer, Verb};
use crate::cnm::{EndpointId, NetworkId};
use crate::journal::{Event, Journal, Kind, PluginRun, Port};
use crate::metrics::{Happened, Metrics, State, Step, Unused};

/// For how many attachments the runs of plugins are kept: more than ever are made or removed at once.
const MOST: usize = 1024;

/// Tells outcomes to the journal, and counts them. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct History {
    journal: Journal,
    metrics: Arc<Metrics>,
    /// The plugins that were run for attachments since their last event.
    runs: Arc<Mutex<HashMap<String, Vec<PluginRun>>>>,
}

/// A call of Docker's, which has an outcome.
#[derive(Debug)]
pub(crate) struct Asked {
    call: &'static str,
    begun: Instant,
    network: NetworkId,
    endpoint: Option<EndpointId>,
    pub(crate) conflist: Option<String>,
    /// When the last attempt to make an attachment began; none if no attempt is under way.
    attempt: Option<Instant>,
    /// The attachments that were to be made: more than one if it was tried again.
    pub(crate) attachments: Vec<String>,
}

impl Asked {
    /// A call that begins now, by its name in Docker's protocol.
    pub(crate) fn now(
        call: &'static str,
        network: &NetworkId,
        endpoint: Option<&EndpointId>,
    ) -> Self {
        Self {
            call,
            begun: Instant::now(),
            network: network.clone(),
            endpoint: endpoint.cloned(),
            conflist: None,
            attempt: None,
            attachments: Vec::new(),
        }
    }

    /// An attempt to make the endpoint's attachment begins.
    pub(crate) fn begin_attempt(&mut self) {
        self.attempt = Some(Instant::now());
    }
}

impl History {
    pub(crate) fn new(journal: Journal, metrics: &Arc<Metrics>) -> Self {
        Self { journal, metrics: Arc::clone(metrics), runs: Arc::default() }
    }

    /// The journal, for what is told by others.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// All metrics of the driver, in Prometheus' text format. `state` is how things stand.
    pub(crate) fn metrics_text(&self, state: &State) -> String {
        self.metrics.text(state)
    }

    fn plugin_ran(&self, attachment: &str, run: PluginRun) {
        let mut runs = self.runs();
        if runs.len() >= MOST && !runs.contains_key(attachment) {
            // Nobody has asked for them.
            runs.clear();
        }
        runs.entry(attachment.to_owned()).or_default().push(run);
    }

    /// A call has this outcome. A failure is told, and counted.
    pub(crate) fn ended<T>(&self, asked: &Asked, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| {
            self.attempt_ended(asked, false);
            if let Some(port) = error.port_error() {
                self.happened().port_conflict(port.reason());
            }
            self.journal.tell(Event {
                attachment: asked.attachments.last().cloned(),
                endpoint: asked.endpoint.clone(),
                network: Some(asked.network.clone()),
                conflist: asked.conflist.clone(),
                ms: Some(milliseconds(asked.begun.elapsed())),
                plugins: self.take_runs_of(asked),
                detail: Some(asked.call.to_owned()),
                error: Some(chain(error)),
                ..Event::now(Kind::Refuse)
            });
        })
    }

    /// Docker has made a network.
    pub(crate) fn network_created(&self, asked: &Asked, network: &Network) {
        let ms = Some(milliseconds(asked.begun.elapsed()));
        self.journal.tell(Event { ms, ..of_network(Kind::NetworkCreate, network) });
    }

    /// Docker has removed a network.
    pub(crate) fn network_removed(&self, network: &Network) {
        self.journal.tell(of_network(Kind::NetworkRemove, network));
    }

    /// ADD has succeeded, and Docker gets the answer.
    pub(crate) fn attached(&self, asked: &Asked, attachment: &Attachment) {
        self.attempt_ended(asked, true);
        let plugins = self.take_runs_of(asked);
        let event = self.of(Kind::Attach, attachment, asked.begun.elapsed());
        // The plugins were run ahead.
        let detail = attachment.prepared().map(|_| "from a spare".to_owned());
        self.journal.tell(Event { plugins, detail, ..event });
    }

    /// An attempt to make the endpoint's attachment has failed, and another one may follow.
    pub(crate) fn attempt_failed(&self, asked: &mut Asked) {
        self.attempt_ended(asked, false);
        asked.attempt = None;
    }

    fn attempt_ended(&self, asked: &Asked, ok: bool) {
        if let (Some(begun), Some(conflist)) = (asked.attempt, &asked.conflist) {
            self.happened().step_ended(Step::Attach, conflist, begun.elapsed(), ok);
        }
    }

    /// A spare is ready.
    pub(crate) fn spare_made(&self, spare: &Attachment, took: Duration) {
        let detail = Some("ready".to_owned());
        self.journal.tell(Event { detail, ..self.of(Kind::Spare, spare, took) });
    }

    /// No spare can be made for the network.
    pub(crate) fn spare_failed(&self, network: &Network, error: &Error) {
        self.journal.tell(Event {
            detail: Some("cannot be made; tried again while the network is in use".to_owned()),
            error: Some(chain(error)),
            ..of_network(Kind::Spare, network)
        });
    }

    /// An endpoint has claimed a spare of the network.
    pub(crate) fn spare_claimed(&self, network: &Network) {
        self.happened().spare_wanted(&network.conflist, true);
    }

    /// An endpoint could have had a spare of the network, and none was ready.
    pub(crate) fn spare_missed(&self, network: &Network) {
        self.happened().spare_wanted(&network.conflist, false);
    }

    /// The removal of a spare that no container has had begins. Its DEL is told as [`History::detached`].
    pub(crate) fn spare_given_up(&self, spare: &Attachment, reason: Unused) {
        self.happened().spare_removed(spare.list.name(), reason);
    }

    /// An attempt to make the interface in the container as ADD left it has ended. A lease may still have to move.
    pub(crate) fn interface_settled(&self, attachment: &Attachment, took: Duration, ok: bool) {
        self.happened().step_ended(Step::Settle, attachment.list.name(), took, ok);
    }

    /// What Docker does not carry over is in the container, a lease too.
    pub(crate) fn settled(&self, attachment: &Attachment, took: Duration) {
        self.journal.tell(self.of(Kind::Settle, attachment, took));
    }

    /// DEL has succeeded. The undo of a call that is refused is a part of the refusal.
    pub(crate) fn detached(&self, attachment: &Attachment, took: Duration) {
        self.removal_ended(attachment, took, true);
        let removal = attachment.removal().cloned().unwrap_or_default();
        let is_spare = attachment.is_of_no_container();
        if removal.refused && removal.is_first_attempt() {
            if is_spare {
                // What failed was told, and nobody asks for these any more.
                self.take_runs(&attachment.id.to_string());
            }
            return;
        }
        let attempt = Some(removal.attempts.saturating_add(1));
        let (kind, detail) = match is_spare {
            true => (Kind::Spare, Some("removed".to_owned())),
            false => (Kind::Detach, None),
        };
        self.journal.tell(Event { attempt, detail, ..self.of(kind, attachment, took) });
    }

    /// DEL has failed, and it was noted in the attachment. `next` tells what becomes of it.
    pub(crate) fn not_detached(&self, attachment: &Attachment, next: String, took: Duration) {
        self.removal_ended(attachment, took, false);
        let removal = attachment.removal().cloned().unwrap_or_default();
        let kind = if removal.attempts > 1 { Kind::Retry } else { Kind::Orphan };
        let of_whom = if attachment.is_of_no_container() { "it was a spare; " } else { "" };
        self.journal.tell(Event {
            attempt: Some(removal.attempts),
            detail: Some(format!("{of_whom}{next}")),
            error: removal.error,
            ..self.of(kind, attachment, took)
        });
    }

    fn removal_ended(&self, attachment: &Attachment, took: Duration, ok: bool) {
        self.happened().step_ended(Step::Detach, attachment.list.name(), took, ok);
    }

    /// The operator had an orphan forgotten.
    pub(crate) fn forgotten(&self, attachment: &Attachment) {
        let event = self.of(Kind::Forget, attachment, Duration::ZERO);
        self.journal.tell(Event { ms: None, ..event });
    }

    /// What differed was put back; or it could not be, with the reason.
    pub(crate) fn repaired(
        &self,
        attachment: &Attachment,
        repaired: &[String],
        error: Option<String>,
        took: Duration,
    ) {
        let detail = Some(repaired.join("; ")).filter(|text| !text.is_empty());
        self.journal.tell(Event { detail, error, ..self.of(Kind::Repair, attachment, took) });
    }

    /// All attachments have been checked: how many there are, by what was found; and how many faults the host has.
    pub(crate) fn checked(&self, found: &[(&'static str, u64)], faults: u64) {
        self.happened().checked(found, faults);
    }

    /// Garbage has been looked for: how much was found, by what became of it.
    pub(crate) fn collected(&self, found: &[(&'static str, u64)]) {
        self.happened().collected(found);
    }

    /// Garbage was removed; or it could not be, with the reason.
    pub(crate) fn garbage_removed(&self, what: &str, reason: &str, error: Option<String>) {
        let detail = Some(format!("{what}: {reason}"));
        let attachment = what.strip_prefix("attachment ").map(str::to_owned);
        self.journal.tell(Event { attachment, detail, error, ..Event::now(Kind::Garbage) });
    }

    /// The driver is ready.
    pub(crate) fn started(&self, networks: usize, attachments: usize, interrupted: usize) {
        let version = env!("CARGO_PKG_VERSION");
        let detail = format!(
            "version {version}; networks {networks}, attachments {attachments}, to be removed {interrupted}"
        );
        self.journal.tell(Event { detail: Some(detail), ..Event::now(Kind::Start) });
    }

    /// The driver ends, and waits until the journal is written.
    pub(crate) async fn stopped(&self) {
        // So that there is room for one more.
        self.journal.flush().await;
        self.journal.tell(Event::now(Kind::Stop));
        self.journal.flush().await;
    }

    fn of(&self, kind: Kind, attachment: &Attachment, took: Duration) -> Event {
        let id = attachment.id.to_string();
        let ips = attachment.result().into_iter().flat_map(|result| &result.ips);
        let publishes = attachment.publishes();
        let ports = attachment.ports.iter().filter(|_| publishes).map(Port::from);
        Event {
            plugins: self.take_runs(&id),
            attachment: Some(id),
            endpoint: attachment.has_endpoint().then(|| attachment.endpoint.clone()),
            network: Some(attachment.network.clone()),
            conflist: Some(attachment.list.name().to_owned()),
            addresses: ips.map(|ip| ip.address).collect(),
            ports: ports.collect(),
            ms: Some(milliseconds(took)),
            ..Event::now(kind)
        }
    }

    fn happened(&self) -> &Happened {
        &self.metrics.happened
    }

    fn take_runs_of(&self, asked: &Asked) -> Vec<PluginRun> {
        asked.attachments.iter().flat_map(|id| self.take_runs(id)).collect()
    }

    fn take_runs(&self, attachment: &str) -> Vec<PluginRun> {
        self.runs().remove(attachment).unwrap_or_default()
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, Vec<PluginRun>>> {
        // The map is whole even if a holder panicked: every change is one step.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for History {
    fn started(&self, _: &cni::PluginRun<'_>) {}

    fn slow(&self, run: &cni::PluginRun<'_>, so_far: Duration) {
        let seconds = so_far.as_secs();
        let still = format!("{} {} has run for {seconds} s, and still runs", run.plugin, run.verb);
        self.journal.tell(Event {
            attachment: run.container_id.map(str::to_owned),
            conflist: run.conflist.map(str::to_owned),
            plugins: vec![of_run(run, so_far)],
            detail: Some(still),
            ..Event::now(Kind::Slow)
        });
    }

    fn ended(&self, run: &cni::PluginRun<'_>, end: &cni::PluginEnd<'_>) {
        // The other verbs lead to no event.
        if let (Verb::Add | Verb::Del, Some(attachment)) = (run.verb, run.container_id) {
            let error = end.failure.map(ToString::to_string);
            let cut = || (end.outcome == cni::PluginOutcome::Cut).then(|| "killed".to_owned());
            let error = error.or_else(cut);
            self.plugin_ran(attachment, PluginRun { error, ..of_run(run, end.took) });
        }
    }
}

fn of_run(run: &cni::PluginRun<'_>, took: Duration) -> PluginRun {
    let (plugin, verb) = (run.plugin.to_owned(), run.verb.to_string());
    PluginRun { plugin, verb, ms: milliseconds(took), error: None }
}

fn of_network(kind: Kind, network: &Network) -> Event {
    Event {
        network: Some(network.id.clone()),
        conflist: Some(network.conflist.clone()),
        ..Event::now(kind)
    }
}

/// Milliseconds, with one digit behind the point: finer ones differ from run to run.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests;
