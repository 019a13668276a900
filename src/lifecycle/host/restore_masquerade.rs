//! Masquerade rules that the host has lost, written again by a plugin.
//!
//! The reference plugins `bridge` and `ptp` write them at ADD, with everything else that they make. But the rules
//! depend only on the name of the network, and on the ids and addresses of the attachment. So the driver runs
//! `bridge` where it makes nothing else: in a new namespace, on a new bridge, with given addresses (IPAM
//! `static`). Then it removes namespace and bridge, and the rules stay. The DEL of the attachment removes them.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::Chains;
use crate::cni::{self, NetworkConfigList};
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::Result;
use crate::lifecycle::host_folders;
use crate::lifecycle::record::Attachment;
use crate::netlink::Netlink;
use crate::netns;

/// The beginning of the namespace's name, before the attachment's id.
const NAMESPACE: &str = "masked-";

/// Whether a plugin can be run alone to write the rules of this attachment.
pub(crate) fn is_possible(attachment: &Attachment) -> bool {
    attachment.list.plugins().first().is_some_and(|first| {
        matches!(first.plugin_type(), "bridge" | "ptp")
            && first.get("ipMasq") == Some(&Value::Bool(true))
    })
}

/// Writes the masquerade rules for these addresses of an attachment.
///
/// # Errors
/// The plugin fails, or its namespace cannot be made. Nothing is left but perhaps rules.
pub(crate) async fn write(
    chains: &Chains,
    own: &Netlink,
    netns_dir: &Path,
    attachment: &Attachment,
    addresses: &[IpAddr],
) -> Result<()> {
    let name = format!("{NAMESPACE}{}", attachment.id);
    let path = netns_dir.join(&name);
    let cni::Attachment { container_id, if_name, .. } = attachment.parameters.clone();
    let parameters = cni::Attachment {
        container_id,
        if_name: if_name.clone(),
        netns: Some(path.clone()),
        ..cni::Attachment::default()
    };
    let list = list(attachment, addresses, &bridge(&name))?;
    clear(own, netns_dir, &name).await?;
    netns::create(&path).await?;
    let added = chains.add(&list, &parameters, |_, _| {}).await.map(drop);
    // At once: the kernel needs some time for a namespace.
    if let Ok(inside) = Netlink::in_netns(&path).await
        && let Ok(Some(link)) = inside.link(&if_name).await
        && let Err(error) = inside.delete_link(link.index).await
    {
        tracing::debug!(%error, "the interface goes with its namespace");
    }
    let cleared = clear(own, netns_dir, &name).await;
    added.and(cleared)
}

/// Removes what a driver that was killed left of this.
pub(crate) async fn end_interrupted(own: &Netlink, netns_dir: &Path) -> Result<()> {
    let folder = netns_dir.to_owned();
    let entries = on_blocking_thread(move || host_folders::entries(&folder)).await?;
    let names = entries.iter().filter_map(|path| path.file_name()?.to_str());
    for name in names.filter(|name| name.starts_with(NAMESPACE)) {
        clear(own, netns_dir, name).await?;
    }
    Ok(())
}

/// Removes the namespace of that name, and its bridge.
async fn clear(own: &Netlink, netns_dir: &Path, name: &str) -> Result<()> {
    if let Some(bridge) = own.link(&bridge(name)).await? {
        own.delete_link(bridge.index).await?;
    }
    Ok(netns::remove(&netns_dir.join(name)).await?)
}

/// The bridge of a namespace. A link's name has 15 letters at most.
fn bridge(namespace: &str) -> String {
    let id = namespace.trim_start_matches(NAMESPACE).replace('-', "");
    format!("cnmm{}", id.chars().take(11).collect::<String>())
}

/// A conflist of one plugin. Of what that makes, only the rules stay.
fn list(attachment: &Attachment, addresses: &[IpAddr], bridge: &str) -> Result<NetworkConfigList> {
    let ips = attachment.result().into_iter().flat_map(|result| &result.ips);
    let ips = ips.filter(|ip| addresses.contains(&ip.address.addr()));
    let addresses: Vec<Value> = ips.map(|ip| json!({ "address": ip.address })).collect();
    let mut plugin = json!({
        "type": "bridge",
        "bridge": bridge,
        "ipMasq": true,
        "ipam": { "type": "static", "addresses": addresses },
    });
    let first = attachment.list.plugins().first();
    if let Some(backend) = first.and_then(|first| first.get("ipMasqBackend")) {
        plugin["ipMasqBackend"] = backend.clone();
    }
    let list = json!({
        "cniVersion": attachment.list.cni_version(),
        "name": attachment.list.name(),
        "plugins": [plugin],
    });
    Ok(NetworkConfigList::parse(list.to_string().as_bytes())?)
}
