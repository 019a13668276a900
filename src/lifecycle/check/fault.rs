//! Something that is not as it should be, and what puts it right.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What it is, in words.
    pub what: String,
    /// The command that puts it right, or tells more; none where nobody knows one.
    pub remedy: Option<String>,
    /// What puts it right is that the container is started again: its plugins' ADD makes it anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
}

impl Fault {
    /// One with a remedy.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: Some(remedy.into()), restart: false }
    }

    /// One that is gone once the container is started again.
    pub fn by_restart(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None, restart: true }
    }

    /// One that only tells.
    pub fn without_remedy(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None, restart: false }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remedy {
            Some(remedy) => write!(f, "{}; run '{remedy}'", self.what),
            None if self.restart => {
                write!(f, "{}; 'docker restart' of the container has it made again", self.what)
            }
            None => f.write_str(&self.what),
        }
    }
}
