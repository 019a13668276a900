//! What the host has for an endpoint: the links that its packets pass, the addresses and settings by which
//! they are forwarded, and rules. The desired state is what ADD left there, as it was seen then
//! ([`HostSide`]).
//!
//! Nothing on the host is repaired, because pods and the host's administrator share it. So each difference
//! comes with the command that corrects it.

use std::net::IpAddr;

use super::exemption;
use super::fault::Fault;
use super::host_state::{HostLinks, HostState};
use super::rules::HostRules;
use crate::lifecycle::record::{Attachment, HostLink, HostSide};
use crate::translate;

/// What is wrong on the host, with the remedy.
pub(super) async fn differences(attachment: &Attachment, host: &HostState) -> Vec<Fault> {
    let mut differences = exemption::faults(attachment, &host.rules);
    differences.extend(masquerade(attachment, &host.rules));
    if let Some(side) = side_of(attachment) {
        match &host.links {
            Ok(all) => differences.extend(links(all, side)),
            Err(why) => differences.push(Fault::without_remedy(why.as_str())),
        }
        for (name, wanted) in &*side.settings {
            let actual = host.setting(name).await;
            // This setting is for all links: it turns each of them off.
            let by_all = name.contains("/ipv4/conf/")
                && host.setting(IP_FORWARD).await.as_deref() == Some("0");
            // The missing link is reported already.
            let with_link = actual.is_none() && name.contains("/ipv4/conf/");
            if actual.as_ref() != Some(wanted) && !by_all && !with_link {
                differences.push(unset(name, actual.as_deref(), wanted));
            }
        }
    }
    differences
}

/// What ADD left on the host, as it was seen.
fn side_of(attachment: &Attachment) -> Option<&HostSide> {
    attachment.joined()?.joining.host_side.as_ref()
}

/// A setting whose value has changed.
fn unset(name: &str, actual: Option<&str>, wanted: &str) -> Fault {
    let set = format!("sysctl -w {}={wanted}", as_sysctl_takes_it(name));
    let remedy = match actual {
        None if name.starts_with("net/bridge/") => format!("modprobe br_netfilter && {set}"),
        _ => set,
    };
    let actual = actual.unwrap_or("not there");
    Fault::new(format!("sysctl {name} of the host is {actual}, not {wanted}"), remedy)
}

const IP_FORWARD: &str = "net/ipv4/ip_forward";

/// With dots, the usual form, unless a link's name has a dot.
fn as_sysctl_takes_it(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { name.replace('/', ".") }
}

/// The addresses that are to be masqueraded.
fn to_be_masqueraded(attachment: &Attachment) -> Vec<IpAddr> {
    let seen = side_of(attachment).and_then(|side| side.masqueraded.as_ref());
    match seen {
        Some(seen) => seen.iter().copied().collect(),
        // The rules have not been read yet.
        None if translate::masquerades(&attachment.list) => attachment.addresses().collect(),
        None => Vec::new(),
    }
}

/// The addresses that are to be masqueraded, and are not.
pub(super) fn not_masqueraded(attachment: &Attachment, rules: &HostRules) -> Vec<IpAddr> {
    let mut addresses = to_be_masqueraded(attachment);
    addresses.retain(|address| rules.masquerade.masquerades(attachment, *address) == Ok(false));
    addresses
}

/// Addresses that were masqueraded, and are not any more.
fn masquerade(attachment: &Attachment, rules: &HostRules) -> Vec<Fault> {
    let differences = to_be_masqueraded(attachment).into_iter().filter_map(|address| {
        match rules.masquerade.masquerades(attachment, address) {
            Ok(true) => None,
            Ok(false) => Some(Fault::by_restart(format!(
                "address {address} is not masqueraded any more: the rules for it in the host's nat are \
                 gone, and what the container sends beyond its subnet may get no answer"
            ))),
            Err(why) => Some(Fault::without_remedy(why)),
        }
    });
    differences.collect()
}

/// The links that the packets pass, the host's addresses on them, and the routes over them.
fn links(all: &HostLinks, side: &HostSide) -> Vec<Fault> {
    let mut differences = Vec::new();
    for HostLink { name, up, controller } in &side.links {
        let Some(link) = all.link(name) else {
            let gone = Fault::by_restart(format!("interface {name} of the host is gone"));
            differences.push(gone.of_link(name));
            continue;
        };
        if *up && !link.up {
            let down = format!("interface {name} of the host is down");
            differences.push(Fault::new(down, format!("ip link set {name} up")).of_link(name));
        }
        let actual = link.controller.and_then(|index| all.link_by_index(index));
        let actual = actual.map(|controller| &controller.name);
        if let Some(controller) = controller.as_ref().filter(|it| actual != Some(it)) {
            let what =
                format!("interface {name} of the host is not a port of {controller} any more");
            // There is nothing to put it back into where that is gone as well.
            let fault = match all.link(controller) {
                Some(_) => Fault::new(what, format!("ip link set {name} master {controller}")),
                None => Fault::by_restart(what),
            };
            differences.push(fault.of_link(name));
        }
        let of_link = side.gateways.iter().filter(|(of, _)| of == name);
        let actual = all.addresses(link.index);
        for (_, gateway) in of_link.filter(|(_, net)| actual.iter().all(|it| it.net != *net)) {
            let what = format!(
                "address {gateway} of the host's {name}, the container's gateway, is missing"
            );
            let remedy = format!("ip address add {gateway} dev {name}");
            differences.push(Fault::new(what, remedy).of_link(name));
        }
        let of_link = side.routes.iter().filter(|(of, _)| of == name);
        let actual = all.routes(link.index);
        for (_, route) in of_link.filter(|(_, net)| actual.iter().all(|it| it.destination != *net))
        {
            let what = format!("route to {route} over {name} of the host is missing");
            let remedy = format!("ip route add {route} dev {name}");
            differences.push(Fault::new(what, remedy).of_link(name));
        }
    }
    differences
}
