//! Records of version 2, which is written now.
//!
//! The fields that only some phases have are in parts, which are named after the step that sets them:
//! `add`, `join`, `removal`. A record whose parts do not fit its phase is refused.

use std::collections::BTreeMap;
use std::ops::Not;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::phase::PhaseData;
use super::{
    Attachment, AttachmentId, Further, HostSide, Joining, Left, Made, Netfilter, Phase, PhaseName,
    Prepared, Removal, Settings, WriteLock,
};
use crate::cni::{self, AttachResult, NetworkConfigList};
use crate::cnm::{EndpointId, EndpointInterface, NetworkId, PortBinding};
use crate::netlink::Snapshot;

/// A record of version 2.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Form2 {
    pub(super) id: AttachmentId,
    pub(super) made: Option<SystemTime>,
    pub(super) network: NetworkId,
    /// None for a spare, and for what was found without its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<EndpointId>,
    pub(super) phase: PhaseName,
    pub(super) boot_id: String,
    pub(super) list: Arc<NetworkConfigList>,
    pub(super) parameters: cni::Attachment,
    pub(super) ports: Vec<PortBinding>,
    #[serde(default, skip_serializing_if = "Not::not")]
    pub(super) publishing: bool,
    pub(super) staging: PathBuf,
    pub(super) internal: bool,
    pub(super) forwarded: bool,
    pub(super) open: bool,
    pub(super) is_gateway: bool,
    /// From Spare or Staged to Settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) add: Option<AddForm>,
    /// Spare, and Staged if it was a spare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ahead: Option<PreparedForm>,
    /// Joined and Settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) join: Option<JoinForm>,
    /// Deleting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) removal: Option<RemovalForm>,
}

/// See [`Made`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AddForm {
    pub(super) result: AttachResult,
    pub(super) answer: EndpointInterface,
    pub(super) told: Vec<IpNet>,
    pub(super) snapshot: Snapshot,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) further: Vec<Further>,
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub(super) users: Settings,
}

/// See [`Prepared`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PreparedForm {
    #[serde(deserialize_with = "Settings::read")]
    pub(super) settings: Arc<Settings>,
    #[serde(default, skip_serializing_if = "Netfilter::is_empty")]
    pub(super) netfilter: Netfilter,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host_side: Option<HostSide>,
}

/// See [`Joining`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JoinForm {
    pub(super) sandbox: PathBuf,
    #[serde(deserialize_with = "Settings::read")]
    pub(super) settings: Arc<Settings>,
    #[serde(default, skip_serializing_if = "Netfilter::is_empty")]
    pub(super) netfilter: Netfilter,
    pub(super) users_follow: bool,
    pub(super) widened: u8,
    pub(super) tables: BTreeMap<u32, u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host_side: Option<HostSide>,
    pub(super) published_elsewhere: bool,
}

/// See [`Removal`] and [`Left`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RemovalForm {
    pub(super) since: u64,
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) plugins_run: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<AttachResult>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<Snapshot>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) further: Vec<Further>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) settings: Option<Arc<Settings>>,
    #[serde(default, skip_serializing_if = "Netfilter::is_empty")]
    pub(super) netfilter: Netfilter,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sandbox: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host_side: Option<HostSide>,
}

impl Form2 {
    pub(super) fn of(attachment: Attachment) -> Self {
        let phase = attachment.phase.name();
        let endpoint = attachment.has_endpoint().then_some(attachment.endpoint);
        let (mut add, mut ahead, mut join, mut removal) = (None, None, None, None);
        match attachment.phase.0 {
            PhaseData::Adding => {}
            PhaseData::Spare(made, found) => {
                (add, ahead) = (Some(made.into()), Some(found.into()));
            }
            PhaseData::Staged(made, found) => {
                (add, ahead) = (Some(made.into()), found.map(Into::into));
            }
            PhaseData::Joined(made, joining) | PhaseData::Settled(made, joining) => {
                (add, join) = (Some(made.into()), Some(joining.into()));
            }
            PhaseData::Deleting(of_removal, left) => removal = Some((of_removal, left).into()),
        }
        Self {
            id: attachment.id,
            made: attachment.made,
            network: attachment.network,
            endpoint,
            phase,
            boot_id: attachment.boot_id,
            list: attachment.list,
            parameters: attachment.parameters,
            ports: attachment.ports,
            publishing: attachment.publishing,
            staging: attachment.staging,
            internal: attachment.internal,
            forwarded: attachment.forwarded,
            open: attachment.open,
            is_gateway: attachment.is_gateway,
            add,
            ahead,
            join,
            removal,
        }
    }

    /// The attachment of this record.
    ///
    /// # Errors
    /// Its parts do not fit its phase.
    pub(super) fn into_attachment(self) -> Result<Attachment, String> {
        let stage = match (self.phase, self.add, self.ahead, self.join, self.removal) {
            (PhaseName::Adding, None, None, None, None) => PhaseData::Adding,
            (PhaseName::Spare, Some(add), Some(ahead), None, None) => {
                PhaseData::Spare(add.into(), ahead.into())
            }
            (PhaseName::Staged, Some(add), ahead, None, None) => {
                PhaseData::Staged(add.into(), ahead.map(Into::into))
            }
            (PhaseName::Joined, Some(add), None, Some(join), None) => {
                PhaseData::Joined(add.into(), join.into())
            }
            (PhaseName::Settled, Some(add), None, Some(join), None) => {
                PhaseData::Settled(add.into(), join.into())
            }
            (PhaseName::Deleting, None, None, None, Some(removal)) => {
                let (removal, left) = removal.into();
                PhaseData::Deleting(removal, left)
            }
            (phase, add, ahead, join, removal) => {
                return Err(contradiction(
                    phase,
                    [add.is_some(), ahead.is_some(), join.is_some(), removal.is_some()],
                ));
            }
        };
        match (self.phase, &self.endpoint) {
            (PhaseName::Spare, Some(_)) => {
                return Err("it contradicts itself: it is a spare, and an endpoint has it".into());
            }
            (PhaseName::Staged | PhaseName::Joined | PhaseName::Settled, None) => {
                let phase = self.phase;
                return Err(format!("it contradicts itself: it is {phase}, and has no endpoint"));
            }
            _ => {}
        }
        Ok(Attachment {
            id: self.id,
            made: self.made,
            network: self.network,
            endpoint: self.endpoint.unwrap_or_else(|| self.id.without_dashes()),
            boot_id: self.boot_id,
            list: self.list,
            parameters: self.parameters,
            ports: self.ports,
            publishing: self.publishing,
            staging: self.staging,
            internal: self.internal,
            forwarded: self.forwarded,
            open: self.open,
            is_gateway: self.is_gateway,
            phase: Phase(stage),
            write_lock: WriteLock::default(),
        })
    }
}

/// The error that the parts of a record do not fit its phase. The parts are `add`, `ahead`, `join` and
/// `removal`.
fn contradiction(phase: PhaseName, has: [bool; 4]) -> String {
    let goes_with = match phase {
        PhaseName::Adding => [false; 4],
        PhaseName::Spare => [true, true, false, false],
        PhaseName::Staged => [true, false, false, false],
        PhaseName::Joined | PhaseName::Settled => [true, false, true, false],
        PhaseName::Deleting => [false, false, false, true],
    };
    let in_words = |parts: [bool; 4]| {
        let named = [
            "what ADD made",
            "what was found out ahead",
            "what Join decided",
            "how its removal goes",
        ];
        let named =
            named.into_iter().zip(parts).filter_map(|(name, is_there)| is_there.then_some(name));
        let named: Vec<&str> = named.collect();
        if named.is_empty() { "nothing more".to_owned() } else { named.join(" and ") }
    };
    format!(
        "it contradicts itself: an attachment that is {phase} has {}, and this one has {}",
        in_words(goes_with),
        in_words(has)
    )
}

impl From<Made> for AddForm {
    fn from(Made { result, answer, docker_addresses, snapshot, further, users }: Made) -> Self {
        Self { result, answer, told: docker_addresses, snapshot, further, users }
    }
}

impl From<AddForm> for Made {
    fn from(AddForm { result, answer, told, snapshot, further, users }: AddForm) -> Self {
        Self { result, answer, docker_addresses: told, snapshot, further, users }
    }
}

impl From<Prepared> for PreparedForm {
    fn from(Prepared { settings, netfilter, host_side }: Prepared) -> Self {
        Self { settings, netfilter, host_side }
    }
}

impl From<PreparedForm> for Prepared {
    fn from(PreparedForm { settings, netfilter, host_side }: PreparedForm) -> Self {
        Self { settings, netfilter, host_side }
    }
}

impl From<Joining> for JoinForm {
    fn from(joining: Joining) -> Self {
        Self {
            sandbox: joining.sandbox,
            settings: joining.settings,
            netfilter: joining.netfilter,
            users_follow: joining.users_follow,
            widened: joining.widened,
            tables: joining.tables,
            host_side: joining.host_side,
            published_elsewhere: joining.published_elsewhere,
        }
    }
}

impl From<JoinForm> for Joining {
    fn from(form: JoinForm) -> Self {
        Self {
            sandbox: form.sandbox,
            settings: form.settings,
            netfilter: form.netfilter,
            users_follow: form.users_follow,
            widened: form.widened,
            tables: form.tables,
            host_side: form.host_side,
            published_elsewhere: form.published_elsewhere,
        }
    }
}

impl From<(Removal, Left)> for RemovalForm {
    fn from((removal, left): (Removal, Left)) -> Self {
        Self {
            since: removal.since,
            attempts: removal.attempts,
            error: removal.error,
            plugins_run: removal.plugins_run,
            result: left.result,
            snapshot: left.snapshot,
            further: left.further,
            settings: left.settings,
            netfilter: left.netfilter,
            sandbox: left.sandbox,
            host_side: left.host_side,
        }
    }
}

impl From<RemovalForm> for (Removal, Left) {
    fn from(form: RemovalForm) -> Self {
        let RemovalForm { since, attempts, error, plugins_run, .. } = form;
        let RemovalForm { result, snapshot, further, .. } = form;
        let RemovalForm { settings, netfilter, sandbox, host_side, .. } = form;
        (
            Removal { since, attempts, error, plugins_run, refused: false },
            Left { result, snapshot, further, settings, netfilter, sandbox, host_side },
        )
    }
}
