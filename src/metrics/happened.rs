//! What has happened to attachments, and what was found: counted since the driver's start.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::kinds::{Times, outcome, registered, seconds, times};
use super::names::Names;

/// Metrics of what has happened.
#[derive(Debug)]
pub struct Happened {
    names: Arc<Names>,
    attach: Times<Ended>,
    settle: Times<Ended>,
    detach: Times<Ended>,
    garbage_found: Family<Outcome, Gauge>,
    garbage: Family<Outcome, Counter>,
    port_conflicts: Family<Reason, Counter>,
    spare_claims: Family<Claim, Counter>,
    spares_removed: Family<Removal, Counter>,
    checked: Family<Outcome, Gauge>,
    check_faults: Gauge,
    check_time: Gauge<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    conflist: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Claim {
    conflist: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Removal {
    conflist: String,
    reason: &'static str,
}

/// Why a spare is removed that no container has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unused {
    /// It is not what its ADD would make now: the conflist, the host or its rules have changed.
    Outdated,
    /// Somebody else needs what it has.
    GaveWay,
    /// Its network needs fewer, or is gone.
    NotNeeded,
}

impl Unused {
    fn as_str(self) -> &'static str {
        match self {
            Self::Outdated => "outdated",
            Self::GaveWay => "gave_way",
            Self::NotNeeded => "not_needed",
        }
    }
}

/// A step in the life of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// CreateEndpoint makes it: from the record of the intent until it is ready for Docker.
    Attach,
    /// The interface in the container is made as ADD left it.
    Settle,
    /// One attempt to remove it: DEL, and what goes with it.
    Detach,
}

impl Happened {
    pub(super) fn registered(registry: &mut Registry, names: &Arc<Names>) -> Self {
        Self {
            names: Arc::clone(names),
            attach: times(
                registry,
                "attach_duration_seconds",
                "How long attachments took to be made, by conflist and outcome",
            ),
            settle: times(
                registry,
                "settle_duration_seconds",
                "How long it took to make interfaces in containers as ADD left them",
            ),
            detach: times(
                registry,
                "detach_duration_seconds",
                "How long attempts took to remove attachments, by conflist and outcome",
            ),
            garbage_found: registered(
                registry,
                "garbage_found",
                "What the last collection found, by what became of it",
            ),
            garbage: registered(
                registry,
                "garbage",
                "Garbage that was removed, and attempts to remove some that failed",
            ),
            port_conflicts: registered(
                registry,
                "port_conflicts",
                "Published ports that could not be had, by reason",
            ),
            spare_claims: registered(
                registry,
                "spare_claims",
                "Containers that could have a spare, by whether one was ready",
            ),
            spares_removed: registered(
                registry,
                "spares_removed",
                "Spares that were removed before a container had them, by reason",
            ),
            checked: registered(
                registry,
                "last_check_attachments",
                "Attachments in the last check of all of them, by what it found",
            ),
            check_faults: registered(
                registry,
                "last_check_faults",
                "What the last check of all attachments found wrong on the host",
            ),
            check_time: registered(
                registry,
                "last_check_timestamp_seconds",
                "When all attachments were checked the last time; 0 if never since the driver's start",
            ),
        }
    }

    /// A step in the life of an attachment has ended.
    pub fn step_ended(&self, step: Step, conflist: &str, took: Duration, ok: bool) {
        let family = match step {
            Step::Attach => &self.attach,
            Step::Settle => &self.settle,
            Step::Detach => &self.detach,
        };
        let labels = Ended { conflist: self.names.conflist(conflist), outcome: outcome(ok) };
        family.get_or_create(&labels).observe(seconds(took));
    }

    /// A collection of garbage has ended: how many were found, by what became of them.
    pub fn collected(&self, found: &[(&'static str, u64)]) {
        for (outcome, count) in found {
            let labels = Outcome { outcome };
            self.garbage_found.get_or_create(&labels).set(whole(*count));
            // What is kept or only shown is found again each time.
            if matches!(*outcome, "removed" | "failed") {
                self.garbage.get_or_create(&labels).inc_by(*count);
            }
        }
    }

    /// All attachments have been checked: how many there are, by what was found; and how many faults there are
    /// on the host.
    pub fn checked(&self, found: &[(&'static str, u64)], faults: u64) {
        for (outcome, count) in found {
            self.checked.get_or_create(&Outcome { outcome }).set(whole(*count));
        }
        self.check_faults.set(whole(faults));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.check_time.set(seconds(now).round());
    }

    /// A container could have a spare: it has claimed one, or none was ready.
    pub fn spare_wanted(&self, conflist: &str, claimed: bool) {
        let outcome = if claimed { "claimed" } else { "missed" };
        let labels = Claim { conflist: self.names.conflist(conflist), outcome };
        self.spare_claims.get_or_create(&labels).inc();
    }

    /// A spare is removed that no container has had.
    pub fn spare_removed(&self, conflist: &str, reason: Unused) {
        let labels = Removal { conflist: self.names.conflist(conflist), reason: reason.as_str() };
        self.spares_removed.get_or_create(&labels).inc();
    }

    /// A port could not be had.
    pub fn port_conflict(&self, reason: &'static str) {
        self.port_conflicts.get_or_create(&Reason { reason }).inc();
    }
}

/// A count as a gauge has it: there are far fewer than 2⁶³.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
