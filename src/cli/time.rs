//! Times for people.

use jiff::Timestamp;

/// How long ago a time was, in the largest unit that fits: `3m`. A time in the future counts as now,
/// because the clock may have been set back since.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_in_the_largest_unit_that_fits() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let ages = [(0, 59), (0, 60), (0, 8_300), (0, 90_000), (100, 0)];
        let told = ages.map(|(then, now)| age(at(then), at(now)));
        assert_eq!(told, ["59s", "1m", "2h", "1d", "0s"]);
        assert_eq!(age(Timestamp::MIN, Timestamp::MAX).pop(), Some('d'));
    }
}
