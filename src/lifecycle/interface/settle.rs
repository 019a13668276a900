//! Settle: puts back what Docker does not carry over.
//!
//! Docker moves the interface and sets one IPv4 and one IPv6 address, a gateway and plain routes.
//! Everything else that a chain made in its namespace is lost on the way, or stays in staging: further
//! addresses, routes with attributes, rules, neighbours, sysctls. So what ADD left is read into a snapshot,
//! and one reconciler ([`super::reconcile`]) makes it again, *desired minus actual*: in the container once
//! Docker has put the interface there, and in staging before DEL.

use ipnet::{IpNet, Ipv6Net};

use crate::cnm::JoinResponse;
use crate::lifecycle::error::Result;
use crate::lifecycle::host::kernel_routes::own_rules;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::change::Live;
use crate::lifecycle::interface::desired::{Desired, has_ipv6};
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::interface::{further_links, netfilter};
use crate::lifecycle::record::{Joined, Netfilter, Settings};
use crate::netlink::{Link, MAIN_TABLE, Netlink, Route};
use crate::sysctl::{self, Scope, Sysctls};

impl Interfaces {
    /// Makes the interface in the container's namespace like what ADD made. This is done once: changes that
    /// the container makes afterwards are respected. Settings of the namespace that were `set_before` are
    /// left alone: if they differ by now, the user has set them. Returns the settings that the user has
    /// decided, for the caller to record.
    ///
    /// # Errors
    /// The kernel refused a change, and the attachment is not settled.
    pub(crate) async fn settle_there(
        &self,
        joined: Joined<'_>,
        live: &Live<'_>,
        set_before: &Sysctls,
    ) -> Result<Settings> {
        // Settings that the user gave to Docker are the user's, whatever their value is.
        let found = self.users_settings(joined, live.link).await?;
        let users = found.overlaid_with(&joined.made.users);
        let mut settings = Settings::clone(&joined.joining.settings).overlaid_with(&users);
        settings.namespace.retain(|setting, _| !set_before.contains_key(setting));
        let (told, snapshot) = (joined.answer_with(&users), joined.snapshot(&users));
        let defaults = joined.default_routes_untold(&told, live.link, &users);
        let desired = Desired {
            snapshot: &snapshot,
            addresses: &snapshot.addresses,
            settings: Some(&settings),
            told: &told.static_routes,
            gateways: &told.gateways(),
            dockers: &defaults,
            others_have_host_routes: joined.joining.widened > 0,
            default_routes: false,
        };
        // Both end before an error is returned: an undo must not run beside them.
        let netfilter = joined.netfilter_there(live.link);
        let (put, reconciled) =
            tokio::join!(netfilter::put(&netfilter, live.path), desired.reconcile(live));
        put.and(reconciled)?;
        further_links::bring(joined, live.netlink).await?;
        self.align_default_route(joined, false).await?;
        if self.sandboxes.is_shared(joined) {
            remove_default_routes_that_docker_has(live.netlink).await?;
        }
        Ok(users)
    }

    /// Makes the default routes that Docker does not make, where the container has none of that family any more
    /// because another network had it and is gone.
    pub(crate) async fn restore_default_routes(&self, joined: Joined<'_>) -> Result<()> {
        let Place::Sandbox(netlink, link) = self.locate(&joined).await? else { return Ok(()) };
        let users = &joined.made.users;
        let wanted = joined.default_routes_untold(&joined.answer(), &link, users);
        if wanted.is_empty() {
            return Ok(());
        }
        let mut routes = netlink.all_routes().await?;
        routes.retain(|route| route.table == MAIN_TABLE && route.is_default());
        for route in &wanted {
            if !routes.iter().any(|other| other.destination == route.destination) {
                netlink.add_route(route).await?;
            }
        }
        Ok(())
    }

    /// Sets the chain's settings of the container's namespace, where nobody has set them yet. Returns the
    /// settings that it has set.
    pub(crate) async fn set_namespace(&self, joined: Joined<'_>) -> Result<Sysctls> {
        let (sandbox, chains) = (joined.sandbox(), &joined.joining.settings);
        let actual = sysctl::read_again(sandbox, &Scope::Namespace, &chains.namespace).await?;
        let fresh = self.fresh().await?;
        let mut wanted = chains.namespace.clone();
        wanted.retain(|setting, _| actual.get(setting) == fresh.settings.namespace.get(setting));
        sysctl::write(sandbox, &Scope::Namespace, &wanted).await?;
        Ok(wanted)
    }

    /// Takes back from the container's namespace what the kernel does not remove with the interface: further links,
    /// and rules.
    pub(crate) async fn unsettle(&self, joined: Joined<'_>) -> Result<()> {
        let taken = further_links::take_back(&joined).await;
        self.remove_rules(joined).await.and(taken)
    }

    async fn remove_rules(&self, joined: Joined<'_>) -> Result<()> {
        // Some may exist although settling has failed.
        let snapshot = joined.snapshot(&joined.made.users);
        if own_rules(&snapshot, "").next().is_none() && joined.joining.netfilter.is_empty() {
            return Ok(());
        }
        let Place::Sandbox(netlink, link) = self.locate(&joined).await? else { return Ok(()) };
        for rule in own_rules(&snapshot, &link.name) {
            netlink.remove_rule(&rule).await?;
        }
        let others = self.sandboxes.netfilter_beside(joined);
        netfilter::remove(&joined.netfilter_there(&link), &others, joined.sandbox()).await
    }
}

/// The metric of a default route that Docker did not make. It comes after a default route that Docker may
/// still make for another network. The kernel gives that one the metric 1024 for IPv6, and refuses two with
/// the same metric.
const BEHIND_DOCKERS: u32 = 1025;

impl Joined<'_> {
    /// The rules that the chain left, for the interface as it is called in the container.
    pub(crate) fn netfilter_there(&self, link: &Link) -> Netfilter {
        self.joining.netfilter.renamed(&self.parameters.if_name, &link.name)
    }

    /// The default routes that Docker does not make, for a container where no network has one. There are
    /// two kinds. The IPv6 default route: Docker before version 28 looks only for IPv4 gateways when it
    /// chooses the network for the default routes. A default route without a gateway: Docker's protocol
    /// cannot express it. Docker would take it as a plain route, but could then not set its own, when the
    /// container joins a network with a gateway.
    pub(crate) fn default_routes_untold(
        &self,
        told: &JoinResponse,
        link: &Link,
        users: &Settings,
    ) -> Vec<Route> {
        let any = IpNet::V6(Ipv6Net::default());
        let over_gateway = told.gateway_ipv6.filter(|_| !self.is_gateway);
        let over_gateway =
            over_gateway.map(|gateway| Route::new(any, Some(gateway.into()), link.index));
        let gateways = told.gateways();
        let has_gateway = |route: &Route| {
            let family = route.destination.addr().is_ipv4();
            gateways.iter().any(|gateway| gateway.is_ipv4() == family)
        };
        // On an internal network only the link's own subnet is reachable.
        let left = Some(&self.made.snapshot).filter(|_| !self.internal);
        let ipv6_is_on = has_ipv6(&self.snapshot(users));
        let is_usable = |route: &Route| route.destination.addr().is_ipv4() || ipv6_is_on;
        let on_link = (left.into_iter())
            .flat_map(|snapshot| &snapshot.routes)
            .filter(|route| route.table == MAIN_TABLE && route.is_default() && is_usable(route))
            .filter(|route| route.first_gateway().is_none() && !has_gateway(route))
            .map(|route| Route { link: Some(link.index), ..route.clone() });
        (over_gateway.into_iter().chain(on_link))
            .map(|route| Route { metric: BEHIND_DOCKERS, ..route })
            .collect()
    }
}

/// Removes the driver's default route of a family once Docker has made one.
async fn remove_default_routes_that_docker_has(netlink: &Netlink) -> Result<()> {
    let mut routes = netlink.all_routes().await?;
    routes.retain(|route| route.table == MAIN_TABLE && route.is_default());
    let (behind, dockers): (Vec<_>, Vec<_>) =
        routes.iter().partition(|route| route.metric == BEHIND_DOCKERS);
    for route in behind {
        if dockers.iter().any(|dockers| dockers.destination == route.destination) {
            netlink.remove_route(route).await?;
        }
    }
    Ok(())
}
