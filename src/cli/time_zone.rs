//! The time zone of the user: `TZ`, or that of this machine.
//!
//! A library would look for it by itself, and read what `TZ` names to its end, and some of each file of
//! `TZDIR`. This reads one regular file.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use super::output::{complain, line};
use crate::whole;

/// Where time zones are, unless `TZDIR` says otherwise.
const USUAL: &str = "/usr/share/zoneinfo";
/// That of this machine.
const OWN: &str = "/etc/localtime";

/// The time now, in the user's time zone. If that is not known, it is UTC, and a line tells why, once.
pub(super) fn now() -> ZonedDateTime {
    static ZONE: LazyLock<TimeZone> = LazyLock::new(|| {
        let said = |name| env::var_os(name).filter(|value| !value.is_empty());
        let folder = said("TZDIR").map_or_else(|| USUAL.into(), PathBuf::from);
        let found = match env::var("TZ") {
            Ok(wanted) => of(&wanted, &folder).map_err(|why| format!("TZ={wanted:?}: {why}")),
            Err(env::VarError::NotPresent) if !Path::new(OWN).exists() => Ok(TimeZone::UTC),
            Err(env::VarError::NotPresent) => read(Path::new(OWN)),
            Err(env::VarError::NotUnicode(_)) => Err("TZ is not UTF-8".to_owned()),
        };
        found.unwrap_or_else(|why| {
            complain(&line(&format!("note: times are in UTC: {why}")));
            TimeZone::UTC
        })
    });
    Timestamp::now().to_zoned_datetime(ZONE.clone())
}

/// The time zone that `TZ` names: by the path of a file, by the name of one in `folder`, or by a rule as
/// `CET-1CEST,M3.5.0,M10.5.0/3` (POSIX.1, "Other Environment Variables").
fn of(wanted: &str, folder: &Path) -> Result<TimeZone, String> {
    let wanted = wanted.strip_prefix(':').unwrap_or(wanted);
    // Known without files, too.
    if ["", "UTC", "Etc/UTC"].contains(&wanted) {
        return Ok(TimeZone::UTC);
    }
    let file = folder.join(wanted);
    if Path::new(wanted).is_relative() && !file.exists() {
        let no_rule = |_| format!("it is no rule, and {} does not exist", file.display());
        return TimeZone::posix(wanted).map_err(no_rule);
    }
    read(&file)
}

fn read(file: &Path) -> Result<TimeZone, String> {
    let failed = |why: String| format!("cannot read {}: {why}", file.display());
    let bytes = whole::read(file, whole::SMALL).map_err(|error| failed(error.to_string()))?;
    TimeZone::tzif("", &bytes).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offset of noon in winter and in summer.
    fn offsets(zone: &TimeZone) -> [i32; 2] {
        ["2026-01-01T12:00:00Z", "2026-07-01T12:00:00Z"]
            .map(|time| zone.to_offset(time.parse().unwrap()).seconds() / 3600)
    }

    #[test]
    fn a_time_zone_is_a_rule_a_name_or_a_file_and_nothing_without_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let of = |wanted: &str| super::of(wanted, folder.path());
        for (wanted, expected) in [
            ("", [0, 0]),
            ("UTC", [0, 0]),
            (":Etc/UTC", [0, 0]),
            ("JST-9", [9, 9]),
            ("CET-1CEST,M3.5.0,M10.5.0/3", [1, 2]),
        ] {
            assert_eq!(offsets(&of(wanted).unwrap()), expected, "{wanted}");
        }
        std::fs::write(folder.path().join("Broken"), "TZif").unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("Zero")).unwrap();
        for (wanted, why) in [
            ("/dev/zero", "cannot read /dev/zero: it is not a regular file"),
            ("Zero", "Zero: it is not a regular file"),
            ("../../dev", "Is a directory"),
            ("Broken", "Broken: "),
            ("/nope", "cannot read /nope: "),
            ("Nowhere/Town", "it is no rule, and "),
        ] {
            let told = of(wanted).unwrap_err();
            assert!(told.contains(why), "{wanted}: {told}");
        }
    }

    #[test]
    fn a_time_zone_of_the_machine_is_read() {
        // Where the machine has a database.
        if Path::new(USUAL).join("Europe/Berlin").exists() {
            assert_eq!(offsets(&super::of("Europe/Berlin", Path::new(USUAL)).unwrap()), [1, 2]);
        }
    }
}
