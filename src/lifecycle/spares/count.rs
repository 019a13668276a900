//! How many spares a network gets: as many as it has used lately. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::cnm::{MOST_SPARES, SpareCount};

/// The most that a network gets without anybody asking.
const MOST: usize = 16;

/// The number is halved after each such time without a start.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// A network on which no container was started for this time gets none.
const UNUSED: Duration = Duration::from_secs(60 * 60);

/// The largest part of a pool that spares may have without anybody asking: one of so many addresses.
const PART_OF_POOL: u64 = 16;

/// How a network has been used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// How many spares its use calls for, at the time of the last start.
    level: usize,
    /// The last start of a container.
    last: Option<Instant>,
    /// How many containers were started since spares were made the last time.
    starts: usize,
    /// One of them found no spare.
    missed: bool,
}

impl Usage {
    /// It has been used so that there are so many spares.
    pub(super) fn with(level: usize, now: Instant) -> Self {
        Self { level, last: Some(now), ..Self::default() }
    }

    /// A container is started, which could have a spare, and has `found` one or not.
    pub(super) fn start(&mut self, found: bool, now: Instant) {
        self.level = self.calls_for(now).max(1);
        self.last = Some(now);
        self.starts += 1;
        self.missed |= !found;
    }

    /// Spares are made again: the starts since the last time were one burst.
    pub(super) fn end_burst(&mut self) {
        if self.missed {
            self.level = self.level.max(self.starts).min(MOST);
        }
        (self.starts, self.missed) = (0, false);
    }

    /// How many spares the use of the network calls for.
    pub(super) fn calls_for(&self, now: Instant) -> usize {
        let Some(idle) = self.last.map(|last| now.saturating_duration_since(last)) else {
            return 0;
        };
        if idle >= UNUSED {
            return 0;
        }
        // Below 6, since the network was used within the hour.
        let halved = idle.as_secs() / QUIET.as_secs();
        (self.level >> halved).max(1)
    }
}

/// How many spares a network gets.
///
/// `called_for` is by its use. `pool` is how many addresses its conflist has, if that is known, and
/// `others` how many of them the spares of other networks have.
pub(super) fn count(
    wanted: SpareCount,
    called_for: usize,
    pool: Option<u64>,
    others: usize,
) -> usize {
    match wanted {
        SpareCount::Number(number) => number.min(MOST_SPARES),
        SpareCount::Auto => {
            let room = usize::try_from(pool.unwrap_or(0) / PART_OF_POOL).unwrap_or(usize::MAX);
            called_for.min(room.saturating_sub(others))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A network on which so many containers were started at once, of which the first found a spare or not.
    fn after_burst(starts: usize, found: bool, now: Instant) -> Usage {
        let mut usage = Usage::default();
        for _ in 0..starts {
            usage.start(found, now);
        }
        usage.end_burst();
        usage
    }

    #[test]
    fn a_network_in_use_has_one_and_after_a_burst_that_found_none_as_many_as_that_needed() {
        let now = Instant::now();
        assert_eq!(Usage::default().calls_for(now), 0, "nobody has used it");
        assert_eq!(after_burst(1, false, now).calls_for(now), 1);
        assert_eq!(after_burst(5, false, now).calls_for(now), 5);
        assert_eq!(after_burst(40, false, now).calls_for(now), MOST);
        assert_eq!(after_burst(5, true, now).calls_for(now), 1, "there were enough");
        let mut usage = after_burst(5, false, now);
        usage.start(true, now);
        usage.end_burst();
        assert_eq!(usage.calls_for(now), 5, "a start that found one takes nothing away");
    }

    #[test]
    fn ten_quiet_minutes_halve_them_and_an_hour_ends_them() {
        let now = Instant::now();
        let usage = after_burst(16, false, now);
        let after = |minutes| usage.calls_for(now + minutes * MINUTE);
        let seen = [0, 9, 10, 20, 30, 40, 50, 59, 60, 600].map(after);
        assert_eq!(seen, [16, 16, 8, 4, 2, 1, 1, 1, 0, 0]);
        // A start does not bring back what the quiet time has taken.
        let (mut usage, later) = (usage, now + 30 * MINUTE);
        usage.start(true, later);
        usage.end_burst();
        assert_eq!(usage.calls_for(later), 2);
    }

    #[test]
    fn nobody_loses_more_than_a_sixteenth_of_a_pool_unless_somebody_asks() {
        let auto = |called_for, pool, others| count(SpareCount::Auto, called_for, pool, others);
        assert_eq!(auto(16, Some(253), 0), 15);
        assert_eq!(auto(1, Some(16), 0), 1);
        assert_eq!(auto(1, Some(15), 0), 0, "the pool is small");
        assert_eq!(auto(1, None, 0), 0, "its size is not known");
        assert_eq!(auto(8, Some(160), 7), 3, "networks share the pool of their conflist");
        assert_eq!(auto(0, Some(65_000), 0), 0);
        assert_eq!(count(SpareCount::Number(3), 0, None, 9), 3);
        assert_eq!(count(SpareCount::Number(0), 9, Some(65_000), 0), 0);
    }
}
