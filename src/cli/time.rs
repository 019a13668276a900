//! Times for people.

use jiff::civil::{DateTime, Time};
use jiff::{Span, Timestamp, ToSpan as _, ZonedDateTime};

/// A time as users give it.
#[derive(Debug, Clone)]
pub(super) enum Moment {
    /// `03:00`, `03:00:30`: of today, or of yesterday.
    Clock(Time),
    /// `10m`, `2h30m`, `1d`: so long ago.
    Ago(Span),
    /// `2026-08-01T03:00:00Z`.
    At(Timestamp),
    /// `2026-08-01T03:00`, in the time zone of this machine.
    Local(DateTime),
}

impl Moment {
    /// Reads a time.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if let Some(time) = clock(text) {
            return Ok(Self::Clock(time));
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::Local(time));
        }
        match text.parse::<Span>() {
            Ok(span) if !span.is_negative() => Ok(Self::Ago(span)),
            _ => Err("a time is HH:MM or HH:MM:SS of today, how long ago as 10m or 2h30m, or in full as \
                      2026-08-01T03:00:00Z"
                .to_owned()),
        }
    }

    /// The last such moment before `now`.
    pub(super) fn before(&self, now: &ZonedDateTime) -> anyhow::Result<Timestamp> {
        let Self::Clock(time) = self else { return self.fixed(now) };
        let today = now.date().to_datetime(*time).to_zoned_datetime(now.time_zone().clone())?;
        let last = if today > *now { today.checked_sub(1.day())? } else { today };
        Ok(last.timestamp())
    }

    /// The first such moment after `since`: the end of a time that begins there.
    pub(super) fn after(&self, since: Timestamp, now: &ZonedDateTime) -> anyhow::Result<Timestamp> {
        let Self::Clock(time) = self else { return self.fixed(now) };
        let since = since.to_zoned_datetime(now.time_zone().clone());
        let same = since.date().to_datetime(*time).to_zoned_datetime(now.time_zone().clone())?;
        let first = if same < since { same.checked_add(1.day())? } else { same };
        Ok(first.timestamp())
    }

    fn fixed(&self, now: &ZonedDateTime) -> anyhow::Result<Timestamp> {
        Ok(match self {
            Self::Clock(_) => now.timestamp(),
            Self::Ago(span) => now.checked_sub(*span)?.timestamp(),
            Self::At(time) => *time,
            Self::Local(time) => time.to_zoned_datetime(now.time_zone().clone())?.timestamp(),
        })
    }
}

/// Reads `3:00`, `03:00` or `03:00:30`.
fn clock(text: &str) -> Option<Time> {
    let mut parts = text.split(':').map(|part| {
        let sound = (1..=2).contains(&part.len()) && part.bytes().all(|it| it.is_ascii_digit());
        part.parse::<i8>().ok().filter(|_| sound)
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    match parts.next() {
        None => Time::new(hour, minute, second, 0).ok(),
        Some(_) => None,
    }
}

/// A time of the day in that zone, with the day if that is not the one of `now`.
pub(super) fn of_day(time: Timestamp, now: &ZonedDateTime) -> String {
    let time = time.to_zoned_datetime(now.time_zone().clone());
    let form = if time.date() == now.date() { "%H:%M:%S" } else { "%m-%d %H:%M:%S" };
    time.strftime(form).to_string()
}

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

/// How long something took: `12 ms`, `3.4 s`.
pub(super) fn took(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        10.0..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1000.0),
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

    fn now() -> ZonedDateTime {
        "2026-08-02T02:15:00+02:00[+02:00]".parse().unwrap()
    }

    #[test]
    fn a_time_of_the_day_is_the_last_one() {
        for (text, expected) in [
            ("02:00", "2026-08-02T00:00:00Z"),
            ("2:00:30", "2026-08-02T00:00:30Z"),
            ("03:00", "2026-08-01T01:00:00Z"),
            ("10m", "2026-08-02T00:05:00Z"),
            ("1h30m", "2026-08-01T22:45:00Z"),
            ("1d", "2026-08-01T00:15:00Z"),
            ("2026-07-01T03:00:00Z", "2026-07-01T03:00:00Z"),
            ("2026-07-01T03:00:00+01:00", "2026-07-01T02:00:00Z"),
            ("2026-07-01 03:00", "2026-07-01T01:00:00Z"),
        ] {
            let read = Moment::read(text).unwrap().before(&now()).unwrap();
            assert_eq!(read, expected.parse().unwrap(), "{text}");
        }
        for wrong in ["", "24:00", "3:0x", "1:2:3:4", "-10m", "10", "yesterday", "03:60", "+3:00"] {
            assert!(Moment::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_end_of_a_time_is_the_first_one_after_its_begin() {
        let end = |since: &str, until: &str| {
            let since = Moment::read(since).unwrap().before(&now()).unwrap();
            Moment::read(until).unwrap().after(since, &now()).unwrap().to_string()
        };
        assert_eq!(end("03:00", "03:30"), "2026-08-01T01:30:00Z");
        assert_eq!(end("23:30", "00:30"), "2026-08-01T22:30:00Z");
        // It has not come yet.
        assert_eq!(end("02:00", "02:30"), "2026-08-02T00:30:00Z");
        assert_eq!(end("03:00", "10m"), "2026-08-02T00:05:00Z");
    }

    #[test]
    fn a_time_is_told_with_its_day_unless_that_is_today() {
        let told = |time: &str| of_day(time.parse().unwrap(), &now());
        assert_eq!(told("2026-08-02T00:05:00Z"), "02:05:00");
        assert_eq!(told("2026-08-01T01:00:00Z"), "08-01 03:00:00");
        assert_eq!([took(1.23), took(41.9), took(90_100.0)], ["1.2 ms", "42 ms", "90.1 s"]);
    }
}
