//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rtnetlink::Handle;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use serde::{Deserialize, Serialize};

use super::session::Session;
use super::{Error, Failure, Netlink, Turn, family_of, or_absent};

/// The flags that are chosen when an address is added. The others are its state (tentative,
/// secondary, permanent), or how it was added (without duplicate address detection).
const CHOSEN: AddressFlags = AddressFlags::Optimistic
    .union(AddressFlags::Homeaddress)
    .union(AddressFlags::Managetempaddr)
    .union(AddressFlags::Noprefixroute)
    .union(AddressFlags::Mcautojoin);

/// An address of a link, with all that is needed to restore it: `ip addr show`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address and the length of its prefix; host bits are kept.
    pub net: IpNet,
    /// The other end of a point-to-point link, where the prefix belongs to that.
    pub peer: Option<IpAddr>,
    /// Broadcast address. The kernel sets none by itself.
    pub broadcast: Option<Ipv4Addr>,
    /// Where it is valid: 0 everywhere, 253 on the link, 254 on this host (`RT_SCOPE_*`). The
    /// kernel decides on an IPv6 address's scope.
    #[serde(default)]
    pub scope: u8,
    /// `IFA_F_*`, those that can be chosen: 0x200 is `noprefixroute`. Not 0x02, `nodad`: every
    /// IPv6 address is added with it.
    #[serde(default)]
    pub flags: u32,
    /// An IPv4 label beyond the link's own name, such as `eth0:1`.
    pub label: Option<String>,
    /// Metric of the route to its prefix.
    pub metric: Option<u32>,
    /// Who added it (`IFAPROT_*`): 0 unknown, 1 the kernel for loopback, 2 a router's
    /// advertisement, 3 the kernel as link-local address.
    #[serde(default)]
    pub protocol: u8,
    /// When it expires; absent for ever.
    pub lifetime: Option<Lifetime>,
}

/// How long an address stays, in seconds from when it was read; [`u32::MAX`] for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Until it is removed.
    pub valid: u32,
    /// Until new connections avoid it.
    pub preferred: u32,
}

impl Lifetime {
    const FOR_EVER: Self = Self { valid: u32::MAX, preferred: u32::MAX };
}

impl From<IpNet> for Address {
    /// A plain address: valid everywhere and for ever, as plugins set it.
    fn from(net: IpNet) -> Self {
        Self { net, ..Self::default() }
    }
}

impl Netlink {
    /// The addresses of a link, IPv4 first, in an order that gives the same list again when
    /// they are added: it decides which is primary, and which is preferred as a source.
    ///
    /// Fails if the link is not there: [`Error::is_not_found`].
    pub async fn addresses(&self, index: u32) -> Result<Vec<Address>, Error> {
        let object = format!("the addresses of link {index}");
        self.run("list", object, move |mut turn: Turn| async move { list(&mut turn, index).await })
            .await
    }

    /// The addresses of all links, each with the index of its link.
    pub async fn all_addresses(&self) -> Result<Vec<(u32, Address)>, Error> {
        let work = |mut turn: Turn| async move {
            let all = RouteNetlinkMessage::GetAddress(AddressMessage::default());
            turn.dump(all, |message| Some((link_of(&message)?, read(message)?))).await
        };
        self.run("list", "the addresses".into(), work).await
    }

    /// Adds an address to a link, or updates the one that is there. For an IPv6 address nobody
    /// else is asked whether they have it, since its owner gave it out: it is never tentative.
    /// The kernel makes the local route, by which it is reached, a moment later.
    ///
    /// Fails if the link is not there: [`Error::is_not_found`].
    pub async fn add_address(&self, index: u32, address: &Address) -> Result<(), Error> {
        let (net, message) = (address.net, write(index, address));
        let request = move |netlink: &Handle| {
            let add = netlink.address().add(index, net.addr(), net.prefix_len());
            let mut add = add.replace();
            *add.message_mut() = message;
            add.execute()
        };
        self.request("add the address", format!("{net} to link {index}"), request).await
    }

    /// Removes an address from a link. Succeeds if it is gone.
    pub async fn remove_address(&self, index: u32, address: &Address) -> Result<(), Error> {
        let message = write(index, address);
        let request = |netlink: &Handle| netlink.address().del(message).execute();
        let object = format!("{} from link {index}", address.net);
        or_absent(self.request("remove the address", object, request).await)
    }
}

/// The addresses of a link, in the order of [`Netlink::addresses`].
pub(super) async fn list(session: &mut Session, index: u32) -> Result<Vec<Address>, Failure> {
    let mut message = AddressMessage::default();
    message.header.index = index;
    let all = session.dump(RouteNetlinkMessage::GetAddress(message), read).await?;
    let (v6, mut addresses): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|address| address.net.addr().is_ipv6());
    // The kernel keeps the latest one in front.
    addresses.extend(v6.into_iter().rev());
    Ok(addresses)
}

fn write(index: u32, address: &Address) -> AddressMessage {
    let local = address.net.addr();
    let mut flags = AddressFlags::from_bits_retain(address.flags) & CHOSEN;
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.net.prefix_len();
    message.header.scope = address.scope.into();
    message.header.family = family_of(local);
    message.attributes = vec![
        AddressAttribute::Local(local),
        AddressAttribute::Address(address.peer.unwrap_or(local)),
    ];
    if local.is_ipv6() {
        flags |= AddressFlags::Nodad;
    }
    if !flags.is_empty() {
        message.attributes.push(AddressAttribute::Flags(flags));
    }
    if let Some(broadcast) = address.broadcast {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    if let Some(label) = &address.label {
        message.attributes.push(AddressAttribute::Label(label.clone()));
    }
    if let Some(metric) = address.metric {
        message.attributes.push(AddressAttribute::RoutePriority(metric));
    }
    if address.protocol != 0 {
        let protocol = AddressProtocol::from(address.protocol);
        message.attributes.push(AddressAttribute::Protocol(protocol));
    }
    if let Some(lifetime) = address.lifetime {
        let mut info = CacheInfo::default();
        info.ifa_valid = lifetime.valid;
        info.ifa_preferred = lifetime.preferred;
        message.attributes.push(AddressAttribute::CacheInfo(info));
    }
    message
}

/// The index of the link that has the address.
fn link_of(message: &RouteNetlinkMessage) -> Option<u32> {
    match message {
        RouteNetlinkMessage::NewAddress(message) => Some(message.header.index),
        _ => None,
    }
}

fn read(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut local, mut far) = (None, None);
    let flags = AddressFlags::from_bits_retain(message.header.flags.bits().into()) & CHOSEN;
    let scope = message.header.scope.into();
    let mut address = Address { scope, flags: flags.bits(), ..Address::default() };
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Address(ip) => far = Some(ip),
            AddressAttribute::Broadcast(ip) => address.broadcast = Some(ip),
            AddressAttribute::Flags(flags) => address.flags = (flags & CHOSEN).bits(),
            // By default the label is the link's name, which changes with the link.
            AddressAttribute::Label(label) if label.contains(':') => address.label = Some(label),
            AddressAttribute::RoutePriority(metric) => address.metric = Some(metric),
            AddressAttribute::Protocol(protocol) => address.protocol = protocol.into(),
            AddressAttribute::CacheInfo(info) => {
                let lifetime = Lifetime { valid: info.ifa_valid, preferred: info.ifa_preferred };
                address.lifetime = (lifetime != Lifetime::FOR_EVER).then_some(lifetime);
            }
            _ => {}
        }
    }
    // Without a peer, IPv6 has only the one and IPv4 has both the same.
    let ip = local.or(far)?;
    address.net = IpNet::new(ip, message.header.prefix_len).ok()?;
    address.peer = far.filter(|far| *far != ip);
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ip, reachable, with_veth};
    use super::*;
    use crate::netns::tests::eventually;

    #[tokio::test]
    async fn addresses_are_restored_as_they_were() {
        let (pinned, netlink, index) = with_veth().await;
        for address in [
            "10.0.0.2/24 brd + dev one",
            "10.0.0.3/24 dev one",
            "10.0.5.3/24 dev one scope link noprefixroute",
            "10.0.1.1/32 dev one scope host label one:x metric 50",
            "10.0.2.1 peer 10.0.3.1/32 dev one",
            "10.0.4.1/24 dev one valid_lft 5000 preferred_lft 4000",
            "fd00:1::2/64 dev one nodad",
            "fd00:2::2/128 dev one nodad noprefixroute",
            "fd00:3::1 peer fd00:3::2/128 dev one nodad metric 70",
            "fe80::99/64 dev one nodad",
        ] {
            ip(&pinned.path, &format!("addr add {address}"));
        }
        let shown = || {
            let text = ip(&pinned.path, "-o addr show dev one");
            // Seconds pass, and the kernel begins where it last ended.
            let mut lines: Vec<_> = text
                .lines()
                .map(|line| line.split(" valid_lft").next().unwrap().to_owned())
                .collect();
            lines.sort();
            lines
        };
        let before = shown();
        let addresses = netlink.addresses(index).await.unwrap();
        assert_eq!(addresses.len(), before.len());
        let stored = serde_json::to_string(&addresses).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Address>>(&stored).unwrap(), addresses);

        for address in &addresses {
            netlink.remove_address(index, address).await.unwrap();
            netlink.remove_address(index, address).await.unwrap();
        }
        assert_eq!(netlink.addresses(index).await.unwrap(), []);
        for address in &addresses {
            netlink.add_address(index, address).await.unwrap();
            netlink.add_address(index, address).await.unwrap();
        }
        assert_eq!(shown(), before);
        assert_eq!(netlink.addresses(index).await.unwrap(), addresses);
    }

    #[tokio::test]
    async fn an_ipv6_address_is_never_tentative() {
        let (pinned, netlink, index) = with_veth().await;
        let net: IpNet = "fd00:9::1/64".parse().unwrap();
        netlink.add_address(index, &net.into()).await.unwrap();
        let said = ip(&pinned.path, "-o addr show dev one to fd00:9::1");
        assert!(said.contains("nodad") && !said.contains("tentative"), "{said}");
        reachable(&netlink, index).await;
    }

    #[tokio::test]
    async fn only_the_addresses_of_the_link_are_read() {
        let (pinned, netlink, index) = with_veth().await;
        ip(&pinned.path, "addr add 10.0.0.1/24 dev one");
        ip(&pinned.path, "addr add 10.0.0.2/24 dev two");
        let addresses = netlink.addresses(index).await.unwrap();
        assert_eq!(addresses, [Address::from("10.0.0.1/24".parse::<IpNet>().unwrap())]);
    }

    #[tokio::test]
    async fn an_address_that_the_kernel_made_is_known_by_its_protocol() {
        let (pinned, netlink, index) = with_veth().await;
        ip(&pinned.path, "link set one addrgenmode eui64 down");
        netlink.set_up(index).await.unwrap();
        eventually("the link has a link-local address", async || {
            let addresses = netlink.addresses(index).await.unwrap();
            addresses.iter().any(|address| (address.scope, address.protocol) == (253, 3))
        })
        .await;
    }

    #[tokio::test]
    async fn a_link_that_is_gone_has_no_addresses_to_list_or_to_add_to() {
        let (_pinned, netlink, index) = with_veth().await;
        netlink.delete_link(index).await.unwrap();
        let address = Address::from("10.0.0.1/24".parse::<IpNet>().unwrap());
        assert!(netlink.addresses(index).await.unwrap_err().is_not_found());
        assert!(netlink.add_address(index, &address).await.unwrap_err().is_not_found());
        netlink.remove_address(index, &address).await.unwrap();
    }
}
