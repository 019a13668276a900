//! What the ADD of an attachment left on the host. Join reads and records it, so that a check can report what
//! has changed.
//!
//! Join reads links, addresses and settings from the kernel. Rules can only be read by programs, which are slow:
//! a background task reads the rules, once for all endpoints that have joined meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use crate::cni::{AttachResult, Interface};
use crate::lifecycle::error::Result;
use crate::lifecycle::host::kernel_routes::is_kernel_route;
use crate::lifecycle::record::{Attachment, HostLink, HostSide, Made, shared_settings};
use crate::netlink::{Link, MAIN_TABLE, Netlink};
use crate::sysctl;

/// How many links the packets of an attachment pass at the most; more are not followed.
const MOST_LINKS: usize = 8;

/// What an attachment has on the host, except for rules.
///
/// # Errors
/// A request to the kernel fails.
pub(crate) async fn observe(own: &Netlink, made: &Made) -> Result<HostSide> {
    let mut side = HostSide::default();
    let links = links_of(own, made).await?;
    for link in &links {
        let controller = link.controller.and_then(|index| named(&links, index));
        let gateways: Vec<IpAddr> = made.result.ips.iter().filter_map(|ip| ip.gateway).collect();
        for address in own.addresses(link.index).await? {
            if gateways.contains(&address.net.addr()) {
                side.gateways.push((link.name.clone(), address.net));
            }
        }
        for route in own.routes(link.index).await? {
            let leads = made.addresses().any(|address| route.destination.contains(&address));
            let is_made = route.table == MAIN_TABLE && !is_kernel_route(&route);
            if leads && is_made && !route.is_default() {
                side.routes.push((link.name.clone(), route.destination));
            }
        }
        side.links.push(HostLink { name: link.name.clone(), up: link.up, controller });
    }
    side.settings = shared_settings(forwarding(&side, made).await);
    Ok(side)
}

/// Deletes the host's end of a veth whose other end DEL did not find: a namespace that nobody knows may keep it. A dockerd
/// that is killed during a start leaves such a one, with a `runc init` in it. DEL has ended before, and deletes both ends
/// of what it finds.
///
/// # Errors
/// A request to the kernel fails.
pub(crate) async fn end_veth(own: &Netlink, attachment: &Attachment) -> Result<()> {
    let (Some(result), Some(snapshot)) = (attachment.result(), attachment.snapshot()) else {
        return Ok(());
    };
    // It keeps its index, and nothing else gets it: the kernel counts on.
    let Link { parent: Some(index), parent_namespace: Some(_), .. } = snapshot.link else {
        return Ok(());
    };
    let Some(link) = own.link_by_index(index).await? else { return Ok(()) };
    let is_told = of_host(result).any(|told| told.name == link.name);
    if is_told && link.kind.as_deref() == Some("veth") {
        tracing::info!(link = link.name, "DEL did not find its other end: it is deleted by itself");
        own.delete_link(index).await?;
    }
    Ok(())
}

/// The links of the host that the packets pass: the links in ADD's result, the peer or the lower link of
/// the interface, and the bridges that these are ports of. Each is asked for once: Docker waits, and each
/// request waits for the kernel's lock on links.
async fn links_of(own: &Netlink, made: &Made) -> Result<Vec<Link>> {
    let mut links: Vec<Link> = Vec::new();
    if let Link { parent: Some(index), parent_namespace: Some(_), .. } = made.snapshot.link {
        links.extend(own.link_by_index(index).await?);
    }
    for told in of_host(&made.result) {
        if links.iter().all(|link| link.name != told.name) {
            links.extend(own.link(&told.name).await?);
        }
    }
    let mut next = 0;
    while let Some(link) = links.get(next).filter(|_| next < MOST_LINKS) {
        if let Some(index) = link.controller.filter(|index| named(&links, *index).is_none()) {
            links.extend(own.link_by_index(index).await?);
        }
        next += 1;
    }
    let mut seen = HashSet::new();
    links.retain(|link| seen.insert(link.index));
    Ok(links)
}

/// The links of the host in ADD's result.
fn of_host(result: &AttachResult) -> impl Iterator<Item = &Interface> {
    let interfaces = result.interfaces.iter();
    interfaces.filter(|told| told.sandbox.as_deref().unwrap_or_default().is_empty())
}

/// The name of the link with that index, if it is one of them.
fn named(links: &[Link], index: u32) -> Option<String> {
    links.iter().find(|link| link.index == index).map(|link| link.name.clone())
}

/// The settings by which the host forwards packets from the attachment's links.
async fn forwarding(side: &HostSide, made: &Made) -> BTreeMap<String, String> {
    let mut names = Vec::new();
    for (link, net) in side.gateways.iter().chain(&side.routes) {
        match net.addr().is_ipv4() {
            true => {
                names.push("net/ipv4/ip_forward".to_owned());
                names.push(format!("net/ipv4/conf/{link}/forwarding"));
            }
            false => names.push("net/ipv6/conf/all/forwarding".to_owned()),
        }
    }
    if side.links.iter().any(|link| link.controller.is_some()) {
        // With br_netfilter the rules of iptables see what passes from port to port, too: answers to
        // a translated connection need it, and so do policies.
        names.extend(made.addresses().map(|address| match address.is_ipv4() {
            true => "net/bridge/bridge-nf-call-iptables".to_owned(),
            false => "net/bridge/bridge-nf-call-ip6tables".to_owned(),
        }));
    }
    let mut settings = BTreeMap::new();
    for name in names {
        if let Some(value) = setting(&name).await.filter(|value| value != "0") {
            settings.insert(name, value);
        }
    }
    settings
}

/// What the host has for a setting; none if it has no such setting.
pub(crate) async fn setting(name: &str) -> Option<String> {
    let value = tokio::fs::read_to_string(sysctl::of_host(name)).await.ok()?;
    Some(value.trim_end().to_owned())
}
