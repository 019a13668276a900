//! The phases of an attachment: what each phase has, and which phases may follow it.
//!
//! Only the methods of a phase change it, and a method that is called in the wrong phase changes nothing.
//! [`PhaseName::next`] has the same transitions as a table. Tests compare the two, and make Docker's calls
//! to see that no other transitions happen.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Further, HostSide, Netfilter, Removal, Settings};
use crate::cni::AttachResult;
use crate::cnm::EndpointInterface;
use crate::netlink::Snapshot;

/// The name of an attachment's phase. It is on record before the step begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PhaseName {
    /// ADD runs. An attachment that the driver finds in this phase at its start was interrupted.
    Adding,
    /// ADD has succeeded, and no endpoint has the attachment yet: it was made ahead of time.
    Spare,
    /// ADD has succeeded, for an endpoint that no container has yet.
    Staged,
    /// Docker was given the interface.
    Joined,
    /// What Docker does not carry over has been put back in the container.
    Settled,
    /// DEL runs, or has failed and has to run again.
    Deleting,
}

impl PhaseName {
    /// All phases, in the order of a container's life.
    pub const ALL: [Self; 6] =
        [Self::Adding, Self::Spare, Self::Staged, Self::Joined, Self::Settled, Self::Deleting];

    /// The phases that may follow this one.
    #[must_use]
    pub fn next(self) -> &'static [Self] {
        match self {
            Self::Adding => &[Self::Spare, Self::Staged, Self::Deleting],
            Self::Spare => &[Self::Staged, Self::Deleting],
            Self::Staged => &[Self::Joined, Self::Deleting],
            // Docker repeats a Join whose answer it did not get.
            Self::Joined => &[Self::Joined, Self::Settled, Self::Deleting],
            Self::Settled => &[Self::Joined, Self::Deleting],
            Self::Deleting => &[],
        }
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The phase of an attachment, with the data of that phase.
#[derive(Debug, Clone)]
pub(crate) struct Phase(pub(super) PhaseData);

/// What each phase has.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all attachments are settled, which is the largest"
)]
pub(super) enum PhaseData {
    Adding,
    Spare(Made, Prepared),
    /// An attachment that was a spare keeps for Join what was prepared.
    Staged(Made, Option<Prepared>),
    Joined(Made, Joining),
    Settled(Made, Joining),
    Deleting(Removal, Left),
}

/// What ADD made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// What ADD answered.
    pub(crate) result: AttachResult,
    /// The answer to CreateEndpoint, for when Docker asks again.
    pub(crate) answer: EndpointInterface,
    /// The addresses that Docker sets: those that it chose, and those in our answer.
    pub(crate) docker_addresses: Vec<IpNet>,
    /// The interface as it was in the staging namespace, and all that belongs to it.
    pub(crate) snapshot: Snapshot,
    /// Further links that ADD made in that namespace.
    pub(crate) further: Vec<Further>,
    /// Settings that the user has decided; in the container they take precedence over the chain's.
    pub(crate) users: Settings,
}

/// What Join needs, read when the spare was made: before an endpoint has claimed it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prepared {
    /// Settings that the chain changed.
    pub(crate) settings: Settings,
    /// Rules that the chain left in the namespace.
    pub(crate) netfilter: Netfilter,
    /// What ADD left on the host; none if it could not be seen.
    pub(crate) host_side: Option<HostSide>,
}

/// What Join decided for the container's namespace, and what was observed there since.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joining {
    /// The container's namespace.
    pub(crate) sandbox: PathBuf,
    /// Settings that the chain changed.
    pub(crate) settings: Settings,
    /// Rules that the chain left in the namespace.
    pub(crate) netfilter: Netfilter,
    /// Docker before version 28 started the container: the user's settings were set at about the time of
    /// settling, or later.
    pub(crate) users_follow: bool,
    /// By how many bits the routes to its gateways are wider than a host route: see
    /// [`crate::lifecycle::interface`].
    pub(crate) widened: u8,
    /// The chain's routing tables that have another number in the container, by their number in the chain:
    /// see [`crate::lifecycle::interface`].
    pub(crate) tables: BTreeMap<u32, u32>,
    /// What ADD left on the host; none if it could not be seen.
    pub(crate) host_side: Option<HostSide>,
    /// Another network of the container publishes the ports, which this one cannot.
    pub(crate) published_elsewhere: bool,
}

/// What still exists of an attachment that is to be deleted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Left {
    /// What ADD answered; none if it failed, or if the record was lost.
    pub(crate) result: Option<AttachResult>,
    /// The interface as ADD left it; none if nobody has looked at it.
    pub(crate) snapshot: Option<Snapshot>,
    /// Further links that ADD made.
    pub(crate) further: Vec<Further>,
    /// Settings that the chain changed; none if nobody has looked at them.
    pub(crate) settings: Option<Settings>,
    /// Rules that the chain left in the namespace; none before Join.
    pub(crate) netfilter: Netfilter,
    /// The container's namespace, or where it is held; none before Join.
    pub(crate) sandbox: Option<PathBuf>,
    /// What ADD left on the host; none if it could not be seen.
    pub(crate) host_side: Option<HostSide>,
}

/// A transition that [`PhaseName::next`] does not have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidTransition {
    pub(crate) from: PhaseName,
    pub(crate) to: PhaseName,
}

impl Made {
    /// The addresses that the chain gave.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.result.ips.iter().map(|ip| ip.address.addr())
    }
}

impl Joining {
    /// For a sandbox about which nothing else is known.
    pub(crate) fn at(sandbox: PathBuf) -> Self {
        Self { sandbox, ..Self::default() }
    }
}

impl Left {
    fn of(made: Made) -> Self {
        let Made { result, snapshot, further, .. } = made;
        let (result, snapshot) = (Some(result), Some(snapshot));
        Self { result, snapshot, further, ..Self::default() }
    }

    fn of_staged(made: Made, prepared: Option<Prepared>) -> Self {
        let left = Self::of(made);
        match prepared {
            Some(Prepared { settings, netfilter, host_side }) => {
                Self { settings: Some(settings), netfilter, host_side, ..left }
            }
            None => left,
        }
    }

    fn of_joined(made: Made, joining: Joining) -> Self {
        let Joining { settings, netfilter, sandbox, host_side, .. } = joining;
        let left = Self::of(made);
        let (settings, sandbox) = (Some(settings), Some(sandbox));
        Self { settings, netfilter, sandbox, host_side, ..left }
    }
}

impl Phase {
    /// The phase of an attachment whose ADD is about to run.
    pub(crate) fn adding() -> Self {
        Self(PhaseData::Adding)
    }

    /// The phase of an attachment that was found on the host without a record, and is to be deleted.
    pub(crate) fn found(left: Left) -> Self {
        Self(PhaseData::Deleting(Removal::begun_now(), left))
    }

    pub(crate) fn name(&self) -> PhaseName {
        match self.0 {
            PhaseData::Adding => PhaseName::Adding,
            PhaseData::Spare(..) => PhaseName::Spare,
            PhaseData::Staged(..) => PhaseName::Staged,
            PhaseData::Joined(..) => PhaseName::Joined,
            PhaseData::Settled(..) => PhaseName::Settled,
            PhaseData::Deleting(..) => PhaseName::Deleting,
        }
    }

    /// ADD has succeeded.
    ///
    /// # Errors
    /// It was not running.
    pub(super) fn stage(&mut self, made: Made) -> Result<(), InvalidTransition> {
        match self.0 {
            PhaseData::Adding => self.0 = PhaseData::Staged(made, None),
            _ => return Err(self.invalid_transition(PhaseName::Staged)),
        }
        Ok(())
    }

    /// ADD has succeeded, ahead of time.
    ///
    /// # Errors
    /// It was not running.
    pub(super) fn keep_ready(
        &mut self,
        made: Made,
        prepared: Prepared,
    ) -> Result<(), InvalidTransition> {
        match self.0 {
            PhaseData::Adding => self.0 = PhaseData::Spare(made, prepared),
            _ => return Err(self.invalid_transition(PhaseName::Spare)),
        }
        Ok(())
    }

    /// An endpoint claims the spare.
    ///
    /// # Errors
    /// It is not a spare.
    pub(super) fn claim(&mut self) -> Result<(), InvalidTransition> {
        match &self.0 {
            PhaseData::Spare(made, prepared) => {
                self.0 = PhaseData::Staged(made.clone(), Some(prepared.clone()));
            }
            _ => return Err(self.invalid_transition(PhaseName::Staged)),
        }
        Ok(())
    }

    /// Docker is given the interface, perhaps once more.
    ///
    /// # Errors
    /// ADD has not succeeded, or the attachment is being deleted.
    pub(super) fn join(&mut self, joining: Joining) -> Result<(), InvalidTransition> {
        match &self.0 {
            PhaseData::Staged(made, _)
            | PhaseData::Joined(made, _)
            | PhaseData::Settled(made, _) => {
                self.0 = PhaseData::Joined(made.clone(), joining);
            }
            _ => return Err(self.invalid_transition(PhaseName::Joined)),
        }
        Ok(())
    }

    /// What Docker does not carry over has been put back, except where the user has decided otherwise.
    ///
    /// # Errors
    /// Docker does not have the interface, or it was settled before.
    pub(super) fn settle(&mut self, users: Settings) -> Result<(), InvalidTransition> {
        match &self.0 {
            PhaseData::Joined(made, joining) => {
                let made = Made { users, ..made.clone() };
                self.0 = PhaseData::Settled(made, joining.clone());
            }
            _ => return Err(self.invalid_transition(PhaseName::Settled)),
        }
        Ok(())
    }

    /// The attachment is to be deleted; any phase may come before this. If it was being deleted already, the
    /// state of its removal is kept. `note` changes that state.
    pub(super) fn delete<T>(&mut self, note: impl FnOnce(&mut Removal, &mut Left) -> T) -> T {
        let (mut removal, mut left) = match std::mem::replace(&mut self.0, PhaseData::Adding) {
            PhaseData::Adding => (Removal::begun_now(), Left::default()),
            PhaseData::Spare(made, prepared) => {
                (Removal::begun_now(), Left::of_staged(made, Some(prepared)))
            }
            PhaseData::Staged(made, prepared) => {
                (Removal::begun_now(), Left::of_staged(made, prepared))
            }
            PhaseData::Joined(made, joining) | PhaseData::Settled(made, joining) => {
                (Removal::begun_now(), Left::of_joined(made, joining))
            }
            PhaseData::Deleting(removal, left) => (removal, left),
        };
        let noted = note(&mut removal, &mut left);
        self.0 = PhaseData::Deleting(removal, left);
        noted
    }

    fn invalid_transition(&self, to: PhaseName) -> InvalidTransition {
        InvalidTransition { from: self.name(), to }
    }

    /// What ADD made, until it is to be deleted.
    pub(super) fn made(&self) -> Option<&Made> {
        match &self.0 {
            PhaseData::Spare(made, _)
            | PhaseData::Staged(made, _)
            | PhaseData::Joined(made, _)
            | PhaseData::Settled(made, _) => Some(made),
            PhaseData::Adding | PhaseData::Deleting(..) => None,
        }
    }

    /// What was prepared for Join, until Join has used it.
    pub(super) fn prepared(&self) -> Option<&Prepared> {
        match &self.0 {
            PhaseData::Spare(_, prepared) => Some(prepared),
            PhaseData::Staged(_, prepared) => prepared.as_ref(),
            PhaseData::Adding
            | PhaseData::Joined(..)
            | PhaseData::Settled(..)
            | PhaseData::Deleting(..) => None,
        }
    }

    /// What Join decided, while a container has the endpoint.
    pub(super) fn joining(&self) -> Option<(&Made, &Joining)> {
        match &self.0 {
            PhaseData::Joined(made, joining) | PhaseData::Settled(made, joining) => {
                Some((made, joining))
            }
            PhaseData::Adding
            | PhaseData::Spare(..)
            | PhaseData::Staged(..)
            | PhaseData::Deleting(..) => None,
        }
    }

    pub(super) fn joining_mut(&mut self) -> Option<&mut Joining> {
        match &mut self.0 {
            PhaseData::Joined(_, joining) | PhaseData::Settled(_, joining) => Some(joining),
            PhaseData::Adding
            | PhaseData::Spare(..)
            | PhaseData::Staged(..)
            | PhaseData::Deleting(..) => None,
        }
    }

    /// The state of the removal, and what is still to be removed.
    pub(super) fn deleting(&self) -> Option<(&Removal, &Left)> {
        match &self.0 {
            PhaseData::Deleting(removal, left) => Some((removal, left)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
