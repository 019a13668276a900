//! A summary of each attachment on record. It is read without waiting for the calls that hold the attachments.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use super::{Attachment, AttachmentId, PhaseName};
use crate::cni::NetworkConfigList;
use crate::cnm::NetworkId;

/// An attachment, as its record has it.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) list: Arc<NetworkConfigList>,
    pub(crate) network: NetworkId,
    pub(crate) phase: PhaseName,
    pub(crate) addresses: Vec<IpNet>,
    /// The state of its removal, if it is being removed.
    pub(crate) removal: Option<RemovalSummary>,
}

/// The state of a removal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemovalSummary {
    /// When it began, in seconds since 1970.
    pub(crate) since: u64,
    /// DEL has failed.
    pub(crate) failed: bool,
    pub(crate) given_up: bool,
}

impl Summary {
    fn of(attachment: &Attachment) -> Self {
        let ips = attachment.result().into_iter().flat_map(|result| &result.ips);
        Self {
            list: Arc::clone(&attachment.list),
            network: attachment.network.clone(),
            phase: attachment.phase.name(),
            addresses: ips.map(|ip| ip.address).collect(),
            removal: attachment.removal().map(|removal| RemovalSummary {
                since: removal.since,
                failed: !removal.is_first_attempt(),
                given_up: removal.given_up(),
            }),
        }
    }
}

/// The attachments on record.
#[derive(Debug, Default)]
pub(super) struct Summaries(Mutex<HashMap<AttachmentId, Summary>>);

impl Summaries {
    pub(super) fn of<'a>(attachments: impl Iterator<Item = &'a Attachment>) -> Self {
        let summaries = attachments.map(|attachment| (attachment.id, Summary::of(attachment)));
        Self(Mutex::new(summaries.collect()))
    }

    pub(super) fn put(&self, attachment: &Attachment) {
        let summary = Summary::of(attachment);
        self.lock().insert(attachment.id, summary);
    }

    pub(super) fn remove(&self, id: AttachmentId) {
        self.lock().remove(&id);
    }

    pub(super) fn all(&self) -> Vec<(AttachmentId, Summary)> {
        self.lock().iter().map(|(id, summary)| (*id, summary.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttachmentId, Summary>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
