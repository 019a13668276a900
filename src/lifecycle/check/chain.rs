//! The chain's own CHECK.
//!
//! It gets the same parameters as ADD, although Docker has moved the interface and renamed it. During the
//! call, the container's namespace is pinned at `CNI_NETNS`, over the staging namespace, and `CNI_IFNAME`
//! is an alternative name of the interface. A driver that is killed meanwhile leaves both. The next driver
//! removes them before it answers any call ([`end_interrupted`]), because otherwise Docker could not give
//! the interface its name back.

use std::path::Path;

use super::found::Found;
use super::known;
use super::report::ChainCheck;
use super::rules::HostRules;
use crate::cni::{self, AttachResult, NetworkConfigList};
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::chain;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::{Attachment, AttachmentId};
use crate::netlink::Netlink;
use crate::netns;

/// The answer of the plugins.
pub(super) struct Asked {
    pub(super) chain: ChainCheck,
    /// Known bugs of plugins that were met.
    pub(super) notes: Vec<String>,
}

/// Runs the chain's CHECK; none if `wanted` ended before it. A plugin whose complaint is a known bug is
/// skipped, so that the plugins after it are asked too.
pub(super) async fn ask(
    driver: &Driver,
    attachment: &Attachment,
    found: &Found<'_>,
    rules: &HostRules,
    wanted: impl Future<Output = ()>,
) -> Option<Asked> {
    let mut notes = Vec::new();
    let not_asked = |why: String| ChainCheck::NotAsked(why);
    if attachment.list.disables_check() {
        return Some(Asked { chain: not_asked("the network disables CHECK".into()), notes });
    }
    tokio::pin!(wanted);
    let mut list = NetworkConfigList::clone(&attachment.list)
        .with_sysctls_of(&found.link.name, &found.users_sysctls());
    loop {
        let chain = match run(driver, attachment, found, &list, wanted.as_mut()).await? {
            Ok(()) => ChainCheck::Ok,
            Err(Error::Cni(error @ cni::Error::NoCheck(_))) => not_asked(error.to_string()),
            Err(error) => match known::mistake(&error, attachment, rules) {
                Some(known::Mistake { plugin, note }) => {
                    notes.push(note);
                    list = list.without(&plugin);
                    continue;
                }
                None => ChainCheck::Failed(chain(&error)),
            },
        };
        return Some(Asked { chain, notes });
    }
}

/// Lets the plugins find the interface, and runs their CHECK; none if `wanted` ended before it.
async fn run(
    driver: &Driver,
    attachment: &Attachment,
    found: &Found<'_>,
    list: &NetworkConfigList,
    wanted: impl Future<Output = ()>,
) -> Option<Result<()>> {
    let (staging, parameters) = (&attachment.staging, &attachment.parameters);
    if let Err(error) = lend(staging, found.joined.sandbox()).await {
        return Some(Err(error));
    }
    let checked = async {
        if found.link.name != parameters.if_name {
            found.netlink.add_altname(found.link.index, &parameters.if_name).await?;
        }
        let result = as_it_was_made(attachment, found);
        driver.chains.check(list, parameters, &result).await
    };
    let checked = tokio::select! {
        checked = checked => Some(checked),
        // The plugin that runs is killed with all its children.
        () = wanted => None,
    };
    let ended = end(staging, &parameters.if_name).await;
    checked.map(|checked| checked.and(ended))
}

/// Pins the container's namespace over the staging one.
async fn lend(staging: &Path, sandbox: &Path) -> Result<()> {
    // Code that removes the pin must find another one below.
    if netns::identity(staging)?.is_none() {
        netns::create(staging).await?;
    }
    let (staging, sandbox) = (staging.to_owned(), sandbox.to_owned());
    on_blocking_thread(move || Ok(netns::pin(netns::open(&sandbox)?, &staging)?)).await
}

/// The result of ADD, changed to what the container has: the MAC and the MTU are the interface's own, and
/// an internal network has no default route. A route without a gateway gets the one that it has by the
/// specification's rules, because plugins 1.1.1 look for a route without any.
fn as_it_was_made(attachment: &Attachment, found: &Found<'_>) -> AttachResult {
    let mut result = found.joined.made.result.clone();
    let made = &found.joined.made.snapshot.link;
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

/// Removes the alternative name and the pin.
pub(super) async fn end(staging: &Path, if_name: &str) -> Result<()> {
    // In this order: an extra pin shows that there may be an extra name.
    let netlink = Netlink::in_netns(staging).await?;
    if let Some(link) = netlink.link(if_name).await?.filter(|link| link.name != if_name) {
        netlink.remove_altname(link.index, if_name).await?;
    }
    let staging = staging.to_owned();
    // The unmount waits for other processors: some milliseconds.
    on_blocking_thread(move || Ok(netns::unpin(&staging)?)).await
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
