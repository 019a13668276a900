//! The chain's own CHECK.
//!
//! It gets the same parameters as ADD, although Docker has moved the interface and renamed it: the interface
//! is lent to it ([`lend`]). A plugin whose addresses are leased by `dhcp` is left out, because its CHECK
//! would ask the server for a further lease, and wait for it.

use super::container::Found;
use super::known_bugs;
use super::report::ChainCheck;
use super::rules::HostRules;
use crate::cni::{self, AttachResult, NetworkConfigList};
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::chain;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::interface::lend;
use crate::lifecycle::record::Attachment;

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
    let leased = list.plugins().iter().find(|plugin| plugin.dhcp_socket().is_some());
    if let Some(plugin) = leased.map(|plugin| plugin.plugin_type().to_owned()) {
        notes.push(format!(
            "the CHECK of {plugin} is left out, because it has dhcp ask for a further lease; what it looks at is \
             compared without it"
        ));
        list = list.without(&plugin);
    }
    loop {
        let chain = match run(driver, attachment, found, &list, wanted.as_mut()).await? {
            Ok(()) => ChainCheck::Ok,
            Err(Error::Cni(error @ cni::Error::NoCheck(_))) => not_asked(error.to_string()),
            Err(error) => match known_bugs::mistake(&error, attachment, rules) {
                Some(known_bugs::Mistake { plugin, note }) => {
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
    let checked = async {
        let result = as_it_was_made(attachment, found);
        driver.chains.check(list, &attachment.parameters, &result).await
    };
    lend::lent(attachment, &found.live(), checked, wanted).await
}

/// The result of ADD, changed to what the container has: the MAC and the MTU are the interface's own, an
/// internal network has no default route, and there is no IPv6 if the user turned it off. A route without a
/// gateway gets the one that it has by the specification's rules, because plugins 1.1.1 look for a route
/// without any.
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
    if found.users.turn_ipv6_off() {
        result.ips.retain(|ip| ip.address.addr().is_ipv4());
        result.routes.retain(|route| route.dst.addr().is_ipv4());
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
