//! What an attachment whose DEL failed has left on the host.
//!
//! Some plugins fail at every DEL if there is nothing to remove: `host-device` for a device that it never took,
//! a chain for a configuration that ADD has refused too. If nothing of an attachment is left on the host, its DEL
//! is not repeated. Only the reference plugins are known well enough to look for what they make; what cannot be
//! checked counts as left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cni::PluginConfig;
use crate::lifecycle::error;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::lease;
use crate::lifecycle::record::Attachment;
use crate::netlink::Netlink;
use crate::process::host;
use crate::translate::DHCP;
use crate::{netlink, netns, translate, whole};

/// Plugins whose traces are looked for below. What they make in the staging namespace is removed with it,
/// except for a device of the host.
const KNOWN: [&str; 11] = [
    "bridge",
    "ptp",
    "macvlan",
    "ipvlan",
    "vlan",
    "dummy",
    "tap",
    "host-device",
    "portmap",
    "sbr",
    "tuning",
];

/// IPAM plugins whose traces are looked for below. `static` has none.
const KNOWN_IPAM: [&str; 3] = ["host-local", "static", DHCP];

/// Why it is unknown what is left.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("cannot look at {}", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error("{program}: {source}")]
    Program { program: &'static str, source: host::Failed },
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    #[error(transparent)]
    Netns(#[from] netns::Error),
    #[error(transparent)]
    Fresh(#[from] Box<error::Error>),
}

type Result<T> = std::result::Result<T, Unreadable>;

/// A trace of the attachment on the host, in words; none if there is nothing.
///
/// # Errors
/// A part of the host's state cannot be read.
pub(super) async fn left_by(
    interfaces: &Interfaces,
    attachment: &Attachment,
) -> Result<Option<String>> {
    if let Some(plugin) = unknown(attachment) {
        return Ok(Some(format!("whatever plugin {plugin:?} keeps")));
    }
    let id = attachment.id.to_string();
    if let Some(lease) = lease(attachment, &id)? {
        return Ok(Some(lease));
    }
    // Its daemon has leases in memory alone.
    if let Some(socket) = translate::dhcp_socket(&attachment.list)
        && lease::answers(socket).await
    {
        return Ok(Some("whatever the daemon of plugin \"dhcp\" keeps".to_owned()));
    }
    if let Some(backup) = backup(attachment)? {
        return Ok(Some(backup));
    }
    if interfaces.own_background.link(&attachment.parameters.if_name).await?.is_some() {
        return Ok(Some("its interface".to_owned()));
    }
    if let Some(device) = device(interfaces, attachment).await? {
        return Ok(Some(format!("device {device}")));
    }
    rule(attachment, &id).await
}

/// The plugins that ADD has run; all, where that is not known.
fn run(attachment: &Attachment) -> impl Iterator<Item = &PluginConfig> {
    let count = attachment.removal().and_then(|removal| removal.plugins_run);
    attachment.list.plugins().iter().take(count.unwrap_or(usize::MAX))
}

/// A plugin that may keep things in places that are unknown here.
fn unknown(attachment: &Attachment) -> Option<&str> {
    run(attachment).find_map(|plugin| {
        let ipam = plugin.ipam_type().filter(|ipam| !KNOWN_IPAM.contains(ipam));
        ipam.or(Some(plugin.plugin_type()).filter(|plugin| !KNOWN.contains(plugin)))
    })
}

/// A lease of `host-local`, which has the attachment's id on its first line.
fn lease(attachment: &Attachment, id: &str) -> Result<Option<String>> {
    let Some(folder) = translate::lease_folder(&attachment.list) else { return Ok(None) };
    let Some(entries) = if_there(&folder, fs::read_dir(&folder))? else { return Ok(None) };
    for entry in entries {
        let path = entry.map_err(unreadable(&folder))?.path();
        // The folder also has a lock, and the last address that was given out.
        let Some(bytes) = if_there(&path, whole::read(&path, whole::SMALL))? else { continue };
        if bytes.split(|byte| *byte == b'\n').next().map(<[u8]>::trim_ascii) == Some(id.as_bytes())
        {
            return Ok(Some(format!("lease {}", path.display())));
        }
    }
    Ok(None)
}

/// A file in which `tuning` keeps the state of an interface before its changes.
fn backup(attachment: &Attachment) -> Result<Option<String>> {
    for path in backups(attachment) {
        if if_there(&path, path.symlink_metadata())?.is_some() {
            return Ok(Some(format!("file {}", path.display())));
        }
    }
    Ok(None)
}

fn backups(attachment: &Attachment) -> impl Iterator<Item = PathBuf> {
    const DEFAULT: &str = "/run/cni/tuning";
    let tunings = run(attachment).filter(|plugin| plugin.plugin_type() == "tuning");
    tunings.map(|plugin| {
        let folder = plugin.get("dataDir").and_then(Value::as_str).unwrap_or(DEFAULT);
        let Attachment { id, parameters, .. } = attachment;
        Path::new(folder).join(format!("{id}_{}.json", parameters.if_name))
    })
}

/// Removes what a successful DEL of `tuning` leaves: its file, if the interface is gone, or if ADD was killed while it
/// wrote the file.
///
/// # Errors
/// A file cannot be removed.
pub(super) fn clear(attachment: &Attachment) -> Result<()> {
    for path in backups(attachment) {
        if_there(&path, fs::remove_file(&path))?;
    }
    Ok(())
}

/// A device of the host in the staging namespace, or in the container's namespace.
async fn device(interfaces: &Interfaces, attachment: &Attachment) -> Result<Option<String>> {
    if !run(attachment).any(|plugin| plugin.plugin_type() == "host-device") {
        return Ok(None);
    }
    let fresh = interfaces.fresh().await.map_err(Box::new)?;
    for path in std::iter::once(attachment.staging.as_path()).chain(attachment.sandbox()) {
        if netns::identity(path)?.is_none() {
            continue;
        }
        let links = Netlink::in_netns(path).await?.links().await?;
        if let Some(link) = links.into_iter().find(|link| !fresh.has(&link.name)) {
            return Ok(Some(link.name));
        }
    }
    Ok(None)
}

/// A rule with the attachment's id, as `bridge`, `ptp` and `portmap` write them.
async fn rule(attachment: &Attachment, id: &str) -> Result<Option<String>> {
    const LIST: [&str; 5] = ["-w", "10", "-t", "nat", "-S"];
    let mut iptables = true;
    for program in ["iptables", "ip6tables"] {
        match output(program, &LIST).await? {
            Some(rules) if rules.contains(id) => return Ok(Some(format!("rules of {program}"))),
            Some(_) => {}
            // The plugins have no other way to write such rules.
            None => iptables = false,
        }
    }
    // Run only if necessary: on kernels without nftables the program fails.
    let uses_nft = run(attachment).any(|plugin| {
        let backend = ["backend", "ipMasqBackend"].iter().find_map(|key| plugin.get(key)?.as_str());
        let by_choice = backend.is_some_and(|backend| backend != "iptables");
        by_choice || plugin.get("macspoofchk") == Some(&Value::Bool(true))
    });
    if (uses_nft || !iptables)
        && let Some(rules) = output("nft", &["list", "ruleset"]).await?
        && rules.contains(id)
    {
        return Ok(Some("rules of nft".to_owned()));
    }
    Ok(None)
}

/// What a program of the host prints; none if the host does not have it.
async fn output(program: &'static str, arguments: &[&str]) -> Result<Option<String>> {
    match host::run(program, arguments, b"").await {
        Ok(output) => Ok(output.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        Err(source) => Err(Unreadable::Program { program, source }),
    }
}

/// What was found; none if there is nothing at the path.
fn if_there<T>(path: &Path, found: io::Result<T>) -> Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A folder is not a lease.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(None),
        found => found.map(Some).map_err(unreadable(path)),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Unreadable {
    let path = path.to_owned();
    move |source| Unreadable::Path { path, source }
}
