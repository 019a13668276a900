//! What attachments leave on a host, and whose it is.
//!
//! Everything that an attachment leaves behind bears its id or its interface's name, and the one
//! follows from the other ([`AttachmentId::if_name`]). Something is proven to be this driver's
//! if it has both, as a lease of `host-local` does, or is in a place where only this driver puts
//! things: its folder of pinned namespaces, and rules with its comment.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process;

use crate::cni::NetworkConfigList;
use crate::lifecycle::error::Result;
use crate::lifecycle::host::forward;
use crate::lifecycle::host::forward::Table;
use crate::lifecycle::host::nat::named_in;
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
        for id in AttachmentId::in_folder(netns_dir) {
            survey
                .note(id, format!("namespace {}", netns_dir.join(id.to_string()).display()))
                .proven = true;
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
            }
        }
        for link in own.links().await? {
            survey.note_link(link.name);
        }
        Ok(survey)
    }

    fn note(&mut self, id: AttachmentId, found: String) -> &mut Remains {
        let remains = self.attachments.entry(id).or_default();
        remains.found.push(found);
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
                let remains = self.note(id, format!("lease {}", entry.path().display()));
                remains.proven = true;
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

/// Whether this process sees the host's others. The first one of a PID namespace, as in a container
/// or in Docker's managed plugin, sees none of them.
pub(crate) fn sees_processes() -> bool {
    process::id() != 1
}

/// Attachments whose namespace somebody has pinned outside of `netns_dir`, with the path: another
/// driver, with folders of its own.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn pinned_elsewhere(netns_dir: &Path) -> Result<HashMap<AttachmentId, PathBuf>> {
    let pins = pins_outside(netns_dir)?.into_iter();
    Ok(pins
        .filter_map(|pin| Some((AttachmentId::parse(pin.file_name()?.to_str()?)?, pin)))
        .collect())
}

fn pins_outside(netns_dir: &Path) -> Result<Vec<PathBuf>> {
    // The kernel tells real paths.
    let own = fs::canonicalize(netns_dir).unwrap_or_else(|_| netns_dir.to_owned());
    let mut pins = netns::pins()?;
    pins.retain(|pin| pin.parent() != Some(&own));
    Ok(pins)
}

/// Which of these addresses an interface of some other namespace of this host has, which is not
/// pinned in `netns_dir`.
pub(crate) async fn in_use(
    addresses: &BTreeSet<IpAddr>,
    netns_dir: &Path,
) -> Result<HashSet<IpAddr>> {
    let mut used = HashSet::new();
    for namespace in other_namespaces(netns_dir)? {
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

/// A path to each network namespace that a process lives in, or that Docker or somebody else has
/// pinned, but for this process's own.
fn other_namespaces(netns_dir: &Path) -> Result<Vec<PathBuf>> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.map(|entry| entry.path().join("ns/net"));
    let dockers = fs::read_dir("/run/docker/netns").into_iter().flatten().flatten();
    let pinned = dockers.map(|entry| entry.path()).chain(pins_outside(netns_dir)?);
    let mut seen = HashSet::from([netns::identity(Path::new("/proc/self/ns/net"))?]);
    let mut paths = Vec::new();
    for path in processes.chain(pinned) {
        // Not every folder of /proc is a process, and processes end.
        if let Ok(Some(identity)) = netns::identity(&path)
            && seen.insert(Some(identity))
        {
            paths.push(path);
        }
    }
    Ok(paths)
}
