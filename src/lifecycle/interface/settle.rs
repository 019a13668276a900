//! Settle: what Docker cannot carry over is put back.
//!
//! Docker moves the interface and sets one IPv4 and one IPv6 address, a gateway and plain
//! routes. All else that a chain made in its namespace is lost on the way, or stays behind
//! in staging: further addresses, routes with their attributes, rules, neighbours,
//! sysctls. So what ADD left is read into a snapshot, and one reconciler
//! ([`super::reconcile`]) makes the interface like it again, *desired less actual*: in the
//! container once Docker has put the interface there, and in staging before DEL.

use ipnet::{IpNet, Ipv6Net};

use crate::cnm::JoinResponse;
use crate::lifecycle::error::Result;
use crate::lifecycle::host::kernels::own_rules;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::change::Live;
use crate::lifecycle::interface::desired::Desired;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::record::{Attachment, Phase};
use crate::netlink::{Link, MAIN_TABLE, Netlink, Route};
use crate::sysctl::{self, Scope, Sysctls};

impl Interfaces {
    /// Makes the interface what ADD made it, in the container's namespace, where Docker has put it.
    /// Done once: what the container changes afterwards is its own business. Settings of the
    /// namespace that were `set_before` are left alone: what differs there by now is the user's. The
    /// caller keeps the attachment's record.
    ///
    /// # Errors
    /// The kernel refused a change, and the attachment is not settled.
    pub(crate) async fn settle_there(
        &self,
        attachment: &mut Attachment,
        netlink: &Netlink,
        link: &Link,
        set_before: &Sysctls,
    ) -> Result<()> {
        self.respect_the_user(attachment, link).await?;
        let (Some(sandbox), Some(told), Some(interface), Some(snapshot)) = (
            &attachment.sandbox,
            attachment.join_answer(),
            &attachment.interface,
            attachment.snapshot_in_sandbox(),
        ) else {
            return Err(attachment.gone());
        };
        let mut settings = interface.settings_in_sandbox();
        if let Some(settings) = &mut settings {
            settings.namespace.retain(|setting, _| !set_before.contains_key(setting));
        }
        let ipv6_default = attachment.ipv6_default_route(&told, link);
        let desired = Desired {
            snapshot: &snapshot,
            addresses: &snapshot.addresses,
            settings: settings.as_ref(),
            told: &told.static_routes,
            gateways: &told.gateways(),
            dockers: ipv6_default.as_slice(),
            others_have_host_routes: attachment.widened > 0,
            default_routes: false,
        };
        desired.reconcile(&Live { path: sandbox, netlink, link }).await?;
        self.align_default_route(attachment, false).await?;
        if self.sandboxes.is_shared(attachment) {
            remove_ipv6_default_if_another_has_one(netlink).await?;
        }
        attachment.phase = Phase::Settled;
        Ok(())
    }

    /// Sets the chain's settings of the container's namespace, where nobody has set them yet; those
    /// that are so set.
    pub(crate) async fn set_namespace(&self, attachment: &Attachment) -> Result<Sysctls> {
        let chains = attachment.interface.as_ref().and_then(|it| it.settings.as_ref());
        let (Some(sandbox), Some(chains)) = (&attachment.sandbox, chains) else {
            return Ok(Sysctls::new());
        };
        let actual = sysctl::read_again(sandbox, &Scope::Namespace, &chains.namespace).await?;
        let fresh = self.fresh().await?;
        let mut wanted = chains.namespace.clone();
        wanted.retain(|setting, _| actual.get(setting) == fresh.settings.namespace.get(setting));
        sysctl::write(sandbox, &Scope::Namespace, &wanted).await?;
        Ok(wanted)
    }

    /// Takes down which settings the user has decided.
    async fn respect_the_user(&self, attachment: &mut Attachment, link: &Link) -> Result<()> {
        let found = self.users_settings(attachment, link).await?;
        if let Some(interface) = &mut attachment.interface {
            // What Docker was told is the user's, whatever is there.
            interface.users = found.overlaid_with(&interface.users);
        }
        Ok(())
    }

    /// Takes the rules back that were added to the container's namespace: unlike all else,
    /// they do not go with the interface.
    pub(crate) async fn unsettle(&self, attachment: &Attachment) -> Result<()> {
        // Some may be there although settling has failed.
        let is_inside = matches!(attachment.phase, Phase::Joined | Phase::Settled);
        let Some(snapshot) = attachment.snapshot_in_sandbox().filter(|_| is_inside) else {
            return Ok(());
        };
        if own_rules(&snapshot, "").next().is_none() {
            return Ok(());
        }
        let Place::Sandbox(netlink, link) = self.locate(attachment).await? else { return Ok(()) };
        for rule in own_rules(&snapshot, &link.name) {
            netlink.remove_rule(&rule).await?;
        }
        Ok(())
    }
}

/// The metric of a default route for IPv6 that Docker did not make: behind the one that it may
/// make yet, for another network. The kernel makes that 1024, and two of the same are refused.
const BEHIND_DOCKERS: u32 = 1025;

impl Attachment {
    /// The default route for IPv6, for a container where none of its networks has one. Docker
    /// before version 28 looks for IPv4 gateways only, when it chooses the network that gets the
    /// default routes.
    pub(crate) fn ipv6_default_route(&self, told: &JoinResponse, link: &Link) -> Option<Route> {
        let gateway = told.gateway_ipv6.filter(|_| !self.is_gateway)?;
        let any = IpNet::V6(Ipv6Net::default());
        let route = Route::new(any, Some(gateway.into()), link.index);
        Some(Route { metric: BEHIND_DOCKERS, ..route })
    }
}

/// Removes the driver's IPv6 default route once Docker has made one.
async fn remove_ipv6_default_if_another_has_one(netlink: &Netlink) -> Result<()> {
    let mut routes = netlink.all_routes().await?;
    routes.retain(|route| {
        (route.table == MAIN_TABLE && route.is_default()) && route.destination.addr().is_ipv6()
    });
    let (behind, dockers): (Vec<_>, Vec<_>) =
        routes.iter().partition(|route| route.metric == BEHIND_DOCKERS);
    for route in behind.into_iter().filter(|_| !dockers.is_empty()) {
        netlink.remove_route(route).await?;
    }
    Ok(())
}
