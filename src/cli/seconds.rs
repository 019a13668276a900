//! Flags that take a number of seconds.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::value_parser;

/// The longest time that a flag takes: a year. What is longer is a mistake, and the kernel's clock
/// cannot count to all of it.
const LONGEST: u64 = 365 * 24 * 60 * 60;

/// At least one second: for work that needs time.
pub(super) const SOME: RangeInclusive<u64> = 1..=LONGEST;

/// At least zero seconds.
pub(super) const ANY: RangeInclusive<u64> = 0..=LONGEST;

/// Reads seconds within these bounds.
pub(super) fn seconds(bounds: RangeInclusive<u64>) -> impl TypedValueParser<Value = Duration> {
    value_parser!(u64).range(bounds).map(Duration::from_secs)
}
