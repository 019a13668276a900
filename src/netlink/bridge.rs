//! Bridges, and what is needed to make one again: the kernel does not move a bridge to another namespace.
//!
//! What a bridge and its ports are set to is handed on as it comes; what only shows how things stand is left out.

use std::pin::pin;

use futures_util::TryStreamExt;
use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoPortData, InfoPortKind, LinkAttribute, LinkInfo,
};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder};

use super::link::{about, numbered, without_counters};
use super::{Attribute, Error, Link, Netlink, Turn};

/// `IFLA_BR_VLAN_FILTERING`.
const VLAN_FILTERING: u16 = 7;

/// `IFLA_BR_MULTI_BOOLOPT`.
const SWITCHES: u16 = 46;

/// What a bridge is set to (`IFLA_BR_*`), or a port of one (`IFLA_BRPORT_*`).
pub type BridgeSettings = Vec<Attribute>;

/// Whether a bridge with these settings keeps a list of VLANs for each port.
#[must_use]
pub fn filters_vlans(settings: &BridgeSettings) -> bool {
    settings.iter().any(|it| it.kind == VLAN_FILTERING && it.value != [0])
}

impl Netlink {
    /// What a bridge is set to; nothing for another kind of link.
    pub async fn bridge_settings(&self, index: u32) -> Result<BridgeSettings, Error> {
        let details = self.details(index).await?;
        let settings = details.into_iter().find_map(|detail| match detail {
            LinkInfo::Data(InfoData::Bridge(settings)) => Some(settings),
            _ => None,
        });
        let settings = settings.iter().flatten().filter(|it| can_be_set(it));
        Ok(settings.map(Attribute::of).filter_map(only_what_is_on).collect())
    }

    /// What a port of a bridge is set to; nothing for a link that is none.
    pub async fn port_settings(&self, index: u32) -> Result<BridgeSettings, Error> {
        let details = self.details(index).await?;
        let settings = details.into_iter().find_map(|detail| match detail {
            LinkInfo::PortData(InfoPortData::BridgePort(settings)) => Some(settings),
            _ => None,
        });
        Ok(settings
            .iter()
            .flatten()
            .filter(|it| can_be_set_of_port(it))
            .map(Attribute::of)
            .collect())
    }

    async fn details(&self, index: u32) -> Result<Vec<LinkInfo>, Error> {
        let work = move |mut turn: Turn| async move {
            let mut get = turn.handle.link().get().match_index(index);
            get.message_mut().attributes.push(without_counters());
            let mut found = pin!(get.execute());
            let found = turn.drive(found.try_next()).await??;
            let attributes = found.into_iter().flat_map(|message| message.attributes);
            let details = attributes.filter_map(|attribute| match attribute {
                LinkAttribute::LinkInfo(details) => Some(details),
                _ => None,
            });
            Ok(details.flatten().collect())
        };
        self.run("look at", numbered(index), work).await
    }

    /// Makes a bridge, down, with the name, the MAC, the queue and the group of `link`. It does not filter VLANs.
    ///
    /// Fails if the name is taken: [`Error::is_exists`].
    pub async fn add_bridge(&self, link: &Link, settings: &BridgeSettings) -> Result<(), Error> {
        // Off in a new one; a kernel that has no such filter refuses to be told.
        let settings = settings.iter().filter(|it| it.kind != VLAN_FILTERING);
        let settings = settings.map(|it| InfoBridge::Other(DefaultNla::from(it))).collect();
        let mut bridge = LinkMessageBuilder::<LinkBridge>::new(&link.name)
            .set_info_data(InfoData::Bridge(settings))
            .txqueuelen(link.tx_queue_len)
            .link_group(link.group);
        if let Some(mac) = link.mac {
            bridge = bridge.address(mac.0.to_vec());
        }
        let bridge = bridge.build();
        let request = |netlink: &Handle| netlink.link().add(bridge).execute();
        self.request("make the bridge", link.name.clone(), request).await
    }

    /// Makes a link a port of a bridge.
    pub async fn set_port(
        &self,
        index: u32,
        bridge: u32,
        settings: &BridgeSettings,
    ) -> Result<(), Error> {
        let object = format!("link {index} of link {bridge}");
        let belongs = about(index).controller(bridge).build();
        let settings = settings.iter().map(|it| InfoBridgePort::Other(DefaultNla::from(it)));
        let set = about(index)
            .set_port_kind(InfoPortKind::Bridge)
            .set_port_data(InfoPortData::BridgePort(settings.collect()))
            .build();
        let work = move |mut turn: Turn| async move {
            turn.execute(|netlink| netlink.link().change(belongs).execute()).await?;
            // The kernel knows what a port can be set to once it is one.
            turn.execute(|netlink| netlink.link().set_port(set).execute()).await
        };
        self.run("make the port", object, work).await
    }
}

/// Of all switches in one attribute (`br_boolopt_multi`: values, then which of them count) those that are on: a kernel
/// may refuse to be told of one that it does not have. None if all are off, as in a new bridge.
fn only_what_is_on(mut setting: Attribute) -> Option<Attribute> {
    const VALUES: usize = 4;
    if setting.kind != SWITCHES {
        return Some(setting);
    }
    setting.value.truncate(VALUES);
    let on = setting.value.iter().any(|byte| *byte != 0);
    setting.value.extend_from_within(..);
    on.then_some(setting)
}

fn can_be_set(setting: &InfoBridge) -> bool {
    !matches!(
        setting,
        InfoBridge::RootId(_)
            | InfoBridge::BridgeId(_)
            | InfoBridge::RootPort(_)
            | InfoBridge::RootPathCost(_)
            | InfoBridge::TopologyChange(_)
            | InfoBridge::TopologyChangeDetected(_)
            | InfoBridge::HelloTimer(_)
            | InfoBridge::TcnTimer(_)
            | InfoBridge::TopologyChangeTimer(_)
            | InfoBridge::GcTimer(_)
            | InfoBridge::MulticastQuerierState(_)
            | InfoBridge::FdbNLearned(_)
            | InfoBridge::FdbFlush
            | InfoBridge::Other(_)
    )
}

fn can_be_set_of_port(setting: &InfoBridgePort) -> bool {
    !matches!(
        setting,
        InfoBridgePort::State(_)
            | InfoBridgePort::RootId(_)
            | InfoBridgePort::BridgeId(_)
            | InfoBridgePort::DesignatedPort(_)
            | InfoBridgePort::DesignatedCost(_)
            | InfoBridgePort::PortId(_)
            | InfoBridgePort::PortNumber(_)
            | InfoBridgePort::TopologyChangeAck(_)
            | InfoBridgePort::ConfigPending(_)
            | InfoBridgePort::MessageAgeTimer(_)
            | InfoBridgePort::ForwardDelayTimer(_)
            | InfoBridgePort::HoldTimer(_)
            | InfoBridgePort::Flush
            | InfoBridgePort::BackupPort(_)
            | InfoBridgePort::MrpRingOpen(_)
            | InfoBridgePort::MrpInOpen(_)
            | InfoBridgePort::MulticastEhtHostsCnt(_)
            | InfoBridgePort::MulticastNGroups(_)
            | InfoBridgePort::Other(_)
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ip, with_veth};
    use super::*;

    #[tokio::test]
    async fn a_bridge_is_made_again_with_its_ports_as_it_was() {
        let (pinned, netlink, port) = with_veth().await;
        for command in [
            "link add inner type bridge stp_state 1 forward_delay 400 ageing_time 5000 \
             mcast_snooping 0 group_fwd_mask 8",
            "link set inner address 02:00:00:00:00:77 txqueuelen 7 group 5",
            "link set one master inner",
            "link set one type bridge_slave hairpin on isolated on cost 7 priority 3",
        ] {
            ip(&pinned.path, &command.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        let inner = netlink.link("inner").await.unwrap().unwrap();
        let bridge = netlink.bridge_settings(inner.index).await.unwrap();
        let ports = netlink.port_settings(port).await.unwrap();
        assert!(!filters_vlans(&bridge));
        assert_eq!(netlink.bridge_settings(port).await.unwrap(), []);
        assert_eq!(netlink.port_settings(inner.index).await.unwrap(), []);
        netlink.delete_link(inner.index).await.unwrap();

        netlink.add_bridge(&inner, &bridge).await.unwrap();
        assert!(netlink.add_bridge(&inner, &bridge).await.unwrap_err().is_exists());
        let again = netlink.link("inner").await.unwrap().unwrap();
        netlink.set_port(port, again.index, &ports).await.unwrap();
        let again = netlink.link("inner").await.unwrap().unwrap();
        assert_eq!(again, Link { index: again.index, ..inner });
        assert_eq!(netlink.bridge_settings(again.index).await.unwrap(), bridge);
        assert_eq!(netlink.port_settings(port).await.unwrap(), ports);
        let shown = ip(&pinned.path, "-d link show one");
        assert!(shown.contains("hairpin on") && shown.contains("isolated on"), "{shown}");
    }

    #[test]
    fn of_the_switches_only_those_that_are_on_are_told_and_the_filter_of_vlans_is_known() {
        let setting = |kind, value: &[u8]| Attribute { kind, value: value.to_vec() };
        let on = only_what_is_on(setting(SWITCHES, &[1, 0, 0, 0, 7, 0, 0, 0]));
        assert_eq!(on, Some(setting(SWITCHES, &[1, 0, 0, 0, 1, 0, 0, 0])));
        assert_eq!(only_what_is_on(setting(SWITCHES, &[0, 0, 0, 0, 7, 0, 0, 0])), None);
        assert!(filters_vlans(&vec![setting(VLAN_FILTERING, &[1])]));
        assert!(!filters_vlans(&vec![setting(VLAN_FILTERING, &[0])]));
    }
}
