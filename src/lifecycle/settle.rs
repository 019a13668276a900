//! Settle: what Docker cannot carry over is put back.
//!
//! Docker moves the interface and sets one IPv4 and one IPv6 address, a gateway and plain
//! routes. All else that a chain made in its namespace is lost on the way, or stays behind
//! in staging: further addresses, routes with their attributes, rules, neighbours,
//! sysctls. So what ADD left is read into a [`Snapshot`], and one reconciler makes the
//! interface like it again, *desired less actual*: in the container once Docker has put the
//! interface there, and in staging before DEL.
//!
//! Three things are not ours to settle. Default routes of the main table belong to Docker.
//! Link-local addresses, and the routes that come with an address, are the kernel's. And
//! whatever does not concern this interface is somebody else's.

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::record::{Attachment, Phase};
use super::{Error, Inner, Result};
use crate::cnm::StaticRoute;
use crate::netlink::sysctl::{self, Scope, Sysctls};
use crate::netlink::{Address, Link, MAIN_TABLE, Netlink, Route, Rule, Snapshot};
use crate::netns;

/// Settings that a chain has changed, below `/proc/sys/net`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) link: Sysctls,
    pub(super) namespace: Sysctls,
}

/// What a namespace has before any plugin has run in it.
#[derive(Debug)]
pub(super) struct Fresh {
    settings: Settings,
    /// Links that the kernel puts into every namespace.
    links: Vec<String>,
}

/// What an attachment's namespace shall be like, and whose the default routes there are.
struct Desired<'d> {
    snapshot: &'d Snapshot,
    settings: &'d Settings,
    /// Routes of Docker's making that may stay although ADD made none like them.
    told: &'d [StaticRoute],
    /// The host routes on the link are another endpoint's: Docker was told wider ones.
    others_have_host_routes: bool,
    /// Whether the default routes of the main table are to be made too.
    default_routes: bool,
}

impl Inner {
    /// Reads everything that ADD left in the staging namespace.
    ///
    /// # Errors
    /// The chain left a further link there, which nobody can hand over.
    pub(super) async fn snapshot(
        &self,
        attachment: &Attachment,
        staging: &Netlink,
        index: u32,
        fresh: &Fresh,
    ) -> Result<(Snapshot, Settings)> {
        let path = &attachment.staging;
        let of_link = Scope::Link(attachment.parameters.if_name.clone());
        let (snapshot, link, namespace) = tokio::try_join!(
            staging.snapshot(index),
            sysctl::read(path, &of_link),
            sysctl::read(path, &Scope::Namespace),
        )?;
        let further = snapshot.further_links.iter().map(|link| &link.name);
        if let Some(name) = further.into_iter().find(|name| !fresh.links.contains(name)) {
            return Err(Error::FurtherLink {
                conflist: attachment.list.name().to_owned(),
                name: name.clone(),
            });
        }
        let settings = Settings {
            link: changed(link, &fresh.settings.link),
            namespace: changed(namespace, &fresh.settings.namespace),
        };
        Ok((snapshot, settings))
    }

    /// Makes the container's interface what ADD made it, if Docker has put it in place.
    /// Done once: what the container changes afterwards is its own business.
    pub(super) async fn settle(self: &Arc<Self>, attachment: &mut Attachment) -> Result<()> {
        let (Phase::Joined, Some(sandbox)) = (attachment.phase, &attachment.sandbox) else {
            return Ok(());
        };
        let (Some(told), Some(interface)) = (attachment.join_answer(), &attachment.interface)
        else {
            return Ok(());
        };
        let Place::Sandbox(netlink, link) = self.locate(attachment).await? else { return Ok(()) };
        let desired = Desired {
            snapshot: &interface.snapshot,
            settings: &interface.settings,
            told: &told.static_routes,
            others_have_host_routes: attachment.widened > 0,
            default_routes: false,
        };
        desired.reconcile(sandbox, &netlink, &link).await?;
        self.straighten(attachment, false).await?;
        attachment.phase = Phase::Settled;
        // A container waits for this; settling once more after a crash does no harm.
        self.keep_soon(attachment).await;
        Ok(())
    }

    /// Makes the interface in staging what ADD made it, for DEL to find.
    pub(super) async fn restore_in_staging(
        &self,
        attachment: &Attachment,
        staging: &Netlink,
        link: &Link,
    ) -> Result<()> {
        let Some(interface) = &attachment.interface else { return Ok(()) };
        let desired = Desired {
            snapshot: &interface.snapshot,
            settings: &interface.settings,
            told: &[],
            others_have_host_routes: false,
            default_routes: true,
        };
        desired.reconcile(&attachment.staging, staging, link).await
    }

    /// Takes the rules back that were added to the container's namespace: unlike all else,
    /// they do not go with the interface.
    pub(super) async fn unsettle(&self, attachment: &Attachment) -> Result<()> {
        let (Phase::Settled, Some(interface)) = (attachment.phase, &attachment.interface) else {
            return Ok(());
        };
        let ours: Vec<&Rule> =
            interface.snapshot.rules.iter().filter(|rule| !is_kernels(rule)).collect();
        if ours.is_empty() {
            return Ok(());
        }
        let Place::Sandbox(netlink, link) = self.locate(attachment).await? else { return Ok(()) };
        for rule in ours {
            netlink.remove_rule(&named(rule, &interface.snapshot.link.name, &link.name)).await?;
        }
        Ok(())
    }

    /// What a fresh namespace is like; looked up once.
    pub(super) async fn fresh(&self) -> Result<&Fresh> {
        self.fresh.get_or_try_init(|| Fresh::look(&self.netns_dir)).await
    }
}

impl Fresh {
    /// Makes a namespace with an interface, reads it, and removes it.
    async fn look(netns_dir: &Path) -> Result<Self> {
        const LINK: &str = "fresh";
        let path = netns_dir.join("fresh");
        // What a crash left.
        netns::remove(&path).await?;
        netns::create(&path).await?;
        let read = async {
            let netlink = Netlink::in_netns(&path).await?;
            let links = netlink.links().await?.into_iter().map(|link| link.name).collect();
            let namespace = sysctl::read(&path, &Scope::Namespace).await?;
            netlink.add_veth(LINK, "peer").await?;
            let link = sysctl::read(&path, &Scope::Link(LINK.into())).await?;
            Ok(Self { settings: Settings { link, namespace }, links })
        };
        let fresh = read.await;
        netns::remove(&path).await?;
        fresh
    }
}

impl Desired<'_> {
    async fn reconcile(&self, path: &Path, netlink: &Netlink, link: &Link) -> Result<()> {
        self.settings(path, link).await?;
        self.attributes(netlink, link).await?;
        self.addresses(netlink, link).await?;
        self.neighbours(netlink, link).await?;
        self.routes(netlink, link).await?;
        self.rules(netlink, link).await
    }

    /// First of all, because settings decide what the kernel makes of the rest.
    async fn settings(&self, path: &Path, link: &Link) -> Result<()> {
        for (scope, settings) in [
            (Scope::Namespace, &self.settings.namespace),
            (Scope::Link(link.name.clone()), &self.settings.link),
        ] {
            if !settings.is_empty() {
                sysctl::write(path, &scope, settings).await?;
            }
        }
        Ok(())
    }

    /// What the container, or udev in the host's namespace, may have set otherwise.
    async fn attributes(&self, netlink: &Netlink, link: &Link) -> Result<()> {
        let wanted = &self.snapshot.link;
        if let Some(mac) = wanted.mac.filter(|mac| link.mac != Some(*mac)) {
            netlink.set_mac(link.index, mac).await?;
        }
        if link.mtu != wanted.mtu {
            netlink.set_mtu(link.index, wanted.mtu).await?;
        }
        if wanted.up && !link.up {
            netlink.set_up(link.index).await?;
        }
        Ok(())
    }

    async fn addresses(&self, netlink: &Netlink, link: &Link) -> Result<()> {
        let actual = netlink.addresses(link.index).await?;
        let desired: Vec<&Address> = (self.snapshot.addresses.iter())
            .filter(|address| !is_link_local(&address.net))
            .collect();
        for address in desired.iter().copied() {
            if !actual.iter().any(|present| bears(present, address)) {
                netlink.add_address(link.index, address).await?;
            }
        }
        for address in actual.iter().filter(|address| !is_link_local(&address.net)) {
            // One more of these is what the user gave Docker by --link-local-ip.
            let users = matches!(address.net, IpNet::V4(net) if net.addr().is_link_local());
            if !users && !desired.iter().any(|wanted| wanted.net == address.net) {
                netlink.remove_address(link.index, address).await?;
            }
        }
        Ok(())
    }

    async fn neighbours(&self, netlink: &Netlink, link: &Link) -> Result<()> {
        let actual = netlink.neighbours(link.index).await?;
        for neighbour in self.snapshot.neighbours.iter().filter(|one| !actual.contains(one)) {
            netlink.add_neighbour(link.index, neighbour).await?;
        }
        Ok(())
    }

    async fn routes(&self, netlink: &Netlink, link: &Link) -> Result<()> {
        let actual = netlink.routes(link.index).await?;
        let mut desired: Vec<Route> = (self.snapshot.routes.iter())
            .filter(|route| self.settles(route))
            .filter(|route| !(self.others_have_host_routes && is_host_route(route)))
            .map(|route| Route { link: Some(link.index), ..route.clone() })
            .collect();
        // A gateway is reachable only once there is a route to it.
        desired.sort_by_key(|route| route.gateway.is_some());
        for route in &desired {
            if !is_kernels_route(route) && !actual.contains(route) {
                netlink.replace_route(route).await?;
            }
        }
        for route in actual.iter().filter(|route| self.settles(route)) {
            let wanted = desired.iter().any(|desired| same_route(desired, route));
            let told = self.told.iter().any(|told| told.destination == route.destination);
            if !wanted && !told {
                netlink.remove_route(route).await?;
            }
        }
        Ok(())
    }

    async fn rules(&self, netlink: &Netlink, link: &Link) -> Result<()> {
        let desired: Vec<Rule> = (self.snapshot.rules.iter())
            .filter(|rule| !is_kernels(rule))
            .map(|rule| named(rule, &self.snapshot.link.name, &link.name))
            .collect();
        if desired.is_empty() {
            return Ok(());
        }
        let actual = netlink.rules().await?;
        for rule in desired.iter().filter(|rule| !actual.contains(rule)) {
            netlink.add_rule(rule).await?;
        }
        Ok(())
    }

    /// Whether a route is neither Docker's, nor part of what the kernel does by itself.
    fn settles(&self, route: &Route) -> bool {
        const LOCAL_TABLE: u32 = 255;
        let main = route.table == MAIN_TABLE;
        let dockers = route.is_default() && main && !self.default_routes;
        // Where the chain gave no IPv6 address, Docker turns IPv6 off.
        let link_local = is_link_local(&route.destination) && (main || !self.has_ipv6());
        !dockers
            && route.table != LOCAL_TABLE
            && !link_local
            && !route.destination.addr().is_multicast()
    }

    fn has_ipv6(&self) -> bool {
        let mut addresses = self.snapshot.addresses.iter();
        addresses.any(|address| address.net.addr().is_ipv6() && !is_link_local(&address.net))
    }
}

/// What is set otherwise than in a fresh namespace.
fn changed(mut settings: Sysctls, fresh: &Sysctls) -> Sysctls {
    settings.retain(|setting, value| fresh.get(setting) != Some(value));
    settings
}

/// Whether an address that is there needs no change.
fn bears(present: &Address, wanted: &Address) -> bool {
    let key = |address: &Address| (address.net, address.peer, address.flags, address.metric);
    key(present) == key(wanted) && present.lifetime.is_none() == wanted.lifetime.is_none()
}

/// Whether two routes take each other's place in the kernel's tables.
fn same_route(one: &Route, other: &Route) -> bool {
    let key = |route: &Route| (route.table, route.destination, route.metric, route.tos);
    key(one) == key(other)
}

/// Whether the route leads to one address on the link itself, such as a gateway's.
fn is_host_route(route: &Route) -> bool {
    route.gateway.is_none()
        && route.table == MAIN_TABLE
        && route.destination.prefix_len() == route.destination.max_prefix_len()
}

/// Whether the kernel makes the route by itself, with the address that it belongs to. A
/// plugin may have copied it to another table.
fn is_kernels_route(route: &Route) -> bool {
    const RTPROT_KERNEL: u8 = 2;
    route.protocol == RTPROT_KERNEL && route.table == MAIN_TABLE
}

/// Whether the rule is one of those that every namespace has: local, main, default.
fn is_kernels(rule: &Rule) -> bool {
    matches!(rule.priority, 0 | 32766 | 32767)
}

/// The rule, for an interface that has another name now.
fn named(rule: &Rule, old: &str, new: &str) -> Rule {
    let renamed = |name: &Option<String>| {
        name.as_ref().map(|name| if name == old { new.to_owned() } else { name.clone() })
    };
    Rule { input: renamed(&rule.input), output: renamed(&rule.output), ..rule.clone() }
}

/// An IPv6 link-local address or prefix: the kernel's, made from the MAC.
fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}
