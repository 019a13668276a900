//! The interface in the container, against what settling would make it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::cni::{AttachResult, PluginConfig};
use crate::cnm::JoinResponse;
use crate::lifecycle::error::Result;
use crate::lifecycle::interface::change::Live;
use crate::lifecycle::interface::desired::Desired;
use crate::lifecycle::record::{Attachment, Interface, Settings};
use crate::netlink::{Link, Netlink, Route, Snapshot};
use crate::sysctl::{self, Scope};

/// The interface in the container, and what belongs to it.
pub(super) struct Found<'a> {
    pub(super) sandbox: &'a Path,
    pub(super) netlink: Netlink,
    pub(super) link: Link,
    pub(super) interface: &'a Interface,
    pub(super) snapshot: Cow<'a, Snapshot>,
    /// Which settings are the user's.
    pub(super) users: Settings,
    /// All that the container is to have, with these.
    pub(super) settings: Option<Settings>,
    pub(super) result: &'a AttachResult,
    pub(super) told: JoinResponse,
    pub(super) gateways: Vec<IpAddr>,
}

impl Found<'_> {
    pub(super) async fn differences(&self, attachment: &Attachment) -> Result<Vec<String>> {
        let dockers = self.dockers(attachment);
        let changes = self.desired(attachment, &dockers).differences(&self.live()).await?;
        let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
        Ok(words.iter().flat_map(|words| words.lines()).map(str::to_owned).collect())
    }

    pub(super) fn live(&self) -> Live<'_> {
        Live { path: self.sandbox, netlink: &self.netlink, link: &self.link }
    }

    pub(super) fn desired<'d>(
        &'d self,
        attachment: &Attachment,
        dockers: &'d [Route],
    ) -> Desired<'d> {
        Desired {
            snapshot: &self.snapshot,
            addresses: &self.snapshot.addresses,
            settings: self.settings.as_ref(),
            told: &self.told.static_routes,
            gateways: &self.gateways,
            dockers,
            others_have_host_routes: attachment.widened > 0,
            default_routes: false,
        }
    }

    /// The routes that Docker got, and has made.
    pub(super) fn dockers(&self, attachment: &Attachment) -> Vec<Route> {
        let route = |destination, gateway| Route::new(destination, gateway, self.link.index);
        let mut told = self.told.static_routes.clone();
        // A gateway is reachable only once there is a route to it.
        told.sort_by_key(|route| route.next_hop.is_some());
        let mut routes: Vec<Route> =
            told.iter().map(|told| route(told.destination, told.next_hop)).collect();
        if attachment.is_gateway {
            let gateways =
                [self.told.gateway.map(IpAddr::from), self.told.gateway_ipv6.map(IpAddr::from)];
            routes.extend(gateways.into_iter().flatten().map(|gateway| {
                let any = if gateway.is_ipv4() { IpAddr::from([0; 4]) } else { [0_u16; 8].into() };
                route(IpNet::new_assert(any, 0), Some(gateway))
            }));
        }
        routes.extend(attachment.ipv6_default_route(&self.told, &self.link));
        routes
    }

    /// The settings that the user has decided, as plugin `tuning` names them.
    pub(super) fn users_sysctls(&self) -> BTreeMap<String, String> {
        let users = &self.users;
        let of_link = Scope::Link(PluginConfig::IF_NAME.to_owned());
        let link = users.link.iter().map(|(it, value)| (sysctl::name(&of_link, it), value));
        let namespace = users.namespace.iter();
        let namespace = namespace.map(|(it, value)| (sysctl::name(&Scope::Namespace, it), value));
        link.chain(namespace).map(|(name, value)| (name.replace('/', "."), value.clone())).collect()
    }
}
