//! CHECK: whether a container still has what ADD gave it, and putting back what can be.
//!
//! Three things are looked at: what the chain's own CHECK says; how the interface differs
//! from what settling would make it; and whether the rules in FORWARD are there.
//!
//! CHECK is told what ADD was told, though Docker has moved the interface and renamed it.
//! For the time of the call, `CNI_NETNS` is pinned to the container's namespace, over the
//! staging namespace, and `CNI_IFNAME` is an alternative name of the interface. A driver that
//! is killed in between leaves both; the next one takes them away before it answers any call
//! ([`end_interrupted`]), because Docker could not give the interface its name back.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::error::chain;
use super::error::{Error, Result};
use super::host::forward;
use super::interface::place::Place;
use super::interface::reconcile::{Desired, Live};
use super::record::{Attachment, AttachmentId, Interface, Phase};
use crate::cni::{self, AttachResult, NetworkConfigList};
use crate::cnm::{EndpointId, JoinResponse, NetworkId};
use crate::netlink::{Link, Netlink, Route, Snapshot};
use crate::netns;

/// How a container's end in a network is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The container's end.
    pub endpoint: EndpointId,
    /// Its network.
    pub network: NetworkId,
    /// The network configuration list.
    pub conflist: String,
    /// Path of the container's namespace: Docker's `SandboxKey`.
    pub sandbox: Option<PathBuf>,
    /// The interface, as it is called in the container.
    pub interface: Option<String>,
    /// The addresses that ADD gave.
    pub addresses: Vec<IpNet>,
    /// What the plugins say.
    pub chain: ChainCheck,
    /// What is not as it should be, one in words each.
    pub differences: Vec<String>,
    /// What was not, and is again.
    pub repaired: Vec<String>,
}

/// What the plugins of a chain say to CHECK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainCheck {
    /// All is well.
    Ok,
    /// What is amiss, in the words of the first plugin that says so.
    Failed(String),
    /// They were not asked, and why.
    NotAsked(String),
}

impl Check {
    /// Whether there is nothing to complain of.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.differences.is_empty() && !matches!(self.chain, ChainCheck::Failed(_))
    }
}

impl Driver {
    /// Checks the endpoints that `which` names, or all if it names none: by the beginning of
    /// an endpoint's id, by the path of its sandbox or the end of that, or by an address. With
    /// `repair`, what can be put back is, and it is looked at again.
    ///
    /// A check is finished even if the caller stops waiting for it. What goes wrong with an
    /// endpoint's is one of its differences.
    pub async fn check(&self, which: &[String], repair: bool) -> Vec<Check> {
        let mut ids = self.endpoints.ids();
        ids.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        // All at once: the engine bounds how many plugins run.
        let checks: Vec<_> = (ids.into_iter())
            .map(|endpoint| {
                let (driver, which) = (self.clone(), which.to_vec());
                self.background.spawn(async move {
                    let slot = driver.endpoints.lock(&endpoint).await;
                    let attachment = slot.as_ref()?;
                    let named =
                        which.is_empty() || which.iter().any(|name| attachment.answers_to(name));
                    match named {
                        true => Some(driver.check_one(attachment, repair).await),
                        false => None,
                    }
                })
            })
            .collect();
        let mut done = Vec::new();
        for check in checks {
            // A task that panicked has said so.
            done.extend(check.await.ok().flatten());
        }
        done
    }
}

impl Attachment {
    fn answers_to(&self, name: &str) -> bool {
        let sandbox = self.sandbox.as_deref();
        let key = sandbox.and_then(Path::file_name).and_then(|key| key.to_str());
        let mut ips = self.result.iter().flat_map(|result| &result.ips);
        (!name.is_empty() && self.endpoint.as_str().starts_with(name))
            || sandbox.is_some_and(|path| path == Path::new(name))
            || key == Some(name)
            || name.parse::<IpAddr>().is_ok_and(|ip| ips.any(|it| it.address.addr() == ip))
    }
}

/// The interface in the container, and what belongs to it.
struct Found<'a> {
    sandbox: &'a Path,
    netlink: Netlink,
    link: Link,
    interface: &'a Interface,
    snapshot: Cow<'a, Snapshot>,
    result: &'a AttachResult,
    told: JoinResponse,
    gateways: Vec<IpAddr>,
}

impl Driver {
    async fn check_one(&self, attachment: &Attachment, repair: bool) -> Check {
        let before = self.look(attachment).await;
        if !repair || before.is_well() {
            return before;
        }
        let refused = self.repair(attachment).await.err();
        let mut after = self.look(attachment).await;
        after.repaired = before.differences;
        after.repaired.retain(|difference| !after.differences.contains(difference));
        if let Some(error) = refused {
            after.differences.push(format!("cannot be repaired: {}", chain(&error)));
        }
        after
    }

    /// Looks at everything, and changes nothing that lasts.
    async fn look(&self, attachment: &Attachment) -> Check {
        let ips = attachment.result.iter().flat_map(|result| &result.ips);
        let mut check = Check {
            endpoint: attachment.endpoint.clone(),
            network: attachment.network.clone(),
            conflist: attachment.list.name().to_owned(),
            sandbox: attachment.sandbox.clone(),
            interface: None,
            addresses: ips.map(|ip| ip.address).collect(),
            chain: ChainCheck::NotAsked("the interface is not in a container".into()),
            differences: Vec::new(),
            repaired: Vec::new(),
        };
        match self.find(attachment).await {
            Ok(Ok(found)) => {
                check.interface = Some(found.link.name.clone());
                check.chain = self.ask(attachment, &found).await;
                match found.differences(attachment).await {
                    Ok(differences) => check.differences.extend(differences),
                    Err(error) => check.differences.push(chain(&error)),
                }
            }
            Ok(Err(why)) => check.differences.push(why.to_owned()),
            Err(error) => check.differences.push(chain(&error)),
        }
        let missing = match attachment.phase {
            // They are written at Join.
            Phase::Adding | Phase::Staged => Ok(Vec::new()),
            _ => forward::missing(attachment).await,
        };
        match missing {
            Ok(rules) => check.differences.extend(
                rules.into_iter().map(|rule| format!("rule {rule:?} of the host is missing")),
            ),
            Err(error) => check.differences.push(chain(&error)),
        }
        check
    }

    /// Finds the interface in the container; or says why it is not there.
    async fn find<'a>(
        &self,
        attachment: &'a Attachment,
    ) -> Result<std::result::Result<Found<'a>, &'static str>> {
        // Of a check that could not be ended: the interface would be found in staging.
        if netns::stacked(self.interfaces.netns_dir())?.contains(&attachment.staging) {
            end(&attachment.staging, &attachment.parameters.if_name).await?;
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
        match self.interfaces.locate(attachment).await? {
            Place::Sandbox(netlink, link) => {
                let gateways = told.gateways();
                Ok(Ok(Found {
                    sandbox,
                    netlink,
                    link,
                    interface,
                    snapshot,
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
    async fn repair(&self, attachment: &Attachment) -> Result<()> {
        if let Ok(found) = self.find(attachment).await? {
            let dockers = found.dockers(attachment);
            found.desired(attachment, &dockers).reconcile(&found.live()).await?;
            self.interfaces.align_default_route(attachment, false).await?;
        }
        forward::complete(attachment).await
    }

    /// Runs the chain's CHECK.
    async fn ask(&self, attachment: &Attachment, found: &Found<'_>) -> ChainCheck {
        if attachment.list.disables_check() {
            return ChainCheck::NotAsked("the network disables CHECK".into());
        }
        match self.run_check(attachment, found).await {
            Ok(()) => ChainCheck::Ok,
            Err(Error::Cni(error @ cni::Error::NoCheck(_))) => {
                ChainCheck::NotAsked(error.to_string())
            }
            Err(error) => ChainCheck::Failed(chain(&error)),
        }
    }

    async fn run_check(&self, attachment: &Attachment, found: &Found<'_>) -> Result<()> {
        let (staging, parameters) = (&attachment.staging, &attachment.parameters);
        // Whatever takes the pin off again must find one below.
        if netns::identity(staging)?.is_none() {
            netns::create(staging).await?;
        }
        netns::pin(netns::open(found.sandbox)?, staging)?;
        let checked = async {
            if found.link.name != parameters.if_name {
                found.netlink.add_altname(found.link.index, &parameters.if_name).await?;
            }
            let list = NetworkConfigList::clone(&attachment.list);
            let list = list.with_sysctls_of(&found.link.name);
            let result = as_it_was_made(attachment, found);
            self.chains.check(&list, parameters, &result).await
        };
        let checked = checked.await;
        let ended = end(staging, &parameters.if_name).await;
        checked.and(ended)
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
            settings: self.interface.settings.as_ref(),
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
        routes
    }
}

/// What ADD answered, with what was decided after it: the interface's MAC and MTU are what
/// Docker wanted, and an internal network has no default route. A route without a gateway is
/// told the one that it has by the specification's rules, because plugins 1.1.1 look for
/// a route without any.
fn as_it_was_made(attachment: &Attachment, found: &Found<'_>) -> AttachResult {
    let mut result = found.result.clone();
    let made = &found.interface.snapshot.link;
    let ours = |interface: &&mut cni::Interface| {
        interface.sandbox.is_some() && interface.name == attachment.parameters.if_name
    };
    for interface in result.interfaces.iter_mut().filter(ours) {
        if interface.mac.is_some() {
            interface.mac = made.mac.map(|mac| mac.to_string());
        }
        interface.mtu = interface.mtu.map(|_| made.mtu);
    }
    if attachment.internal {
        result.routes.retain(|route| route.dst.prefix_len() > 0);
    }
    for route in &mut result.routes {
        let is_v4 = route.dst.addr().is_ipv4();
        let gateways = result.ips.iter().filter_map(|ip| ip.gateway);
        if route.gw.is_none() && route.scope.is_none() {
            route.gw = gateways.into_iter().find(|gateway| gateway.is_ipv4() == is_v4);
        }
    }
    result
}

/// Takes the alternative name and the pin away again.
async fn end(staging: &Path, if_name: &str) -> Result<()> {
    // In this order: as long as there is a pin too many, there may be a name too many.
    let netlink = Netlink::in_netns(staging).await?;
    if let Some(link) = netlink.link(if_name).await?.filter(|link| link.name != if_name) {
        netlink.remove_altname(link.index, if_name).await?;
    }
    Ok(netns::unpin(staging)?)
}

/// Ends the checks that a driver was killed in.
pub(crate) async fn end_interrupted(netns_dir: &Path) -> Result<()> {
    for staging in netns::stacked(netns_dir)? {
        let id = staging.file_name().and_then(|name| name.to_str());
        if let Some(id) = id.and_then(AttachmentId::parse) {
            end(&staging, &id.if_name()).await?;
        }
    }
    Ok(())
}
