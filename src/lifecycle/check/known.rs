//! Plugins whose CHECK complains of what is right: mistakes of their own, which no container can be
//! mended of.

use crate::cni::{self, Failure};
use crate::lifecycle::Error;
use crate::lifecycle::host::tables::Family;
use crate::lifecycle::record::Attachment;

use super::host::HostRules;

/// A plugin's complaint that is its own mistake.
pub(super) struct Mistake {
    /// The plugin's type.
    pub(super) plugin: String,
    /// What is told of it.
    pub(super) note: String,
}

/// The mistake behind a failed CHECK; none if the complaint may be right.
pub(super) fn mistake(
    error: &Error,
    attachment: &Attachment,
    rules: &HostRules,
) -> Option<Mistake> {
    let Error::Cni(cni::Error::Plugin(error)) = error else { return None };
    let Failure::Reported { msg, details, .. } = &error.failure else { return None };
    let said = format!("{msg} {details}");
    let addresses: Vec<_> = attachment.addresses().collect();
    let families: Vec<Family> = addresses.iter().map(|address| Family::of(*address)).collect();
    let missed = (error.plugin == "portmap").then(|| wrong_family(&said))??;
    // The rules of one family are looked for among the other's, once its own were found. A complaint
    // of rules that this container has is one only if it names the other family's addresses.
    let quotes = |address: &std::net::IpAddr| said.contains(&address.to_string());
    let is_mistaken = !families.contains(&missed)
        || addresses.iter().any(|address| Family::of(*address) != missed && quotes(address));
    if !is_mistaken || !families.iter().all(|family| rules.publish(*family, attachment)) {
        return None;
    }
    let note = format!(
        "the CHECK of portmap looks for this container's rules among those of the other address \
         family, as version 1.1.1 does for every published port: a mistake of the plugin's own; the \
         rules are in place, and the plugin is left out ({said})"
    );
    Some(Mistake { plugin: error.plugin.clone(), note })
}

/// The family of which portmap says that it found no rules.
fn wrong_family(said: &str) -> Option<Family> {
    [("could not check ipv4 dnat", Family::V4), ("could not check ipv6 dnat", Family::V6)]
        .into_iter()
        .find_map(|(words, family)| said.contains(words).then_some(family))
}
