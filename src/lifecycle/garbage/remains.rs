//! What attachments leave on a host, and whose it is.
//!
//! Everything that an attachment leaves behind bears its id or its interface's name, and the one
//! follows from the other ([`AttachmentId::if_name`]). Something is proven to be this driver's
//! if it has both, as a lease of `host-local` does, or is in a place where only this driver puts
//! things: its folder of pinned namespaces, and rules with its comment.
//!
//! "Cannot tell" is never "not there": only what the kernel says is not there counts so. Whatever
//! else keeps this from looking ends the survey, and nothing is removed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::cni::NetworkConfigList;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::chain;
use crate::lifecycle::host::forward;
use crate::lifecycle::host::tables::{Family, Table};
use crate::lifecycle::record::AttachmentId;
use crate::lifecycle::{Error, Result};
use crate::netlink::Netlink;
use crate::translate;

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
    /// A folder, the kernel or `iptables` does not tell. A folder that is not there is empty.
    pub(crate) async fn take(
        lists: &[NetworkConfigList],
        netns_dir: &Path,
        own: &Netlink,
    ) -> Result<Self> {
        let (lists, netns_dir) = (lists.to_vec(), netns_dir.to_owned());
        let mut survey = on_blocking_thread(move || Self::of_folders(&lists, &netns_dir)).await?;
        for (id, address) in forward::marked().await? {
            let remains = survey.note(id, format!("rule of FORWARD for {address}"));
            remains.proven = true;
            remains.addresses.insert(address);
        }
        for family in Family::BOTH {
            for rule in family.list(Table::Nat).await?.unwrap_or_default() {
                if let Some((conflist, id)) = named_in(&rule) {
                    let remains = survey.note(id, format!("rule of nat: {rule}"));
                    remains.conflist.get_or_insert(conflist);
                }
            }
        }
        for link in own.links().await? {
            survey.note_link(link.name);
        }
        Ok(survey)
    }

    fn of_folders(lists: &[NetworkConfigList], netns_dir: &Path) -> Result<Self> {
        let mut survey = Self::default();
        for list in lists {
            survey.note_leases(list)?;
        }
        for id in ids_in(netns_dir)? {
            survey
                .note(id, format!("namespace {}", netns_dir.join(id.to_string()).display()))
                .proven = true;
        }
        Ok(survey)
    }

    fn note(&mut self, id: AttachmentId, found: String) -> &mut Remains {
        let remains = self.attachments.entry(id).or_default();
        remains.found.push(found);
        remains
    }

    /// `host-local` keeps a file for each address, with the container's id and the interface: in
    /// the folder that the chain names, or in its own, where a plugin of the chain delegates.
    fn note_leases(&mut self, list: &NetworkConfigList) -> Result<()> {
        let usual = Path::new(LEASES).join(list.name());
        let folders =
            BTreeSet::from([translate::lease_folder(list).unwrap_or(usual.clone()), usual]);
        let mut leases = Vec::new();
        for folder in folders {
            leases.extend(entries(&folder)?);
        }
        for entry in leases {
            let Some(Ok(address)) = entry.file_name().map(|name| name.to_string_lossy().parse())
            else {
                continue;
            };
            let Some(text) = unless_gone(&entry, fs::read_to_string(&entry))? else { continue };
            let mut lines = text.lines().map(str::trim);
            let (Some(id), Some(if_name)) =
                (lines.next().and_then(AttachmentId::parse), lines.next())
            else {
                continue;
            };
            if if_name == id.if_name() {
                let remains = self.note(id, format!("lease {}", entry.display()));
                remains.proven = true;
                remains.addresses.insert(address);
                remains.conflist = Some(list.name().to_owned());
            }
        }
        Ok(())
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

/// Where `host-local` keeps its leases, unless the configuration says otherwise.
const LEASES: &str = "/var/lib/cni/networks";

/// The paths in a folder; none if it is not there.
///
/// # Errors
/// It is there, and cannot be read.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let Some(entries) = unless_gone(folder, fs::read_dir(folder))? else { return Ok(Vec::new()) };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(unseen(folder))
}

/// None if there is nothing at `path`, or nothing any more: processes end, and leases are released.
pub(super) fn unless_gone<T>(path: &Path, looked: io::Result<T>) -> Result<Option<T>> {
    match looked {
        // How /proc says it of a process that has just ended.
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        looked => looked.map(Some).map_err(unseen(path)),
    }
}

fn unseen(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Unseen { path, source }
}

/// The attachments that a folder's files are named after.
///
/// # Errors
/// The folder is there, and cannot be read.
pub(crate) fn ids_in(folder: &Path) -> Result<HashSet<AttachmentId>> {
    let names = entries(folder)?.into_iter();
    let ids = names.filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        AttachmentId::parse(name.split('.').next()?)
    });
    Ok(ids.collect())
}

/// The addresses of an attachment that rules of nat translate.
#[derive(Debug, Default)]
pub(crate) struct Masqueraded {
    addresses: HashSet<IpAddr>,
    /// Families of which that cannot be told.
    untold: Vec<Family>,
}

impl Masqueraded {
    /// Reads the rules.
    pub(crate) async fn of(id: AttachmentId) -> Self {
        let mut masqueraded = Self::default();
        for family in Family::BOTH {
            match family.list(Table::Nat).await {
                Ok(Some(rules)) => masqueraded.addresses.extend(masqueraded_by(&rules, id)),
                // Rules may be there whose program is not.
                Ok(None) => masqueraded.untold.push(family),
                Err(error) => {
                    tracing::warn!(attachment = %id, error = chain(&error),
                        "it cannot be told which of its addresses are translated");
                    masqueraded.untold.push(family);
                }
            }
        }
        masqueraded
    }

    /// Whether there are rules for the address, as far as can be told.
    pub(crate) fn may_have(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.untold.contains(&Family::of(address))
    }
}

/// The addresses of an attachment whose packets are led to a chain of its own by these rules.
pub(crate) fn masqueraded_by(rules: &[String], id: AttachmentId) -> impl Iterator<Item = IpAddr> {
    let of_attachment =
        rules.iter().filter(move |rule| named_in(rule).is_some_and(|(_, of)| of == id));
    of_attachment.filter_map(|rule| {
        let address = rule.split_once("-s ")?.1.split(['/', ' ']).next()?;
        address.parse().ok()
    })
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
