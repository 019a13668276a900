//! Versions of the CNI specification, and how they compare.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A version of the CNI specification, as configurations and results name it.
///
/// It is written with three parts whatever it was read from: `0.4` is `0.4.0`, and an
/// empty string, which stands for a file from before versions were written down, is
/// `0.1.0`. The derived order compares the parts as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// The first version; also meant where none is given.
    pub const V0_1_0: Self = Self::new(0, 1, 0);
    /// The version that brought VERSION.
    pub const V0_2_0: Self = Self::new(0, 2, 0);
    /// The version that brought chains, and results with lists of interfaces and addresses.
    pub const V0_3_0: Self = Self::new(0, 3, 0);
    /// As 0.3.0; a misprint in the specification was corrected.
    pub const V0_3_1: Self = Self::new(0, 3, 1);
    /// The version that brought CHECK, and `prevResult` at DEL.
    pub const V0_4_0: Self = Self::new(0, 4, 0);
    /// The version that dropped the address family from results.
    pub const V1_0_0: Self = Self::new(1, 0, 0);
    /// The version that brought GC and STATUS.
    pub const V1_1_0: Self = Self::new(1, 1, 0);

    /// The latest version that this runtime speaks.
    pub const LATEST: Self = Self::V1_1_0;

    const PUBLISHED: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Whether this version was published: only then is the form of its results known.
    #[must_use]
    pub fn is_published(self) -> bool {
        Self::PUBLISHED.contains(&self)
    }

    /// Whether results have the `ip4` and `ip6` of 0.1.0 and 0.2.0.
    pub(super) fn has_one_address_per_family(self) -> bool {
        self < Self::V0_3_0
    }

    /// Whether results have the family of each address, as 0.3.0 to 0.4.0 do.
    pub(super) fn has_address_family(self) -> bool {
        (Self::V0_3_0..Self::V1_0_0).contains(&self)
    }

    /// Whether the verb CHECK exists, and DEL gets a `prevResult`.
    pub(super) fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether the verbs GC and STATUS exist.
    pub(super) fn has_gc_and_status(self) -> bool {
        self >= Self::V1_1_0
    }
}

/// A version is not made of one to three numbers with dots between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a CNI version: expected numbers as in \"1.0.0\"")]
pub struct InvalidVersion(String);

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let invalid = || InvalidVersion(text.to_owned());
        if text.is_empty() {
            return Ok(Self::V0_1_0);
        }
        let mut parts = [0; 3];
        for (index, part) in text.split('.').enumerate() {
            // `parse` would take a leading plus sign.
            if !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(invalid());
            }
            *parts.get_mut(index).ok_or_else(invalid)? = part.parse().map_err(|_| invalid())?;
        }
        let [major, minor, patch] = parts;
        Ok(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l13_missing_parts_are_zero_and_none_at_all_is_the_first_version() {
        for (text, shown) in [("", "0.1.0"), ("0.4", "0.4.0"), ("1", "1.0.0"), ("1.1.0", "1.1.0")] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn l13_anything_else_is_an_error_that_shows_it() {
        for text in ["1.0.f", "1.2.3.4", "v1.0.0", "1..0", "+1.0.0", "1.0.0-rc1", " 1.0", "."] {
            let error = text.parse::<Version>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        assert!("4294967296.0.0".parse::<Version>().is_err());
    }

    #[test]
    fn l13_parts_compare_as_numbers() {
        let parse = |text: &str| text.parse::<Version>().unwrap();
        assert!(parse("0.10.0") > parse("0.9.9"));
        assert!(parse("1.0.0") > parse("0.4.0"));
        assert!(parse("99.0.0") > Version::LATEST);
        assert!(!parse("1.2.3").is_published());
    }
}
