//! What ADD left in the staging namespace, without what every namespace has.

use std::sync::Arc;

use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host::kernel_routes::drop_kernel_entries;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::new_namespace::Fresh;
use crate::lifecycle::record::{Attachment, Further, Made, Port, Settings};
use crate::netlink::{BridgeSettings, Link, Netlink, Snapshot, filters_vlans};
use crate::sysctl;
use crate::sysctl::{Scope, Sysctls};

impl Interfaces {
    /// Reads by netlink what ADD left in the staging namespace, without what the kernel puts into every
    /// namespace: the interface, and further links.
    ///
    /// # Errors
    /// The chain left a further link there that cannot be carried over.
    pub(crate) async fn snapshot(
        &self,
        attachment: &Attachment,
        staging: &Netlink,
        index: u32,
        fresh: &Fresh,
    ) -> Result<(Snapshot, Vec<Further>)> {
        let mut snapshot = staging.snapshot(index).await?;
        let mut further = Vec::new();
        let links: Vec<&Link> =
            snapshot.further_links.iter().filter(|link| !fresh.has(&link.name)).collect();
        for &link in &links {
            let mut bridge = None;
            if link.kind.as_deref() == Some(BRIDGE) {
                bridge = Some(staging.bridge_settings(link.index).await?);
            }
            if let Some(reason) = stays(link, bridge.as_ref(), &snapshot.link, &links) {
                let (conflist, name) = (attachment.list.name().to_owned(), link.name.clone());
                return Err(Error::FurtherLink { conflist, name, reason });
            }
            let mut port = None;
            if let Some(bridge) = links.iter().find(|it| link.controller == Some(it.index)) {
                let settings = staging.port_settings(link.index).await?;
                port = Some(Port { bridge: bridge.name.clone(), settings });
            }
            let mut snapshot = staging.snapshot(link.index).await?;
            drop_kernel_entries(&mut snapshot);
            // They are the namespace's, and kept with the interface.
            snapshot.rules.clear();
            let scope = Scope::Link(link.name.clone());
            let settings = sysctl::read(&attachment.staging, &scope).await?;
            let settings = changed(settings, &fresh.settings.link);
            further.push(Further { snapshot, settings, bridge, port });
        }
        drop_kernel_entries(&mut snapshot);
        Ok((snapshot, further))
    }

    /// Reads the settings that the chain has changed: at the first Join, while the interface is still in
    /// staging. They are some hundred files. CreateEndpoint does not need them, and must be quick: dockerd
    /// calls it for one endpoint of a network after another.
    ///
    /// # Errors
    /// The interface is gone; the settings cannot be read; or the interface does not have a setting that
    /// the user has decided.
    pub(crate) async fn read_settings(
        &self,
        attachment: &Attachment,
        made: &Made,
    ) -> Result<Arc<Settings>> {
        let path = &attachment.staging;
        let of_link = Scope::Link(attachment.parameters.if_name.clone());
        let read =
            tokio::try_join!(sysctl::read(path, &of_link), sysctl::read(path, &Scope::Namespace),);
        let (link, namespace) = read.map_err(|error| match error.is_not_found() {
            true => attachment.gone(),
            false => error.into(),
        })?;
        let Fresh { settings: fresh, .. } = self.fresh().await?;
        if let Some(setting) = made.users.link.keys().find(|it| !link.contains_key(*it)) {
            let setting = sysctl::name(&Scope::Link("IFNAME".to_owned()), setting);
            return Err(Error::NoSetting { setting });
        }
        let (link, namespace) = (changed(link, &fresh.link), changed(namespace, &fresh.namespace));
        Ok(Settings { link, namespace }.shared())
    }
}

const BRIDGE: &str = "bridge";

/// Why a further link cannot be carried over to a container; none if it can. `bridge` is what it is set to,
/// if it is one; `own` is the container's interface, and `links` are all further links.
fn stays(
    link: &Link,
    bridge: Option<&BridgeSettings>,
    own: &Link,
    links: &[&Link],
) -> Option<String> {
    const DOCKERS: &str = "eth";
    /// The kernel does not move these to another namespace, and each would have to be made again in its own way.
    const BOUND: [&str; 6] = ["vrf", "bond", "team", "openvswitch", "hsr", "batadv"];
    let kind = link.kind.as_deref().unwrap_or("device");
    let is_bridge = |link: &Link| link.kind.as_deref() == Some(BRIDGE);
    let numbered = link.name.strip_prefix(DOCKERS);
    let find = |index: Option<u32>| links.iter().find(|it| Some(it.index) == index);
    let below = find(link.parent).filter(|_| link.parent_namespace.is_none());
    match () {
        () if BOUND.contains(&kind) => {
            Some(format!("the kernel does not move a {kind} to another network namespace"))
        }
        () if own.controller == Some(link.index) => Some(format!(
            "the container's own interface is a port of this {kind}: Docker sets addresses and the default route \
             on the interface itself, where the kernel does not use those of a port"
        )),
        () if bridge.is_some_and(filters_vlans) => Some(
            "this bridge filters VLANs, and would lose the list of them when it is made again in the container"
                .to_owned(),
        ),
        () if link.controller.is_some() && !find(link.controller).is_some_and(|it| is_bridge(it)) => {
            Some(format!("the {kind} belongs to another link, which it would lose on the way"))
        }
        () if below.is_some_and(|it| is_bridge(it)) => Some(format!(
            "the {kind} is made upon a bridge, which the kernel does not move to another network namespace"
        )),
        () if numbered.is_some_and(|it| it.parse::<u32>().is_ok()) => Some(
            "its name is one of those that Docker gives to interfaces, eth0, eth1 and so on"
                .to_owned(),
        ),
        () => None,
    }
}

/// The settings that differ from a fresh namespace.
fn changed(mut settings: Sysctls, fresh: &Sysctls) -> Sysctls {
    settings.retain(|setting, value| fresh.get(setting) != Some(value));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Attribute;

    /// Kinds that a kernel need not have for this; those that each has are in `tests/it/lifecycle/further.rs`.
    #[test]
    fn what_cannot_be_carried_over_is_told_with_the_reason() {
        let link = |index, kind: &str| Link {
            index,
            name: format!("link{index}"),
            kind: Some(kind.to_owned()),
            ..Link::default()
        };
        let own = link(2, "veth");
        let (bridge, vrf) = (link(3, "bridge"), link(4, "vrf"));
        let none = BridgeSettings::new();
        // IFLA_BR_VLAN_FILTERING
        let filtering = vec![Attribute { kind: 7, value: vec![1] }];
        let vlan = |parent, namespace| Link {
            parent: Some(parent),
            parent_namespace: namespace,
            ..link(5, "vlan")
        };
        let port = |of: &Link| Link { controller: Some(of.index), ..link(6, "dummy") };
        for (link, settings, own, reason) in [
            (bridge.clone(), Some(&none), own.clone(), None),
            (port(&bridge), None, own.clone(), None),
            (vlan(own.index, None), None, own.clone(), None),
            // A link of another namespace has the index of the bridge.
            (vlan(bridge.index, Some(0)), None, own.clone(), None),
            (link(5, "dummy"), None, own.clone(), None),
            (vrf.clone(), None, own.clone(), Some("does not move a vrf")),
            (link(5, "bond"), None, own.clone(), Some("does not move a bond")),
            (port(&vrf), None, own.clone(), Some("belongs to another link")),
            (vlan(bridge.index, None), None, own.clone(), Some("the vlan is made upon a bridge")),
            (bridge.clone(), Some(&filtering), own.clone(), Some("filters VLANs")),
            (
                bridge.clone(),
                Some(&none),
                Link { controller: Some(bridge.index), ..own },
                Some("own interface is a port of this bridge"),
            ),
        ] {
            let told = stays(&link, settings, &own, &[&bridge, &vrf, &link]);
            let as_wanted = match (&told, reason) {
                (Some(told), Some(reason)) => told.contains(reason),
                (told, reason) => told.is_none() && reason.is_none(),
            };
            assert!(as_wanted, "{link:?}: {told:?}");
        }
    }
}
