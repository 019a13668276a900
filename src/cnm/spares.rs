//! How many attachments a network has ready that no container has yet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most that a network may have.
pub const MOST_SPARES: usize = 64;

/// How many a network has, in words or as a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SpareCount {
    /// As many as were needed lately, and few beside the addresses that the conflist has.
    #[default]
    Auto,
    /// So many, up to [`MOST_SPARES`].
    Number(usize),
}

impl FromStr for SpareCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| *number <= MOST_SPARES);
        match (text, number) {
            ("auto", _) => Ok(Self::Auto),
            (_, Some(number)) => Ok(Self::Number(number)),
            _ => Err(format!("expected a number from 0 to {MOST_SPARES}, or auto")),
        }
    }
}

impl fmt::Display for SpareCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl TryFrom<String> for SpareCount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SpareCount> for String {
    fn from(count: SpareCount) -> Self {
        count.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_up_to_64_or_auto_is_read_and_nothing_else() {
        for (text, count) in [
            ("auto", SpareCount::Auto),
            ("0", SpareCount::Number(0)),
            ("64", SpareCount::Number(64)),
        ] {
            assert_eq!(text.parse(), Ok(count));
            assert_eq!(count.to_string(), text);
            let json = serde_json::to_string(&count).unwrap();
            assert_eq!(serde_json::from_str::<SpareCount>(&json).unwrap(), count);
        }
        for text in ["", "65", "-1", "many", "1.5", "Auto"] {
            let refusal = text.parse::<SpareCount>().unwrap_err();
            assert_eq!(refusal, "expected a number from 0 to 64, or auto", "{text}");
        }
    }
}
