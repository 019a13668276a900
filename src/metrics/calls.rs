//! Calls: how many, how long they take, how many are under way.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::kinds::{Times, outcome, registered, seconds, times};

/// Metrics of calls.
#[derive(Debug)]
pub struct Calls {
    durations: Times<Ended>,
    in_flight: Family<Method, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    method: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: String,
}

impl Calls {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let help = "How long calls took, by method and outcome";
        let durations = times(registry, "call_duration_seconds", help);
        let in_flight = registered(registry, "calls_in_flight", "Calls under way");
        Self { durations, in_flight }
    }

    /// A call begins. The caller bounds the number of methods.
    #[must_use]
    pub fn begins(&self, method: &str) -> InFlight {
        let gauge = self.in_flight.get_or_create_owned(&Method { method: method.to_owned() });
        gauge.inc();
        InFlight(gauge)
    }

    /// A call has ended.
    pub fn ended(&self, method: &str, took: Duration, ok: bool) {
        let labels = Ended { method: method.to_owned(), outcome: outcome(ok) };
        self.durations.get_or_create(&labels).observe(seconds(took));
    }
}

/// A call under way, until this is dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
