//! What an attachment's ADD left on the host's side: seen once the container has joined, and kept,
//! so that a check can tell what is not so any more.
//!
//! Nothing waits for it. The rules are read once for all that have joined meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::masquerade::Masquerade;
use crate::cnm::EndpointId;
use crate::lifecycle::error::chain;
use crate::lifecycle::interface::kernels::is_kernels_route;
use crate::lifecycle::record::{Attachment, HostLink, HostSide, Phase};
use crate::lifecycle::{Inner, Result};
use crate::netlink::{Link, MAIN_TABLE, Netlink};

/// How many bridges one above the other are followed.
const MOST_LINKS: usize = 8;

/// Those that have joined, and whose side of the host was not looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    endpoints: Mutex<HashSet<EndpointId>>,
}

/// Has the host's side of an endpoint looked at in the background.
pub(crate) fn look_soon(inner: &Arc<Inner>, endpoint: &EndpointId) {
    let first = {
        // The set is whole even if a holder panicked: every change is one step.
        let unseen = inner.unseen.endpoints.lock();
        let mut unseen = unseen.unwrap_or_else(PoisonError::into_inner);
        let first = unseen.is_empty();
        unseen.insert(endpoint.clone()) && first
    };
    if first {
        let inner = Arc::clone(inner);
        inner.background.clone().spawn(async move {
            look(&inner).await;
        });
    }
}

/// Looks at the side of all that have joined until now.
async fn look(inner: &Arc<Inner>) {
    let pass = inner.gate.enter().await;
    let endpoints = {
        let unseen = inner.unseen.endpoints.lock();
        std::mem::take(&mut *unseen.unwrap_or_else(PoisonError::into_inner))
    };
    let rules = Masquerade::read().await;
    // Docker's calls, which this waits for, may wait for somebody who needs a place.
    drop(pass);
    for endpoint in endpoints {
        let slot = inner.endpoints.lock_after_calls(&endpoint).await;
        let Some(seen) = slot.and_then(|slot| slot.clone()) else { continue };
        match see(&inner.own, &seen, &rules).await {
            Ok(side) => keep(inner, &seen, side).await,
            Err(error) => tracing::warn!(attachment = %seen.id, error = chain(&error),
                "what it has on the host is not known, and will not be checked"),
        }
    }
}

async fn keep(inner: &Arc<Inner>, seen: &Attachment, side: HostSide) {
    let mut slot = inner.endpoints.lock_after_calls(&seen.endpoint).await;
    let same =
        slot.as_mut().and_then(|slot| slot.as_mut()).filter(|attachment| attachment.id == seen.id);
    if let Some(attachment) = same
        && matches!(attachment.phase, Phase::Joined | Phase::Settled)
    {
        attachment.host_side = Some(side);
        inner.keep_soon(attachment).await;
    }
}

/// What there is of an attachment on the host.
async fn see(own: &Netlink, attachment: &Attachment, rules: &Masquerade) -> Result<HostSide> {
    let mut side = HostSide::default();
    for link in links_of(own, attachment).await? {
        let controller = match link.controller {
            Some(index) => own.link_by_index(index).await?.map(|controller| controller.name),
            None => None,
        };
        let gateways = attachment.result.iter().flat_map(|result| &result.ips);
        let gateways: Vec<IpAddr> = gateways.filter_map(|ip| ip.gateway).collect();
        for address in own.addresses(link.index).await? {
            if gateways.contains(&address.net.addr()) {
                side.gateways.push((link.name.clone(), address.net));
            }
        }
        for route in own.routes(link.index).await? {
            let leads = attachment.addresses().any(|address| route.destination.contains(&address));
            if leads
                && !route.is_default()
                && route.table == MAIN_TABLE
                && !is_kernels_route(&route)
            {
                side.routes.push((link.name.clone(), route.destination));
            }
        }
        side.links.push(HostLink { name: link.name, up: link.up, controller });
    }
    side.settings = forwarding(&side).await;
    side.masqueraded = attachment
        .addresses()
        .filter(|address| rules.hides(attachment, *address) == Ok(true))
        .collect();
    Ok(side)
}

/// The links of the host that the packets pass: those that ADD told of, the one that the kernel says
/// is opposite or below, and what these are ports of.
async fn links_of(own: &Netlink, attachment: &Attachment) -> Result<Vec<Link>> {
    let mut links: Vec<Link> = Vec::new();
    if let Some(interface) = &attachment.interface
        && let Link { parent: Some(index), parent_namespace: Some(_), .. } = interface.snapshot.link
    {
        links.extend(own.link_by_index(index).await?);
    }
    let told = attachment.result.iter().flat_map(|result| &result.interfaces);
    for told in told.filter(|told| told.sandbox.as_deref().unwrap_or_default().is_empty()) {
        links.extend(own.link(&told.name).await?);
    }
    let mut next = 0;
    while let Some(link) = links.get(next).filter(|_| next < MOST_LINKS) {
        if let Some(index) = link.controller {
            links.extend(own.link_by_index(index).await?);
        }
        next += 1;
    }
    let mut seen = HashSet::new();
    links.retain(|link| seen.insert(link.index));
    Ok(links)
}

/// The settings that have the host forward what comes from the attachment's links.
async fn forwarding(side: &HostSide) -> BTreeMap<String, String> {
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
    let value = tokio::fs::read_to_string(Path::new("/proc/sys").join(name)).await.ok()?;
    Some(value.trim_end().to_owned())
}
