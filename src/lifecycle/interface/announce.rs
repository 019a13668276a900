//! What an interface says of itself once, when it comes up: where its addresses are to be found.
//!
//! A new interface with an old address, as after a restart, is unreachable for neighbours that keep the old
//! hardware address: for a minute, unless the new one is announced. A plugin has the kernel tell them
//! (`arp_notify`, `ndisc_notify`) when its interface comes up, which is in staging, where nobody
//! listens. Docker tells them from version 28 on, but not of addresses that we answered. So we do.
//!
//! What else the kernel does when an interface comes up, it does again in the container: there the
//! interface comes up once more, joins its multicast groups, and asks for routers when its link-local
//! address is known to be unique, long after it was settled.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cnm::EndpointId;
use crate::lifecycle::background::Background;
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::host::kernels::is_link_local;
use crate::lifecycle::record::Joined;
use crate::netlink::{self, Link, Netlink};
use crate::netns;
use crate::sysctl::{self, Scope, Sysctls};

/// How often each address is announced: one frame may be lost.
const TIMES: u32 = 3;

/// The pause between two of them.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells the neighbours of an attachment's interface, which is in the container, of all its
/// addresses. Nothing waits for that.
pub(crate) fn soon(background: &Background, joined: Joined<'_>, link: &Link) {
    if !link.arp {
        // Without a hardware address, or without neighbours, there is nothing to tell.
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

/// Whether the container, or its interface, went while it was looked at.
fn is_gone(error: &Error) -> bool {
    match error {
        Error::Netns(error) => error.is_not_found(),
        Error::Netlink(error) => error.is_not_found(),
        Error::Sysctl(error) => error.is_not_found(),
        _ => false,
    }
}

/// Tells of all addresses that the interface has now; false if it is not there any more. The
/// namespace is not held longer than that: a device may have to go back when the container ends.
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
    // The kernel's own are made of the MAC, and have never been at another one.
    let addresses = addresses.iter().filter(|address| !is_link_local(&address.net));
    let addresses: Vec<IpAddr> = addresses.map(|address| address.net.addr()).collect();
    let forwarding = Sysctls::from([("ipv6/conf/forwarding".to_owned(), String::new())]);
    let forwarding = sysctl::read_again(sandbox, &Scope::Link(link.name), &forwarding).await?;
    let is_router = forwarding.values().any(|value| value != "0");
    netlink::announce(sandbox, index, mac, is_router, &addresses).await?;
    Ok(true)
}
