//! Announces an interface's addresses to its neighbours once, when it has come up.
//!
//! After a restart a container has a new interface with its old address. Neighbours that remember the old
//! hardware address cannot reach it for a minute, unless the new one is announced. A plugin lets the kernel
//! announce it (`arp_notify`, `ndisc_notify`) when the interface comes up; but that is in staging, where
//! nobody listens. Docker announces addresses from version 28 on, but not those in our answers. So the
//! driver does.
//!
//! The kernel repeats its other work in the container: the interface comes up there once more, joins its
//! multicast groups, and asks for routers when its link-local address is known to be unique, long after
//! settling.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cnm::EndpointId;
use crate::lifecycle::background::Background;
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::host::kernel_routes::is_link_local;
use crate::lifecycle::record::Joined;
use crate::netlink::{self, Link, Netlink};
use crate::netns;
use crate::sysctl::{self, Scope, Sysctls};

/// How often each address is announced, because a frame may be lost.
const TIMES: u32 = 3;

/// The pause between two announcements.
const PAUSE: Duration = Duration::from_secs(1);

/// Announces all addresses of an attachment's interface, which is in the container. Nothing waits for that.
pub(crate) fn soon(background: &Background, joined: Joined<'_>, link: &Link) {
    if !link.arp {
        // Without a hardware address, or without neighbours, there is nothing to announce.
        return;
    }
    let sandbox = joined.sandbox().to_owned();
    let telling = announce_repeatedly(sandbox, link.index, joined.endpoint.clone());
    let tasks = background.clone();
    background.spawn(async move { tasks.until_stopped(telling).await });
}

async fn announce_repeatedly(sandbox: PathBuf, link: u32, endpoint: EndpointId) {
    for time in 0..TIMES {
        if time > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match tell(&sandbox, link).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) if is_gone(&error) => return,
            Err(error) => {
                tracing::warn!(
                    endpoint = endpoint.short(),
                    error = chain(&error),
                    "the container's neighbours may not find it for a while"
                );
                return;
            }
        }
    }
}

/// Whether the container, or its interface, was removed meanwhile.
fn is_gone(error: &Error) -> bool {
    match error {
        Error::Netns(error) => error.is_not_found(),
        Error::Netlink(error) => error.is_not_found(),
        Error::Sysctl(error) => error.is_not_found(),
        _ => false,
    }
}

/// Announces all addresses that the interface has now; false if it does not exist any more. The namespace
/// is not held any longer, because a device may have to go back to the host when the container ends.
async fn tell(sandbox: &Path, index: u32) -> Result<bool> {
    if netns::identity(sandbox)?.is_none() {
        return Ok(false);
    }
    let netlink = Netlink::in_netns(sandbox).await?;
    let Some(link) = netlink.link_by_index(index).await?.filter(|link| link.up) else {
        return Ok(false);
    };
    let Some(mac) = link.mac else { return Ok(false) };
    let addresses = netlink.addresses(index).await?;
    // The kernel's own addresses are made from the MAC, so they never had another one.
    let addresses = addresses.iter().filter(|address| !is_link_local(&address.net));
    let addresses: Vec<IpAddr> = addresses.map(|address| address.net.addr()).collect();
    let forwarding = Sysctls::from([("ipv6/conf/forwarding".to_owned(), String::new())]);
    let forwarding = sysctl::read_again(sandbox, &Scope::Link(link.name), &forwarding).await?;
    let is_router = forwarding.values().any(|value| value != "0");
    netlink::announce(sandbox, index, mac, is_router, &addresses).await?;
    Ok(true)
}
