//! What one run of a plugin is about.

use crate::cni::{Attachment, Failure, PluginError, Verb};

/// One execution.
#[derive(Debug, Clone, Copy)]
pub(in crate::cni) struct Call<'a> {
    pub(in crate::cni) verb: Verb,
    /// The plugin's type.
    pub(in crate::cni) plugin: &'a str,
    /// Its place in the chain, from 0.
    pub(in crate::cni) position: usize,
    pub(in crate::cni) network: Option<&'a str>,
    pub(in crate::cni) attachment: Option<&'a Attachment>,
    pub(in crate::cni) stdin: &'a [u8],
}

impl Call<'_> {
    pub(in crate::cni) fn failed(&self, failure: Failure, stderr: String) -> Box<PluginError> {
        Box::new(PluginError {
            plugin: self.plugin.to_owned(),
            network: self.network.map(str::to_owned),
            verb: self.verb,
            position: self.position,
            failure,
            stderr,
        })
    }
}
