//! The kinds of metrics that the other files make.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// The upper bounds of the histograms' buckets, in seconds: from a plugin that only answers to the time that a
/// whole chain has.
const BUCKETS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 240.0];

/// A histogram of times for each set of labels.
pub(super) type Times<Labels> = Family<Labels, Histogram>;

/// Registers times, in seconds.
pub(super) fn times<Labels>(registry: &mut Registry, name: &str, help: &str) -> Times<Labels>
where
    Labels: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static,
{
    let new: fn() -> Histogram = || Histogram::new(BUCKETS);
    let times = Times::<Labels>::new_with_constructor(new);
    registry.register(name, help, times.clone());
    times
}

/// Registers a metric, or a family of metrics, that begins at 0.
pub(super) fn registered<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// A time as metrics have it.
pub(super) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// The word for whether something succeeded.
pub(super) fn outcome(ok: bool) -> &'static str {
    if ok { "ok" } else { "failed" }
}

/// The labels of metrics that are gathered for a scrape.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Registers metrics that were just gathered. Those with the same labels are added up.
pub(super) fn gauge(
    registry: &mut Registry,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels, f64)>,
) {
    let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).inc_by(value);
    }
    registry.register(name, help, family);
}

/// A metric without labels.
pub(super) fn alone(value: f64) -> impl Iterator<Item = (Labels, f64)> {
    std::iter::once((Labels::new(), value))
}
