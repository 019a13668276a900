//! Links: network interfaces.

use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;

use futures_util::TryStreamExt;
use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, Prop,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};
use serde::{Deserialize, Serialize};

use super::session::Session;
use super::{Error, Failure, Mac, Netlink, Turn, or_absent};
use crate::crash;

/// The longest name of a link, in bytes; alternative names may be longer.
const LONGEST_NAME: usize = 15;

/// `IFLA_ALT_IFNAME` of linux/if_link.h: asks for a link by a name longer than that.
const ALTERNATIVE_NAME: u16 = 53;

/// A network interface: `ip -d link show`.
///
/// Its index and its state belong to the namespace that it is in; the rest moves with it,
/// but for [`Link::controller`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its number in this namespace. Another one after every move.
    pub index: u32,
    /// Its name in this namespace.
    pub name: String,
    /// Further names that it answers to.
    #[serde(default)]
    pub alternative_names: Vec<String>,
    /// Free text (`ip link set … alias`). host-device keeps the host's name in it.
    pub alias: Option<String>,
    /// What made it: `veth`, `macvlan`, `bridge`, `tun`; absent for physical devices and `lo`.
    pub kind: Option<String>,
    /// Hardware address; absent for what has none, as a tunnel.
    pub mac: Option<Mac>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Length of the transmit queue, in packets.
    pub tx_queue_len: u32,
    /// Interface group; 0 is the default one.
    pub group: u32,
    /// Administratively up.
    pub up: bool,
    /// Resolves neighbours; off after `ip link set … arp off`.
    pub arp: bool,
    /// Sends and accepts multicast.
    pub multicast: bool,
    /// Set to receive every packet.
    pub promiscuous: bool,
    /// Set to receive every multicast packet.
    pub all_multicast: bool,
    /// Index of the bridge, bond or VRF that it belongs to.
    pub controller: Option<u32>,
    /// Index of the link below or opposite: a macvlan's parent, a veth's peer. In the
    /// namespace of [`Link::parent_namespace`].
    pub parent: Option<u32>,
    /// This namespace's number for the namespace of [`Link::parent`], where that is another.
    pub parent_namespace: Option<i32>,
}

impl Netlink {
    /// All links.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let work = |mut turn: Turn| async move { list(&mut turn).await };
        self.run("list", "the links".into(), work).await
    }

    /// The link of this name, or alternative name.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        let by = if name.len() > LONGEST_NAME {
            let bytes = [name.as_bytes(), b"\0"].concat();
            LinkAttribute::Other(DefaultNla::new(ALTERNATIVE_NAME, bytes))
        } else {
            LinkAttribute::IfName(name.into())
        };
        self.one_link(format!("link {name}"), 0, Some(by)).await
    }

    /// The link of this index.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, Error> {
        self.one_link(numbered(index), index, None).await
    }

    async fn one_link(
        &self,
        object: String,
        index: u32,
        by: Option<LinkAttribute>,
    ) -> Result<Option<Link>, Error> {
        let work = move |mut turn: Turn| async move {
            let mut get = turn.handle.link().get().match_index(index);
            get.message_mut().attributes.extend(by.into_iter().chain([without_counters()]));
            let mut found = pin!(get.execute());
            Ok(turn.drive(found.try_next()).await??.map(read))
        };
        or_absent(self.run("look up", object, work).await)
    }

    /// Brings a link up. Succeeds if it is.
    pub async fn set_up(&self, index: u32) -> Result<(), Error> {
        self.change("bring up", numbered(index), about(index).up()).await
    }

    /// Takes a link down, and its IPv6 addresses and its routes with it. Succeeds if it is.
    pub async fn set_down(&self, index: u32) -> Result<(), Error> {
        self.change("take down", numbered(index), about(index).down()).await
    }

    /// Sets a link's hardware address. Some drivers want the link down first.
    pub async fn set_mac(&self, index: u32, mac: Mac) -> Result<(), Error> {
        let object = format!("{mac} of link {index}");
        self.change("set the MAC address", object, about(index).address(mac.0.to_vec())).await
    }

    /// Sets a link's MTU, in bytes.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Error> {
        let object = format!("{mtu} of link {index}");
        self.change("set the MTU", object, about(index).mtu(mtu)).await
    }

    /// Renames a link. Before Linux 6.2 it must be down.
    ///
    /// Fails if another link answers to the name: [`Error::is_exists`].
    pub async fn rename(&self, index: u32, name: &str) -> Result<(), Error> {
        let object = format!("{name} to link {index}");
        self.change("give the name", object, about(index).name(name)).await
    }

    async fn change(
        &self,
        operation: &'static str,
        object: String,
        link: LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        let request = |netlink: &Handle| netlink.link().change(link.build()).execute();
        self.request(operation, object, request).await
    }

    /// Gives a link one more name to be found by.
    ///
    /// Fails if a link, this one too, answers to the name: [`Error::is_exists`].
    pub async fn add_altname(&self, index: u32, name: &str) -> Result<(), Error> {
        let (object, name) = (format!("{name} to link {index}"), name.to_owned());
        let request = move |netlink: &Handle| {
            netlink.link().property_add(index).alt_ifname(&[&name]).execute()
        };
        self.request("give the alternative name", object, request).await
    }

    /// Takes an alternative name from a link. Succeeds if it does not have it.
    pub async fn remove_altname(&self, index: u32, name: &str) -> Result<(), Error> {
        let (object, name) = (format!("{name} from link {index}"), name.to_owned());
        let request = move |netlink: &Handle| {
            netlink.link().property_del(index).alt_ifname(&[&name]).execute()
        };
        or_absent(self.request("take the alternative name", object, request).await)
    }

    /// Deletes a link, and its peer if it has one. Succeeds if it is gone. The kernel refuses for
    /// physical devices and for `lo`.
    pub async fn delete_link(&self, index: u32) -> Result<(), Error> {
        let request = move |netlink: &Handle| netlink.link().del(index).execute();
        or_absent(self.request("delete", numbered(index), request).await)
    }

    /// Moves a link to another namespace, where it arrives down, under its name, with another
    /// index, and without addresses, routes, neighbours, and settings under `/proc/sys`.
    ///
    /// Fails if a link there answers to its name, or to one of its alternative names:
    /// [`Error::is_exists`].
    pub async fn move_to(&self, index: u32, namespace: impl AsFd) -> Result<(), Error> {
        let duplicate = namespace.as_fd().try_clone_to_owned();
        crash::point(format_args!("interface: move"));
        let work = move |mut turn: Turn| async move {
            // The number must stay ours until the kernel has read it, even if the caller goes.
            let namespace = duplicate?;
            let link = about(index).setns_by_fd(namespace.as_raw_fd()).build();
            turn.execute(|netlink| netlink.link().change(link).execute()).await?;
            crash::point(format_args!("interface: moved"));
            Ok(())
        };
        self.run("move", numbered(index), work).await
    }

    /// Makes a pair of virtual Ethernet links, both down.
    ///
    /// Fails if one of the names is taken: [`Error::is_exists`].
    pub async fn add_veth(&self, name: &str, peer: &str) -> Result<(), Error> {
        let pair = LinkVeth::new(name, peer).build();
        let request = |netlink: &Handle| netlink.link().add(pair).execute();
        self.request("make the veth pair", format!("{name} and {peer}"), request).await
    }
}

/// All links.
pub(super) async fn list(session: &mut Session) -> Result<Vec<Link>, Failure> {
    let mut message = LinkMessage::default();
    message.attributes.push(without_counters());
    let links = session.dump(RouteNetlinkMessage::GetLink(message), |one| match one {
        RouteNetlinkMessage::NewLink(message) => Some(read(message)),
        _ => None,
    });
    links.await
}

pub(super) fn numbered(index: u32) -> String {
    format!("link {index}")
}

pub(super) fn about(index: u32) -> LinkMessageBuilder<LinkUnspec> {
    LinkUnspec::new_with_index(index)
}

/// Counters are half of an answer, and not used here.
pub(super) fn without_counters() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn read(message: LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        arp: !flags.contains(LinkFlags::Noarp),
        multicast: flags.contains(LinkFlags::Multicast),
        promiscuous: flags.contains(LinkFlags::Promisc),
        all_multicast: flags.contains(LinkFlags::Allmulti),
        ..Link::default()
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(Mac),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::TxQueueLen(length) => link.tx_queue_len = length,
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::Link(index) => link.parent = Some(index),
            LinkAttribute::LinkNetNsId(id) => link.parent_namespace = Some(id),
            LinkAttribute::PropList(properties) => {
                for property in properties {
                    if let Prop::AltIfName(name) = property {
                        link.alternative_names.push(name);
                    }
                }
            }
            LinkAttribute::LinkInfo(details) => {
                for detail in details {
                    if let LinkInfo::Kind(kind) = detail {
                        link.kind = Some(kind.to_string());
                    }
                }
            }
            _ => {}
        }
    }
    link
}

#[cfg(test)]
mod tests;
