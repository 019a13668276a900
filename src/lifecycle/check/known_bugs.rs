//! Known bugs of plugins: their CHECK complains although the container is right, so no repair can help.

use std::net::IpAddr;

use super::rules::HostRules;
use crate::cni::{self, Failure};
use crate::lifecycle::error::Error;
use crate::lifecycle::host::tables::Family;
use crate::lifecycle::record::Attachment;
use crate::translate::PORT_MAPPINGS;

/// A plugin's complaint that is its own bug.
#[derive(Debug)]
pub(super) struct Mistake {
    /// The plugin's type.
    pub(super) plugin: String,
    /// What is reported about it.
    pub(super) note: String,
}

/// A complaint of a plugin.
struct Complaint<'c> {
    position: usize,
    said: String,
    attachment: &'c Attachment,
}

/// The bug behind a failed CHECK; none if the complaint may be right.
pub(super) fn mistake(
    error: &Error,
    attachment: &Attachment,
    rules: &HostRules,
) -> Option<Mistake> {
    let Error::Cni(cni::Error::Plugin(error)) = error else { return None };
    let Failure::Reported { msg, details, .. } = &error.failure else { return None };
    let said = format!("{msg} {details}").trim_end().to_owned();
    let complaint = Complaint { position: error.position, said, attachment };
    let addresses: Vec<IpAddr> = attachment.addresses().collect();
    let published = || {
        let families = addresses.iter().map(|address| Family::of(*address));
        let mut families = families.filter(|family| publishes_in(attachment, *family)).peekable();
        families.peek().is_some()
            && families.all(|family| rules.masquerade.publishes(family, attachment.id))
    };
    let of_other_family =
        error.plugin == "portmap" && is_of_the_other_family(&complaint.said, &addresses);
    let why = if of_other_family && published() {
        "looks for this container's rules among those of the other address family, as version 1.1.1 does \
         for every published port; the rules are in place"
    } else if complaint.is_of_a_route_that_sbr_moved() {
        "looks in the main table for a route that sbr has moved to another one"
    } else if is_of_another_table(&complaint.said) {
        "looks in the main table for a route that is in another one"
    } else if complaint.is_of_no_ipam() {
        "asks an IPAM plugin, although none is configured"
    } else {
        return None;
    };
    let plugin = error.plugin.clone();
    let note =
        format!("the CHECK of {plugin} {why}: a mistake of the plugin's own, which does not count");
    Some(Mistake { plugin, note })
}

/// Whether a port is published at the host's addresses of a family: a port at one host address is only in
/// the family of that address.
fn publishes_in(attachment: &Attachment, family: Family) -> bool {
    let mappings = attachment.parameters.capability_args.get(PORT_MAPPINGS);
    let mut mappings = mappings.and_then(|mappings| mappings.as_array()).into_iter().flatten();
    mappings.any(|mapping| {
        let address = mapping["hostIP"].as_str().unwrap_or_default().parse::<IpAddr>();
        address.is_err() || address.is_ok_and(|address| Family::of(address) == family)
    })
}

/// Plugins list the routes of the main table alone. This program itself compares those of all tables.
fn is_of_another_table(said: &str) -> bool {
    /// The kernel takes none for the main table.
    const MAIN: [u32; 2] = [0, 254];
    let table = said.split_once(" Table:").and_then(|(_, behind)| behind.split(' ').next());
    let table = table.and_then(|table| table.parse().ok());
    let is_other = table.is_some_and(|table| !MAIN.contains(&table));
    is_other && said.contains("Expected Route") && said.contains("not found")
}

/// portmap looks for the rules of one family in the other family's table, once it has found its own. For a
/// family that this container has, it is this bug only if the complaint names an address of the other
/// family.
fn is_of_the_other_family(said: &str, addresses: &[IpAddr]) -> bool {
    let missed = [("ipv4 dnat", Family::V4), ("ipv6 dnat", Family::V6)]
        .into_iter()
        .find(|(of, _)| said.contains(&format!("could not check {of}")));
    let Some((_, missed)) = missed else { return false };
    let mut others = addresses.iter().filter(|address| Family::of(**address) != missed);
    let has_none = addresses.len() == others.clone().count();
    has_none || others.any(|address| said.contains(&address.to_string()))
}

impl Complaint<'_> {
    /// This program itself compares the rules in that other table.
    fn is_of_a_route_that_sbr_moved(&self) -> bool {
        let behind = self.attachment.list.plugins().iter().skip(self.position + 1);
        let moved = behind.into_iter().any(|plugin| plugin.plugin_type() == "sbr");
        moved && self.said.contains("Expected Route") && self.said.contains("not found")
    }

    fn is_of_no_ipam(&self) -> bool {
        let plugin = self.attachment.list.plugins().get(self.position);
        let has_none = plugin.is_some_and(|plugin| plugin.ipam_type().is_none());
        has_none && self.said.contains("no plugin name provided")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_mistaken_where_it_looks_in_the_main_table_for_a_route_of_another() {
        let said = |table: &str| {
            format!(
                "Expected Route {{Dst:{{IP:172.20.0.0 Mask:ffff0000}} GW:10.0.0.1 MTU:0 AdvMSS:0 \
                 Priority:0{table} Scope:<nil>}} not found in routing table"
            )
        };
        assert!(is_of_another_table(&said(" Table:77")));
        for main in ["", " Table:<nil>", " Table:0", " Table:254"] {
            assert!(!is_of_another_table(&said(main)), "{main}");
        }
    }

    #[test]
    fn portmap_is_mistaken_where_it_looks_among_the_other_familys_rules() {
        const V4: &str = "10.22.0.5";
        const V6: &str = "fd00:22::5";
        let none =
            |family: &str| format!("could not check {family} dnat: chain CNI-DN-1 not found");
        let rule = |family: &str, to: &str| {
            format!("could not check {family} dnat: rule [[--to-destination {to}]] not found")
        };
        for (said, addresses, mistaken) in [
            (none("ipv6"), &[V4][..], true),
            (none("ipv4"), &[V4], false),
            (none("ipv4"), &[V6], true),
            (none("ipv6"), &[V6], false),
            (rule("ipv6", "10.22.0.5:80"), &[V4, V6], true),
            (rule("ipv6", "[fd00:22::5]:80"), &[V4, V6], false),
            (rule("ipv4", "10.22.0.5:80"), &[V4, V6], false),
            // With both families the complaint may be right.
            (none("ipv6"), &[V4, V6], false),
            ("some other complaint".into(), &[V4], false),
        ] {
            let addresses: Vec<IpAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
            let found = is_of_the_other_family(&said, &addresses);
            assert_eq!(found, mistaken, "{said} of {addresses:?}");
        }
    }
}
