//! Isolation: containers of one network are kept from those of other isolated networks, and of Docker's
//! own bridge networks, as Docker keeps its own from each other.
//!
//! What decides about forwarded packets in the table filter are many: Docker puts its chains first again
//! and again, and accepts what its bridges send. So these rules are in the table mangle, whose FORWARD the
//! packets pass before that, whatever is added to filter later. They drop what begins a connection.
//! Answers pass, and so does what was sent to a published port of the host:
//!
//! ```text
//! -A FORWARD -j CNM-CNI-ISOLATE
//! -A CNM-CNI-ISOLATE -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j RETURN
//! -A CNM-CNI-ISOLATE -i BRIDGE ! -o BRIDGE -j CNM-CNI-ISOLATE-OUT      an isolated network sends
//! -A CNM-CNI-ISOLATE -i docker0 -j CNM-CNI-ISOLATE-IN                  Docker's networks send
//! -A CNM-CNI-ISOLATE -i br-+ -j CNM-CNI-ISOLATE-IN
//! -A CNM-CNI-ISOLATE-OUT -o docker0 -j DROP
//! -A CNM-CNI-ISOLATE-OUT -o br-+ -j DROP
//! -A CNM-CNI-ISOLATE-OUT -j CNM-CNI-ISOLATE-IN
//! -A CNM-CNI-ISOLATE-IN -o BRIDGE -j DROP
//! ```
//!
//! Bridges of others whose name begins with `br-` are excepted. Of a user's conflist, whose bridge is
//! others' too, the subnets stand in the place of the bridge. On a host without `iptables`, `nft` is told
//! the same in a table of its own. The chains and the table of a driver with a state folder of its own have
//! names of their own ([`Names`]).
//!
//! The rules follow from the networks on record: all of them are compared with what there is, and written
//! at once if that differs. Without an isolated network there are none.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::docker_bridges::DockerBridges;
use super::isolation_names::Names;
use super::tables::{Family, Table};
use super::{isolation_nft, isolation_rules};
use crate::lifecycle::error::Result;
use crate::lifecycle::record::{Network, Networks};
use crate::netlink::Netlink;

const OPERATION: &str = "keep networks apart";

/// The rules that keep networks apart.
#[derive(Debug)]
pub(crate) struct Isolation {
    names: Names,
    /// When the rules were last seen to be as they should be: since this time, for certain.
    seen: tokio::sync::Mutex<Option<Instant>>,
}

impl Isolation {
    /// The rules of the driver with that state folder.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self { names: Names::of(state_dir), seen: tokio::sync::Mutex::default() }
    }

    /// The chain that they begin with.
    pub(crate) fn chain(&self) -> &str {
        &self.names.sent
    }

    /// Makes the rules what the networks on record ask for.
    ///
    /// # Errors
    /// The host's rules cannot be read or written.
    pub(crate) async fn ensure(&self, networks: &Networks, own: &Netlink) -> Result<()> {
        let asked = Instant::now();
        let mut seen = self.seen.lock().await;
        // Somebody else has looked while this one waited.
        if seen.is_some_and(|since| since >= asked) {
            return Ok(());
        }
        let since = Instant::now();
        let networks = networks.all();
        let isolated = isolated(&networks);
        let [v4, v6] = Family::BOTH.map(|family| write(&self.names, family, &isolated, own));
        let (v4, v6) = tokio::join!(v4, v6);
        // Both to their end.
        let (v4, v6) = (v4?, v6?);
        if !v4 && !v6 {
            let docker = DockerBridges::among(own, &isolated, &[]).await?;
            isolation_nft::write(&self.names, &isolated, &docker).await?;
        }
        *seen = Some(since);
        Ok(())
    }

    /// Whether the rules are as the networks on record ask for.
    ///
    /// # Errors
    /// The host's rules cannot be read.
    pub(crate) async fn is_whole(&self, networks: &Networks, own: &Netlink) -> Result<bool> {
        // Whoever writes them is let finish.
        let _seen = self.seen.lock().await;
        let networks = networks.all();
        let isolated = isolated(&networks);
        let [v4, v6] = Family::BOTH.map(|family| differing(&self.names, family, &isolated, own));
        match tokio::try_join!(v4, v6)? {
            (None, None) => isolation_nft::is_there(&self.names).await,
            (v4, v6) => Ok([v4, v6].into_iter().flatten().all(|changes| changes.is_none())),
        }
    }
}

/// Those that are kept apart, always in the same order, so that nothing differs by that alone.
fn isolated(networks: &[Arc<Network>]) -> Vec<&Network> {
    let all = networks.iter().map(AsRef::as_ref);
    let mut isolated: Vec<&Network> =
        all.filter(|network| network.is_isolated() && !network.removed).collect();
    isolated.sort_unstable_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    isolated
}

/// Makes the rules of one family so, and says whether the host has a program for them.
async fn write(
    names: &Names,
    family: Family,
    isolated: &[&Network],
    own: &Netlink,
) -> Result<bool> {
    let Some(changes) = differing(names, family, isolated, own).await? else { return Ok(false) };
    if let Some(changes) = changes {
        family.apply_to(Table::Mangle, OPERATION, &changes).await?;
    }
    Ok(true)
}

/// What would make the rules of one family so, where they are not; none where the host has no program
/// for them.
async fn differing(
    names: &Names,
    family: Family,
    isolated: &[&Network],
    own: &Netlink,
) -> Result<Option<Option<String>>> {
    let Some(present) = family.list(Table::Mangle).await? else { return Ok(None) };
    let rules = if isolated.is_empty() {
        Vec::new()
    } else {
        let filter = family.list(Table::Filter).await?.unwrap_or_default();
        let docker = DockerBridges::among(own, isolated, &filter).await?;
        isolation_rules::rules(names, family, isolated, &docker)
    };
    Ok(Some(isolation_rules::changes(names, &present, &rules)))
}
