//! Something that is wrong, and the remedy.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What it is, in words.
    pub what: String,
    /// The command that corrects it, or tells more; none if there is none.
    pub remedy: Option<String>,
    /// The remedy is to start the container again: its plugins' ADD makes everything anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
    /// The link of the host that has it; none if it is of no link alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl Fault {
    /// A fault with a remedy.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: Some(remedy.into()), restart: false, link: None }
    }

    /// A fault whose remedy is to start the container again.
    pub fn by_restart(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None, restart: true, link: None }
    }

    /// The same fault, of a link of the host.
    pub(crate) fn of_link(self, link: &str) -> Self {
        Self { link: Some(link.to_owned()), ..self }
    }

    /// A fault without a remedy.
    pub fn without_remedy(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None, restart: false, link: None }
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
