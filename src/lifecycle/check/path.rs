//! What is useful to know about an endpoint whose packets do not arrive, in addition to CHECK and the
//! host's state: an MTU that is too small; packets that come back by another link; published ports that
//! lead nowhere; a lease, a conflist or a plugin that does not exist any more.
//!
//! None of this is a difference from what ADD left in the container, so `cnm-cni check` does not count it.
//! `cnm-cni doctor` does.

use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::path::Path;

use super::fault::Fault;
use super::host_state::HostState;
use super::rules::HostRules;
use super::shared::Shared;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::host_folders;
use crate::lifecycle::judgement::EMBEDDED_NAME;
use crate::lifecycle::record::Attachment;
use crate::translate;

/// All of that, for an endpoint in its container.
pub(super) async fn faults(
    driver: &Driver,
    attachment: &Attachment,
    shared: &Shared,
) -> Vec<Fault> {
    let host = shared.host(driver).await;
    let mut faults = links(attachment, host).await;
    match lease(attachment).await {
        Ok(found) => faults.extend(found),
        Err(error) => faults.push(Fault::without_remedy(chain(&error))),
    }
    faults.extend(ports(attachment, &host.rules));
    faults.extend(conflist(driver, attachment, shared).await);
    faults
}

/// Links with an MTU that is too small for the container's packets, and answers that the kernel drops by
/// reverse path filtering.
async fn links(attachment: &Attachment, host: &HostState) -> Vec<Fault> {
    let mut faults = Vec::new();
    // Links that cannot be read are reported elsewhere.
    let (Some(side), Some(snapshot), Ok(all)) =
        (attachment.host_side(), attachment.snapshot(), &host.links)
    else {
        return faults;
    };
    let mtu = snapshot.link.mtu;
    for told in &side.links {
        let name = &told.name;
        // A missing link is reported elsewhere.
        let Some(link) = all.link(name) else { continue };
        if link.mtu < mtu {
            let what = format!(
                "interface {name} of the host takes packets of {} bytes, and the container sends up to \
                 {mtu}: long ones are lost",
                link.mtu
            );
            faults.push(Fault::new(what, format!("ip link set {name} mtu {mtu}")).of_link(name));
        }
    }
    // The host does not route packets of others.
    let routed = side.gateways.iter().chain(&side.routes).map(|(name, _)| name).next();
    let Some(name) = routed else { return faults };
    let Some(link) = all.link(name) else { return faults };
    let routes = all.routes(link.index);
    let ips = attachment.result().into_iter().flat_map(|result| &result.ips);
    for net in ips.map(|ip| ip.address).filter(|net| net.addr().is_ipv4()) {
        let leads = routes.iter().any(|route| route.destination.contains(&net.addr()));
        if !leads && is_strict(name, host).await {
            faults.push(Fault::new(
                format!(
                    "the host has no route to {} over {name}, and drops what comes from there (rp_filter is \
                     1)",
                    net.addr()
                ),
                format!("ip route replace {} dev {name}", net.trunc()),
            ));
        }
    }
    faults
}

/// Whether the kernel drops packets from a link without a route back (`rp_filter`). The greater of two
/// settings counts; 2 asks for a route over any link.
async fn is_strict(link: &str, host: &HostState) -> bool {
    let (mut greatest, all) = (0, "all");
    for of in [all, link] {
        let value = host.setting(&format!("net/ipv4/conf/{of}/rp_filter")).await;
        greatest = greatest.max(value.and_then(|value| value.parse().ok()).unwrap_or(0));
    }
    greatest == 1
}

/// Leases of `host-local` that do not exist, or belong to another attachment: the address may be given out
/// again.
async fn lease(attachment: &Attachment) -> Result<Vec<Fault>> {
    let Some(folder) = translate::lease_folder(&attachment.list) else { return Ok(Vec::new()) };
    let addresses: Vec<_> = attachment.addresses().collect();
    let id = attachment.id.to_string();
    on_blocking_thread(move || {
        let mut faults = Vec::new();
        for address in addresses {
            let holder = holder(&folder, address)?;
            if holder.as_deref() == Some(&id) {
                continue;
            }
            let of_whom = match holder {
                None => "there is no lease of it".to_owned(),
                Some(nobody) if nobody.is_empty() => "its lease names no owner".to_owned(),
                Some(other) => format!("its lease is of CNI_CONTAINERID {other}"),
            };
            faults.push(Fault::by_restart(format!(
                "address {address} may be given to another container: {of_whom} in {}",
                folder.display()
            )));
        }
        Ok(faults)
    })
    .await
}

/// Who has the lease of an address; empty if it names nobody, none without a lease.
fn holder(folder: &Path, address: IpAddr) -> Result<Option<String>> {
    let path = folder.join(address.to_string());
    let text = host_folders::unless_gone(&path, std::fs::read_to_string(&path))?;
    Ok(text.map(|text| {
        translate::lease_owner(&text).map(|owner| owner.container_id.to_owned()).unwrap_or_default()
    }))
}

/// Whether the rules that publish ports can be judged: those of `portmap` are known, of either backend.
pub(super) fn knows_ports(attachment: &Attachment) -> bool {
    attachment.list.plugins().iter().any(|plugin| plugin.plugin_type() == "portmap")
}

/// Published ports that no rule translates to the container.
pub(super) fn ports(attachment: &Attachment, rules: &HostRules) -> Vec<Fault> {
    let has_ipv4 = attachment.addresses().any(|address| address.is_ipv4());
    if !(attachment.publishes() && knows_ports(attachment) && has_ipv4) || rules.publish(attachment)
    {
        return Vec::new();
    }
    let ports: Vec<_> = attachment.ports.iter().map(|port| port.host_port.to_string()).collect();
    vec![Fault::by_restart(format!(
        "no rule in the host's nat leads its published ports ({}) to the container",
        ports.join(", ")
    ))]
}

/// A conflist that has changed or gone since ADD, and plugins that cannot be run. Read once for all attachments
/// whose ADD ran the same.
async fn conflist(driver: &Driver, attachment: &Attachment, shared: &Shared) -> Vec<Fault> {
    let list = &attachment.list;
    let plugins = kinds(list).into_iter().map(str::to_owned).collect();
    let mut known = shared.conflists.lock().await;
    match known.entry((list.name().to_owned(), plugins)) {
        Entry::Occupied(known) => known.get().clone(),
        Entry::Vacant(unknown) => unknown.insert(of_conflist(driver, attachment).await).clone(),
    }
}

async fn of_conflist(driver: &Driver, attachment: &Attachment) -> Vec<Fault> {
    let name = attachment.list.name();
    let mut faults = Vec::new();
    // A network's own chain is on its record, and in no file.
    let network = driver.networks.get(&attachment.network);
    let is_own = network.is_ok_and(|network| network.own_chain.is_some());
    if !is_own {
        match driver.chains.read(Some(name)).await {
            Err(error) => faults.push(Fault::new(chain(&error), "cnm-cni validate")),
            Ok(list) if !kinds(&attachment.list).starts_with(&kinds(&list)) => {
                faults.push(Fault::by_restart(format!(
                    "conflist {name} has other plugins now than when the container was attached"
                )));
            }
            Ok(_) => {}
        }
    }
    if let Err(error) = driver.chains.find_plugins(&attachment.list) {
        let name = if is_own { EMBEDDED_NAME } else { name };
        faults.push(Fault::new(chain(&error), format!("cnm-cni validate {name}")));
    }
    faults
}

/// Compares the chain by its plugins' types. Other differences may come from Docker's or the user's
/// options, and so may additional plugins at the end of the chain.
fn kinds(list: &crate::cni::NetworkConfigList) -> Vec<&str> {
    list.plugins().iter().map(|plugin| plugin.plugin_type()).collect()
}
