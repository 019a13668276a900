//! The state of an attachment's removal, and when it is tried again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often DEL is tried before it is given up on: with the pauses below, for 17 minutes.
const ATTEMPTS: u32 = 11;

/// The pause after the first failure; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The state of an attachment's removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Removal {
    /// When Docker let go of it, or a call failed; in seconds since 1970.
    pub(crate) since: u64,
    /// How often DEL has failed.
    pub(crate) attempts: u32,
    /// Why, the last time.
    pub(crate) error: Option<String>,
    /// How many plugins of the chain have run, if ADD failed and the number is known. With 0, DEL has nothing to
    /// do.
    pub(crate) plugins_run: Option<usize>,
    /// It is the undo of a call that was refused. Not on record: after a crash it is a removal like others.
    pub(crate) refused: bool,
}

impl Removal {
    pub(crate) fn begun_now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { since: since.as_secs(), attempts: 0, error: None, plugins_run: None, refused: false }
    }

    /// Whether DEL has not failed yet.
    pub(crate) fn is_first_attempt(&self) -> bool {
        self.attempts == 0
    }

    pub(crate) fn given_up(&self) -> bool {
        self.attempts >= ATTEMPTS
    }

    /// How long to wait after the failures so far; none if it is given up on.
    pub(crate) fn pause(&self) -> Option<Duration> {
        (!self.given_up()).then(|| FIRST_PAUSE * (1 << self.attempts.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_and_end_after_seventeen_minutes() {
        let mut removal = Removal::begun_now();
        let mut pauses = Vec::new();
        while let Some(pause) = {
            removal.attempts += 1;
            removal.pause()
        } {
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses[..4], [1, 2, 4, 8]);
        assert_eq!(pauses.iter().sum::<u64>(), 17 * 60 + 3);
        assert!(removal.given_up());
    }
}
