//! What attachments leave on a host, and whose it is.
//!
//! Everything that an attachment leaves behind bears its id or its interface's name, and the one
//! follows from the other ([`AttachmentId::if_name`]). Something is proven to be this driver's
//! if it has both, as a lease of `host-local` does, or is in a place where only this driver puts
//! things: its folder of pinned namespaces, and rules with its comment.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cni::NetworkConfigList;
use crate::lifecycle::Result;
use crate::lifecycle::host::forward;
use crate::lifecycle::host::forward::Table;
use crate::lifecycle::record::AttachmentId;
use crate::netlink::Netlink;
use crate::{netns, translate};

/// What is on the host of one attachment.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// By which conflist it was made, as far as that can be seen.
    pub(crate) conflist: Option<String>,
    /// The addresses that it had.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// What was found, in words.
    pub(crate) found: Vec<String>,
    /// Whether some of it can only be this driver's.
    pub(crate) proven: bool,
    /// When the latest of it was made, as far as anything tells: an id of version 0.1.0, a lease, a
    /// namespace. Rules and interfaces do not.
    pub(crate) made: Option<SystemTime>,
}

impl Remains {
    /// How old it is, if anything tells; nothing if the clock was set back since.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.made.map(|made| made.elapsed().unwrap_or_default())
    }
}

/// All that is found on this host.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) attachments: BTreeMap<AttachmentId, Remains>,
    /// Interfaces whose name looks like this driver's, and that nothing else belongs to.
    pub(crate) stray_links: Vec<String>,
}

impl Survey {
    /// Looks at the leases of these conflists, at pinned namespaces, rules and interfaces.
    ///
    /// # Errors
    /// The kernel or `iptables` does not tell. A folder that is not there is empty.
    pub(crate) async fn take(
        lists: &[NetworkConfigList],
        netns_dir: &Path,
        own: &Netlink,
    ) -> Result<Self> {
        let mut survey = Self::default();
        for list in lists {
            survey.note_leases(list);
        }
        for id in ids_in(netns_dir) {
            survey.note_file(id, "namespace", &netns_dir.join(id.to_string()));
        }
        for (id, address) in forward::marked().await? {
            let remains = survey.note(id, format!("rule of FORWARD for {address}"));
            remains.proven = true;
            remains.addresses.insert(address);
        }
        for rule in forward::list(Table::Nat).await? {
            if let Some((conflist, id)) = named_in(&rule) {
                let remains = survey.note(id, format!("rule of nat: {rule}"));
                remains.conflist.get_or_insert(conflist);
                remains.addresses.extend(source_of(&rule));
            }
        }
        for link in own.links().await? {
            survey.note_link(link.name);
        }
        Ok(survey)
    }

    fn note(&mut self, id: AttachmentId, found: String) -> &mut Remains {
        let new = || Remains { made: id.made(), ..Remains::default() };
        let remains = self.attachments.entry(id).or_insert_with(new);
        remains.found.push(found);
        remains
    }

    /// A file that is this driver's, and that was made with the attachment.
    fn note_file(&mut self, id: AttachmentId, what: &str, path: &Path) -> &mut Remains {
        let remains = self.note(id, format!("{what} {}", path.display()));
        remains.proven = true;
        if id.made().is_none() {
            // What cannot be asked may be new.
            let time = fs::metadata(path).and_then(|file| file.modified());
            remains.made = remains.made.max(Some(time.unwrap_or_else(|_| SystemTime::now())));
        }
        remains
    }

    /// `host-local` keeps a file for each address, with the container's id and the interface.
    fn note_leases(&mut self, list: &NetworkConfigList) {
        let Some(folder) = translate::lease_folder(list) else { return };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Ok(address) = name.to_string_lossy().parse() else { continue };
            let Ok(text) = fs::read_to_string(entry.path()) else { continue };
            let mut lines = text.lines().map(str::trim);
            let (Some(id), Some(if_name)) =
                (lines.next().and_then(AttachmentId::parse), lines.next())
            else {
                continue;
            };
            if if_name == id.if_name() {
                let remains = self.note_file(id, "lease", &entry.path());
                remains.addresses.insert(address);
                remains.conflist = Some(list.name().to_owned());
            }
        }
    }

    /// An interface that was handed to Docker, or was given back by it.
    fn note_link(&mut self, name: String) {
        if !AttachmentId::is_if_name(&name) {
            return;
        }
        let owner = self.attachments.iter_mut().find(|(id, _)| id.if_name() == name);
        match owner {
            Some((_, remains)) => {
                remains.found.push(format!("interface {name}"));
                remains.proven = true;
            }
            None => self.stray_links.push(name),
        }
    }
}

/// The attachments that a folder's files are named after.
pub(crate) fn ids_in(folder: &Path) -> HashSet<AttachmentId> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| AttachmentId::parse(name.split('.').next()?)).collect()
}

/// The addresses of an attachment that rules of nat translate yet.
pub(crate) async fn masqueraded(id: AttachmentId) -> Result<HashSet<IpAddr>> {
    let rules = forward::list(Table::Nat).await?;
    let of_attachment = rules.iter().filter(|rule| named_in(rule).is_some_and(|(_, of)| of == id));
    Ok(of_attachment.filter_map(|rule| source_of(rule)).collect())
}

/// The address that a rule is for what comes from.
fn source_of(rule: &str) -> Option<IpAddr> {
    rule.split_once("-s ")?.1.split(['/', ' ']).next()?.parse().ok()
}

/// The network and the attachment in the comment that the reference plugins give their rules:
/// `name: "NETWORK" id: "CONTAINERID"`.
fn named_in(rule: &str) -> Option<(String, AttachmentId)> {
    let rule = rule.replace("\\\"", "\"");
    let quoted = |key: &str| Some(rule.split_once(key)?.1.split_once('"')?.0.to_owned());
    Some((quoted("name: \"")?, AttachmentId::parse(&quoted("id: \"")?)?))
}

/// Which of these addresses an interface of some other namespace of this host has.
pub(crate) async fn in_use(addresses: &BTreeSet<IpAddr>) -> Result<HashSet<IpAddr>> {
    let mut used = HashSet::new();
    for namespace in other_namespaces()? {
        // A process may end, and its namespace with it, while this looks.
        let Ok(netlink) = Netlink::in_netns(&namespace).await else { continue };
        for link in netlink.links().await.unwrap_or_default() {
            let of_link = netlink.addresses(link.index).await.unwrap_or_default();
            used.extend(of_link.iter().map(|address| address.net.addr()));
        }
    }
    used.retain(|address| addresses.contains(address));
    Ok(used)
}

/// A path to each network namespace that a process lives in, or that Docker has pinned, but
/// for this process's own.
fn other_namespaces() -> Result<Vec<PathBuf>> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.map(|entry| entry.path().join("ns/net"));
    let pinned = fs::read_dir("/run/docker/netns").into_iter().flatten().flatten();
    let mut seen = HashSet::from([netns::identity(Path::new("/proc/self/ns/net"))?]);
    let mut paths = Vec::new();
    for path in processes.chain(pinned.map(|entry| entry.path())) {
        // Not every folder of /proc is a process, and processes end.
        if let Ok(Some(identity)) = netns::identity(&path)
            && seen.insert(Some(identity))
        {
            paths.push(path);
        }
    }
    Ok(paths)
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
