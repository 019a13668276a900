//! Compares the interface in the container with what settling would make.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::cni::PluginConfig;
use crate::cnm::JoinResponse;
use crate::lifecycle::error::Result;
use crate::lifecycle::interface::change::Live;
use crate::lifecycle::interface::desired::Desired;
use crate::lifecycle::interface::{further_links, netfilter};
use crate::lifecycle::record::{Joined, Settings};
use crate::netlink::{Link, Netlink, Route, Snapshot};
use crate::sysctl::{self, Scope};

/// The interface in the container, and what belongs to it.
pub(super) struct Found<'a> {
    pub(super) joined: Joined<'a>,
    pub(super) netlink: Netlink,
    pub(super) link: Link,
    pub(super) snapshot: Cow<'a, Snapshot>,
    /// Which settings are the user's.
    pub(super) users: Settings,
    /// The complete desired state, with these settings.
    pub(super) settings: Settings,
    pub(super) told: JoinResponse,
    pub(super) gateways: Vec<IpAddr>,
}

impl Found<'_> {
    pub(super) async fn differences(&self) -> Result<Vec<String>> {
        let changes = self.desired(&self.dockers()).differences(&self.live()).await?;
        let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let (netfilter, path) = (self.joined.netfilter_there(&self.link), self.joined.sandbox());
        let rules = netfilter::differences(&netfilter, path).await?;
        let further = further_links::differences(self.joined, &self.netlink).await?;
        Ok(words
            .iter()
            .chain(&rules)
            .chain(&further)
            .flat_map(|words| words.lines())
            .map(str::to_owned)
            .collect())
    }

    pub(super) fn live(&self) -> Live<'_> {
        Live { path: self.joined.sandbox(), netlink: &self.netlink, link: &self.link }
    }

    pub(super) fn desired<'d>(&'d self, dockers: &'d [Route]) -> Desired<'d> {
        Desired {
            snapshot: &self.snapshot,
            addresses: &self.snapshot.addresses,
            settings: Some(&self.settings),
            told: &self.told.static_routes,
            gateways: &self.gateways,
            dockers,
            others_have_host_routes: self.joined.joining.widened > 0,
            default_routes: false,
        }
    }

    /// The routes that Docker got and made.
    pub(super) fn dockers(&self) -> Vec<Route> {
        let route = |destination, gateway| Route::new(destination, gateway, self.link.index);
        let mut told = self.told.static_routes.clone();
        // A gateway is reachable only once there is a route to it.
        told.sort_by_key(|route| route.next_hop.is_some());
        let mut routes: Vec<Route> =
            told.iter().map(|told| route(told.destination, told.next_hop)).collect();
        if self.joined.is_gateway {
            let gateways =
                [self.told.gateway.map(IpAddr::from), self.told.gateway_ipv6.map(IpAddr::from)];
            routes.extend(gateways.into_iter().flatten().map(|gateway| {
                let any = if gateway.is_ipv4() { IpAddr::from([0; 4]) } else { [0_u16; 8].into() };
                route(IpNet::new_assert(any, 0), Some(gateway))
            }));
        }
        routes.extend(self.joined.default_routes_untold(&self.told, &self.link, &self.users));
        routes
    }

    /// The settings that the user has decided, with the names that plugin `tuning` uses.
    pub(super) fn users_sysctls(&self) -> BTreeMap<String, String> {
        let users = &self.users;
        let of_link = Scope::Link(PluginConfig::IF_NAME.to_owned());
        let link = users.link.iter().map(|(it, value)| (sysctl::name(&of_link, it), value));
        let namespace = users.namespace.iter();
        let namespace = namespace.map(|(it, value)| (sysctl::name(&Scope::Namespace, it), value));
        link.chain(namespace).map(|(name, value)| (name.replace('/', "."), value.clone())).collect()
    }
}
