//! Which attachments are to be exempt, and which of them the table has already.
//!
//! Two attachments may have the same address, on networks that know nothing of each other. It is exempt until
//! both have gone.

use std::collections::{BTreeMap, BTreeSet};

use super::element::{Change, Element};
use super::rules::of_address;
use super::table::Listing;
use crate::lifecycle::host::tables::Family;
use crate::lifecycle::record::AttachmentId;

/// The desired exemptions. Each change has a number: by it, a caller sees whether the change is on the host.
#[derive(Debug, Default)]
pub(super) struct Desired {
    entries: BTreeMap<Element, Entry>,
    /// The elements that may differ in the table.
    changed: BTreeSet<Element>,
    /// Attachments whose rules in FORWARD are to be removed.
    gone: BTreeSet<AttachmentId>,
    /// Those of `gone` that had no element here: it is not known which rules FORWARD has for them.
    strangers: BTreeSet<AttachmentId>,
    change: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// The attachments that have it.
    owners: Vec<AttachmentId>,
    /// The table has it, whoever is named there.
    written: bool,
}

/// Everything that is to be changed on the host.
#[derive(Debug)]
pub(super) struct Batch {
    /// The number of the latest change in it.
    pub(super) change: u64,
    pub(super) elements: Vec<Change>,
    pub(super) gone: BTreeSet<AttachmentId>,
    /// FORWARD may have rules of `gone` that were not seen there.
    pub(super) strangers: bool,
}

impl Batch {
    /// Whether an address of this family comes to be exempt.
    pub(super) fn adds(&self, family: Family) -> bool {
        let mut adds = self.elements.iter().filter(|change| !change.owners.is_empty());
        adds.any(|change| change.element.family() == family)
    }
}

impl Desired {
    pub(super) fn add(&mut self, id: AttachmentId, elements: &[Element]) -> u64 {
        for element in elements {
            let entry = self.entries.entry(*element).or_default();
            if !entry.owners.contains(&id) {
                entry.owners.push(id);
            }
            self.changed.insert(*element);
        }
        self.gone.remove(&id);
        self.strangers.remove(&id);
        self.change += 1;
        self.change
    }

    pub(super) fn remove(&mut self, ids: &[AttachmentId]) -> u64 {
        self.strangers.extend(ids);
        for (element, entry) in &mut self.entries {
            let before = entry.owners.len();
            entry.owners.retain(|owner| {
                let goes = ids.contains(owner);
                if goes {
                    self.strangers.remove(owner);
                }
                !goes
            });
            if entry.owners.len() < before {
                self.changed.insert(*element);
            }
        }
        self.gone.extend(ids);
        self.change += 1;
        self.change
    }

    /// Compares with the table as it was listed. With `adopt`, an attachment that is only in the table stays
    /// exempt: its record may have been lost.
    pub(super) fn compare(&mut self, listing: &Listing, adopt: bool) {
        for (element, named) in &listing.elements {
            let entry = self.entries.entry(*element).or_default();
            entry.written = true;
            let unknown =
                named.iter().filter(|id| !entry.owners.contains(id) && !self.gone.contains(id));
            if adopt {
                let unknown: Vec<_> = unknown.copied().collect();
                entry.owners.extend(unknown);
            }
            if entry.owners.is_empty() {
                self.changed.insert(*element);
            }
        }
        for (element, entry) in &mut self.entries {
            if !listing.elements.contains_key(element) {
                entry.written = false;
                self.changed.insert(*element);
            }
        }
    }

    /// What is to be changed now.
    pub(super) fn batch(&self) -> Batch {
        let change = |element: &Element| {
            let Entry { owners, written } = self.entries.get(element)?;
            Some(Change { element: *element, owners: owners.clone(), written: *written })
        };
        let elements = self.changed.iter().filter_map(change).collect();
        let strangers = !self.strangers.is_empty();
        Batch { change: self.change, elements, gone: self.gone.clone(), strangers }
    }

    /// The table has these changes now.
    pub(super) fn written(&mut self, batch: &Batch) {
        for Change { element, owners, .. } in &batch.elements {
            let Some(entry) = self.entries.get_mut(element) else { continue };
            entry.written = !owners.is_empty();
            // Otherwise it has changed meanwhile.
            if entry.owners == *owners {
                self.changed.remove(element);
            }
        }
    }

    /// The table is gone.
    pub(super) fn unwritten(&mut self) {
        for (element, entry) in &mut self.entries {
            entry.written = false;
            self.changed.insert(*element);
        }
    }

    /// The rules of these attachments are gone from FORWARD; nothing of them need be known any more.
    pub(super) fn forget(&mut self, batch: &Batch) {
        self.gone.retain(|id| !batch.gone.contains(id));
        self.strangers.retain(|id| !batch.gone.contains(id));
        self.entries.retain(|_, entry| entry.written || !entry.owners.is_empty());
        self.changed.retain(|element| self.entries.contains_key(element));
    }

    /// Everything that is exempt, and for whom.
    pub(super) fn all(&self) -> impl Iterator<Item = (Element, &[AttachmentId])> {
        let all = self.entries.iter().filter(|(_, entry)| !entry.owners.is_empty());
        all.map(|(element, entry)| (*element, entry.owners.as_slice()))
    }

    pub(super) fn has(&self, family: Family) -> bool {
        self.all().any(|(element, _)| element.family() == family)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// The rules that exempt all of them without a table.
    pub(super) fn rules(&self, family: Family) -> Vec<String> {
        let all = self.all().filter(|(element, _)| element.family() == family);
        all.flat_map(|(element, owners)| owners.iter().flat_map(move |id| of_address(element, *id)))
            .collect()
    }

    /// Everyone who is exempt.
    pub(super) fn owners(&self) -> BTreeSet<AttachmentId> {
        self.all().flat_map(|(_, owners)| owners.iter().copied()).collect()
    }
}
