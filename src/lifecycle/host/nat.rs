//! The rules of the nat table that the reference plugins made for attachments.

use std::collections::HashSet;
use std::net::IpAddr;

use super::forward::{self, Table};
use crate::lifecycle::error::Result;
use crate::lifecycle::record::AttachmentId;

/// The addresses of an attachment that rules of nat translate yet.
pub(crate) async fn masqueraded(id: AttachmentId) -> Result<HashSet<IpAddr>> {
    let rules = forward::list(Table::Nat).await?;
    let of_attachment = rules.iter().filter(|rule| named_in(rule).is_some_and(|(_, of)| of == id));
    let addresses = of_attachment.filter_map(|rule| {
        let address = rule.split_once("-s ")?.1.split(['/', ' ']).next()?;
        address.parse().ok()
    });
    Ok(addresses.collect())
}

/// The network and the attachment in the comment that the reference plugins give their rules:
/// `name: "NETWORK" id: "CONTAINERID"`.
pub(crate) fn named_in(rule: &str) -> Option<(String, AttachmentId)> {
    let rule = rule.replace("\\\"", "\"");
    let quoted = |key: &str| Some(rule.split_once(key)?.1.split_once('"')?.0.to_owned());
    Some((quoted("name: \"")?, AttachmentId::parse(&quoted("id: \"")?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_of_the_reference_plugins_names_network_and_attachment() {
        let id = AttachmentId::new();
        for rule in [
            format!(
                r#"-A POSTROUTING -s 10.22.0.5/32 -m comment --comment "name: \"web\" id: \"{id}\"" -j CNI-1"#
            ),
            format!(
                r#"-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \"web\" id: \"{id}\"" -j CNI-DN-1"#
            ),
        ] {
            assert_eq!(named_in(&rule), Some(("web".into(), id)), "{rule}");
        }
        let pod = r#"-A POSTROUTING -m comment --comment "name: \"web\" id: \"4f3c\"" -j CNI-2"#;
        assert_eq!(named_in(pod), None);
    }
}
