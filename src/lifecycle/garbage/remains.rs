//! What attachments leave on a host, and to whom it belongs.
//!
//! Everything that an attachment leaves behind has its id or its interface's name. The name follows from
//! the id ([`AttachmentId::if_name`]). It is proven to be this driver's if it has both, like a lease of
//! `host-local`, or if it is in a place that only this driver uses: its folder of pinned namespaces, or
//! rules with its comment.
//!
//! "Unknown" is never "absent": something is absent only if the kernel says so. Any other error ends the
//! survey, and nothing is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cni::NetworkConfigList;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::Result;
use crate::lifecycle::garbage::unowned_leases::Unowned;
use crate::lifecycle::host::Exemptions;
use crate::lifecycle::host::nat::{destinations_of, named_in, source_of};
use crate::lifecycle::host::tables::{Family, Table};
use crate::lifecycle::host_folders;
use crate::lifecycle::record::AttachmentId;
use crate::netlink::{Link, Netlink};
use crate::{translate, whole};

/// What one attachment has on the host.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// The conflist that made it, if that can be seen.
    pub(crate) conflist: Option<String>,
    /// The addresses that it had.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// What was found, in words.
    pub(crate) found: Vec<String>,
    /// Whether a part of it can only be this driver's.
    pub(crate) proven: bool,
    /// When the latest part was made, if that is known: from an id of version 0.1.0, a lease or a
    /// namespace. Rules and interfaces have no time.
    pub(crate) made: Option<SystemTime>,
}

impl Remains {
    /// How old it is, if that is known; zero if the clock was set back since.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.made.map(|made| made.elapsed().unwrap_or_default())
    }
}

/// All that is found on this host.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) attachments: BTreeMap<AttachmentId, Remains>,
    /// Leases that name no owner.
    pub(crate) unowned: BTreeSet<Unowned>,
    /// Interfaces whose name looks like this driver's, without any other trace.
    pub(crate) stray_links: Vec<String>,
    /// Bridges with names like those of built-in networks.
    pub(crate) stray_bridges: Vec<Link>,
}

impl Survey {
    /// Looks at the leases of these conflists, at pinned namespaces, rules and interfaces.
    ///
    /// # Errors
    /// A folder, the kernel or `iptables` cannot be read. A folder that does not exist is empty.
    pub(crate) async fn take(
        lists: &[NetworkConfigList],
        netns_dir: &Path,
        exemptions: &Exemptions,
        own: &Netlink,
    ) -> Result<Self> {
        let (lists, netns_dir) = (lists.to_vec(), netns_dir.to_owned());
        let mut survey = on_blocking_thread(move || Self::of_folders(&lists, &netns_dir)).await?;
        for (id, address) in exemptions.marked().await? {
            let remains = survey.note(id, format!("exemption of {address} in FORWARD"));
            remains.proven = true;
            remains.addresses.insert(address);
        }
        for family in Family::BOTH {
            let rules = family.list(Table::Nat).await?.unwrap_or_default();
            for rule in &rules {
                if let Some((conflist, id)) = named_in(rule) {
                    let remains = survey.note(id, format!("rule of nat: {rule}"));
                    remains.conflist.get_or_insert(conflist);
                    remains.addresses.extend(source_of(rule));
                    remains.addresses.extend(destinations_of(&rules, rule));
                }
            }
        }
        for link in own.links().await? {
            survey.note_link(link);
        }
        Ok(survey)
    }

    fn of_folders(lists: &[NetworkConfigList], netns_dir: &Path) -> Result<Self> {
        let mut survey = Self::default();
        for list in lists {
            survey.note_leases(list)?;
        }
        for id in AttachmentId::in_folder(netns_dir)? {
            survey.note_file(id, "namespace", &netns_dir.join(id.to_string()));
        }
        Ok(survey)
    }

    fn note(&mut self, id: AttachmentId, found: String) -> &mut Remains {
        let new = || Remains { made: id.made(), ..Remains::default() };
        let remains = self.attachments.entry(id).or_insert_with(new);
        remains.found.push(found);
        remains
    }

    /// A file of this driver that was made with the attachment.
    fn note_file(&mut self, id: AttachmentId, what: &str, path: &Path) -> &mut Remains {
        let remains = self.note(id, format!("{what} {}", path.display()));
        remains.proven = true;
        if id.made().is_none() {
            // If its time cannot be read, it may be new.
            let time = fs::metadata(path).and_then(|file| file.modified());
            remains.made = remains.made.max(Some(time.unwrap_or_else(|_| SystemTime::now())));
        }
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
            leases.extend(host_folders::entries(&folder)?);
        }
        for entry in leases {
            let Some(Ok(address)) = entry.file_name().map(|name| name.to_string_lossy().parse())
            else {
                continue;
            };
            let Some(text) =
                host_folders::unless_gone(&entry, whole::read_text(&entry, whole::SMALL))?
            else {
                continue;
            };
            let Some(owner) = translate::lease_owner(&text) else {
                self.unowned.extend(Unowned::at(&entry, address, list.name())?);
                continue;
            };
            let Some(id) = AttachmentId::parse(owner.container_id) else { continue };
            if owner.if_name == Some(&id.if_name()) {
                let remains = self.note_file(id, "lease", &entry);
                remains.addresses.insert(address);
                remains.conflist = Some(list.name().to_owned());
            }
        }
        Ok(())
    }

    /// An interface that was handed to Docker, or was given back by it.
    fn note_link(&mut self, link: Link) {
        if !AttachmentId::is_if_name(&link.name) {
            return;
        }
        if link.kind.as_deref() == Some("bridge") {
            self.stray_bridges.push(link);
            return;
        }
        let name = link.name;
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
