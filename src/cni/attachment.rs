//! What makes one attachment differ from another of the same network.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::name::{self, InvalidName};

/// The parameters of one attachment (SPEC.md section 3, "Attachment Parameters").
///
/// CHECK and DEL need the ones that ADD had, so they are to be stored with its result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`, the path of the network namespace. Only DEL does without it.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`, the name of the interface in the container.
    pub if_name: String,
    /// The pairs of `CNI_ARGS`, in their order.
    #[serde(default)]
    pub args: Vec<(String, String)>,
    /// Capability arguments by the name of the capability (CONVENTIONS.md). Each goes to
    /// the plugins that declare that capability, and to no other.
    #[serde(default)]
    pub capability_args: Map<String, Value>,
}

/// An attachment that is still in use, as GC lists it for plugins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ValidAttachment {
    /// `CNI_CONTAINERID` at ADD.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME` at ADD.
    #[serde(rename = "ifname")]
    pub if_name: String,
}

/// An attachment's parameters cannot be handed to a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttachment {
    /// The container id or the interface name cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// There is no namespace, and the verb needs one.
    #[error("the network namespace (CNI_NETNS) is missing")]
    NoNetns,
    /// The pair would change its neighbours' meaning in `CNI_ARGS`.
    #[error(
        "the pair {key:?}={value:?} does not fit into CNI_ARGS: \
         a key has at least one character and no '=', neither part has a ';'"
    )]
    Arg {
        /// The pair's key.
        key: String,
        /// The pair's value.
        value: String,
    },
    /// The part of a `CNI_ARGS` is not one key and one value.
    #[error("invalid CNI_ARGS pair {0:?}")]
    NotAPair(String),
    /// A text that becomes an environment variable contains a NUL.
    #[error("{0} contains a NUL character")]
    Nul(&'static str),
}

impl Attachment {
    /// Reads the value of `CNI_ARGS`, with cnitool's rules and its error.
    ///
    /// # Errors
    ///
    /// [`InvalidAttachment::NotAPair`] names the first part that is not `KEY=VALUE`: neither
    /// is empty, and there is one `=`.
    pub fn parse_args(text: &str) -> Result<Vec<(String, String)>, InvalidAttachment> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        text.split(';')
            .map(|pair| match pair.split_once('=') {
                Some((key, value))
                    if !key.is_empty() && !value.is_empty() && !value.contains('=') =>
                {
                    Ok((key.to_owned(), value.to_owned()))
                }
                _ => Err(InvalidAttachment::NotAPair(pair.to_owned())),
            })
            .collect()
    }

    /// Checks everything that becomes an environment variable.
    ///
    /// # Errors
    ///
    /// [`InvalidAttachment`] names the first part that plugins cannot be given.
    pub fn check(&self) -> Result<(), InvalidAttachment> {
        name::check_container_id(&self.container_id)?;
        name::check_interface(&self.if_name)?;
        for (key, value) in &self.args {
            if key.is_empty() || key.contains(['=', ';']) || value.contains(';') {
                let (key, value) = (key.clone(), value.clone());
                return Err(InvalidAttachment::Arg { key, value });
            }
            if key.contains('\0') || value.contains('\0') {
                return Err(InvalidAttachment::Nul("CNI_ARGS"));
            }
        }
        let netns = self.netns.as_deref().map(|path| path.as_os_str().as_encoded_bytes());
        if netns.is_some_and(|path| path.contains(&0)) {
            return Err(InvalidAttachment::Nul("CNI_NETNS"));
        }
        Ok(())
    }

    /// As [`Attachment::check`], for the verbs that work inside the namespace.
    pub(super) fn check_with_netns(&self) -> Result<(), InvalidAttachment> {
        self.check()?;
        match &self.netns {
            Some(path) if !path.as_os_str().is_empty() => Ok(()),
            _ => Err(InvalidAttachment::NoNetns),
        }
    }

    /// The value of `CNI_ARGS`.
    #[must_use]
    pub fn cni_args(&self) -> String {
        let pairs: Vec<String> =
            self.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r16_cni_args_are_pairs_with_one_equals_sign_each() {
        let read = Attachment::parse_args;
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(read("").unwrap(), []);
        assert_eq!(read("A=b;C=d").unwrap(), [pair("A", "b"), pair("C", "d")]);
        for (text, bad) in
            [("A", "A"), ("A=b;", ""), ("=b", "=b"), ("A=", "A="), ("A=b=c", "A=b=c")]
        {
            let error = read(text).unwrap_err().to_string();
            assert_eq!(error, format!("invalid CNI_ARGS pair {bad:?}"));
        }
    }
}
