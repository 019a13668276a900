//! One endpoint: its interface in the container against what settling would make it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use super::round::Round;
use super::{Check, chain, host};
use crate::cni::{AttachResult, NetworkConfigList};
use crate::cnm::JoinResponse;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::Result;
use crate::lifecycle::error::chain as in_words;
use crate::lifecycle::host::forward;
use crate::lifecycle::interface::announce;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::interface::reconcile::{Desired, Live};
use crate::lifecycle::record::{Attachment, Interface, Phase, Settings};
use crate::netlink::sysctl::{self, Scope};
use crate::netlink::{Link, Netlink, Route, Snapshot};
use crate::netns;

/// A look at one endpoint, which the caller holds.
pub(super) struct Look<'l> {
    pub(super) driver: &'l Driver,
    pub(super) round: &'l Round,
    pub(super) attachment: &'l Attachment,
    /// It had joined before the round began.
    pub(super) joined: bool,
}

/// The interface in the container, and what belongs to it.
pub(super) struct Found<'a> {
    pub(super) sandbox: &'a Path,
    pub(super) netlink: Netlink,
    pub(super) link: Link,
    pub(super) interface: &'a Interface,
    snapshot: Cow<'a, Snapshot>,
    settings: Option<Settings>,
    pub(super) result: &'a AttachResult,
    told: JoinResponse,
    gateways: Vec<IpAddr>,
}

impl<'l> Look<'l> {
    /// Checks the endpoint, and repairs it if that is asked for. None if a call of Docker's came to
    /// want it, as `wanted` tells, before the plugins had answered.
    pub(super) async fn check<W: Future<Output = ()>>(
        &self,
        wanted: impl Fn() -> W,
    ) -> Option<Check> {
        let before = self.look(&wanted).await?;
        if !self.round.repair || before.is_well() {
            return Some(before);
        }
        let refused = self.repair().await.err();
        let mut after = self.look(&wanted).await?;
        after.repaired = before.differences;
        after.repaired.retain(|difference| !after.differences.contains(difference));
        if let Some(error) = refused {
            after.differences.push(format!("cannot be repaired: {}", in_words(&error)));
        }
        Some(after)
    }

    /// Looks at everything, and changes nothing that lasts.
    async fn look<W: Future<Output = ()>>(&self, wanted: impl Fn() -> W) -> Option<Check> {
        let mut check = Check::of(self.attachment);
        match self.find().await {
            Ok(Ok(found)) => {
                check.interface = Some(found.link.name.clone());
                let rules = self.round.rules().await;
                let asked = chain::ask(self.driver, self.attachment, &found, rules, wanted());
                chain::Asked { chain: check.chain, notes: check.notes } = asked.await?;
                match found.differences(self.attachment).await {
                    Ok(differences) => check.differences.extend(differences),
                    Err(error) => check.differences.push(in_words(&error)),
                }
            }
            Ok(Err(why)) => check.differences.push(why.to_owned()),
            Err(error) => check.differences.push(in_words(&error)),
        }
        if matches!(self.attachment.phase, Phase::Joined | Phase::Settled) {
            check.differences.extend(self.on_the_host().await);
        }
        Some(check)
    }

    /// What differs on the host. What joined, or was repaired, after the rules were read is judged by
    /// how they are now.
    async fn on_the_host(&self) -> Vec<String> {
        let (own, attachment) = (&self.driver.interfaces.own, self.attachment);
        let differences = host::differences(own, attachment, self.round.rules().await).await;
        match differences.is_empty() || (self.joined && !self.round.repair) {
            true => differences,
            false => host::differences(own, attachment, &host::HostRules::read().await).await,
        }
    }

    /// Finds the interface in the container; or says why it is not there.
    async fn find(&self) -> Result<std::result::Result<Found<'l>, &'static str>> {
        let (driver, attachment) = (self.driver, self.attachment);
        // Of a check that could not be ended: the interface would be found in staging.
        if self.round.is_stacked(driver, &attachment.staging).await? {
            chain::end(&attachment.staging, &attachment.parameters.if_name).await?;
        }
        match attachment.phase {
            Phase::Adding | Phase::Staged => return Ok(Err("no container has joined yet")),
            Phase::Deleting => return Ok(Err("its DEL has failed, and will be tried again")),
            Phase::Joined | Phase::Settled => {}
        }
        let (Some(sandbox), Some(interface), Some(snapshot), Some(result), Some(told)) = (
            attachment.sandbox.as_deref(),
            &attachment.interface,
            attachment.snapshot_in_sandbox(),
            &attachment.result,
            attachment.join_answer(),
        ) else {
            return Ok(Err("no container has joined yet"));
        };
        if netns::identity(sandbox)?.is_none() {
            return Ok(Err("the container's namespace is gone"));
        }
        match driver.interfaces.locate(attachment).await? {
            Place::Sandbox(netlink, link) => {
                let gateways = told.gateways();
                Ok(Ok(Found {
                    sandbox,
                    netlink,
                    link,
                    interface,
                    snapshot,
                    settings: interface.settings_in_sandbox(),
                    result,
                    told,
                    gateways,
                }))
            }
            Place::Staging(..) | Place::Own(_) => {
                Ok(Err("the interface has not arrived in the container"))
            }
            Place::Nowhere => Ok(Err("the interface is gone; connect the container again")),
        }
    }

    /// Puts back all that settling would.
    async fn repair(&self) -> Result<()> {
        let attachment = self.attachment;
        if let Ok(found) = self.find().await? {
            let dockers = found.dockers(attachment);
            found.desired(attachment, &dockers).reconcile(&found.live()).await?;
            self.driver.interfaces.align_default_route(attachment, false).await?;
            announce::soon(&self.driver.background, attachment, &found.link);
        }
        forward::complete(attachment).await
    }
}

impl Found<'_> {
    async fn differences(&self, attachment: &Attachment) -> Result<Vec<String>> {
        let dockers = self.dockers(attachment);
        let changes = self.desired(attachment, &dockers).changes(&self.live()).await?;
        let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
        Ok(words.iter().flat_map(|words| words.lines()).map(str::to_owned).collect())
    }

    fn live(&self) -> Live<'_> {
        Live { path: self.sandbox, netlink: &self.netlink, link: &self.link }
    }

    fn desired<'d>(&'d self, attachment: &Attachment, dockers: &'d [Route]) -> Desired<'d> {
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

    /// The routes that Docker was told, and has made.
    fn dockers(&self, attachment: &Attachment) -> Vec<Route> {
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
        let users = &self.interface.users;
        let of_link = Scope::Link(NetworkConfigList::IF_NAME.to_owned());
        let link = users.link.iter().map(|(it, value)| (sysctl::name(&of_link, it), value));
        let namespace = users.namespace.iter();
        let namespace = namespace.map(|(it, value)| (sysctl::name(&Scope::Namespace, it), value));
        link.chain(namespace).map(|(name, value)| (name.replace('/', "."), value.clone())).collect()
    }
}
