//! Isolation: containers of an isolated network cannot reach other isolated networks, nor Docker's own
//! bridge networks, and cannot be reached from there. Docker separates its own networks in the same way.
//!
//! The rules are in the table mangle. Its FORWARD chain comes before that of the table filter, where Docker
//! puts its own chains first again and again, and accepts what its bridges send. The rules drop packets
//! that begin a connection. Answers pass, and so do packets to a published port of the host:
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
//! Bridges whose name begins with `br-`, but which are not Docker's, are excepted. A user's conflist may share its
//! bridge with others; for it, the rules match subnets instead of the bridge. On a host without `iptables`, `nft`
//! makes the same rules in a table of its own. A driver with another state folder has other names of chains and
//! table ([`Names`]).
//!
//! The rules follow from the networks on record. The driver compares them with those of the host, and writes them
//! in one step if they differ. Without an isolated network there are no rules.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::docker_bridges::DockerBridges;
use super::names::Names;
use super::tables::{Family, Table};
use super::{isolation_nft, isolation_rules};
use crate::lifecycle::error::Result;
use crate::lifecycle::record::{Network, Networks};
use crate::netlink::Netlink;

const OPERATION: &str = "keep networks apart";

/// The isolation rules of this driver.
#[derive(Debug)]
pub(crate) struct Isolation {
    names: Names,
    /// When the rules were last compared, and right.
    seen: tokio::sync::Mutex<Option<Instant>>,
}

impl Isolation {
    /// The rules of the driver with that state folder.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self { names: Names::of(state_dir), seen: tokio::sync::Mutex::default() }
    }

    /// The chain with which the rules begin.
    pub(crate) fn chain(&self) -> &str {
        &self.names.sent
    }

    /// Makes the rules that the networks on record need.
    ///
    /// # Errors
    /// The host's rules cannot be read or written.
    pub(crate) async fn ensure(&self, networks: &Networks, own: &Netlink) -> Result<()> {
        let asked = Instant::now();
        let mut seen = self.seen.lock().await;
        // Another call has compared them while this one waited.
        if seen.is_some_and(|since| since >= asked) {
            return Ok(());
        }
        let since = Instant::now();
        let networks = networks.all();
        let isolated = isolated(&networks);
        let [v4, v6] = Family::BOTH.map(|family| write(&self.names, family, &isolated, own));
        let (v4, v6) = tokio::join!(v4, v6);
        // Both run to their end.
        let (v4, v6) = (v4?, v6?);
        if !v4 && !v6 {
            let docker = DockerBridges::among(own, &isolated, &[]).await?;
            isolation_nft::write(&self.names, &isolated, &docker).await?;
        }
        *seen = Some(since);
        Ok(())
    }

    /// Whether the rules are those that the networks on record need.
    ///
    /// # Errors
    /// The host's rules cannot be read.
    pub(crate) async fn is_whole(&self, networks: &Networks, own: &Netlink) -> Result<bool> {
        // Waits for a write that is under way.
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

/// The isolated networks, always in the same order, so that the order alone makes no difference.
fn isolated(networks: &[Arc<Network>]) -> Vec<&Network> {
    let all = networks.iter().map(AsRef::as_ref);
    let mut isolated: Vec<&Network> =
        all.filter(|network| network.is_isolated() && !network.removed).collect();
    isolated.sort_unstable_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    isolated
}

/// Makes the rules of one family, and returns whether the host has a program for them.
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

/// The input that would make the rules of one family right, if they are not; none where the host has no
/// program for them.
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
