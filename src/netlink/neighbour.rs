//! Neighbours: which hardware address answers for which IP address.

use std::net::IpAddr;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Handle, NeighbourAddRequest};
use serde::{Deserialize, Serialize};

use super::session::Session;
use super::{Error, Failure, Mac, Netlink, Turn, or_absent};

/// A permanent entry of a link's neighbour table: `ip neighbour show nud permanent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Whose entry it is.
    pub ip: IpAddr,
    /// Where it is reached.
    pub mac: Mac,
    /// An IPv6 router.
    #[serde(default)]
    pub router: bool,
    /// Who made it (`RTPROT_*`); 0 a program that did not say.
    #[serde(default)]
    pub protocol: u8,
}

impl Netlink {
    /// The permanent neighbours of a link. What the kernel learnt by itself is left out.
    pub async fn neighbours(&self, index: u32) -> Result<Vec<Neighbour>, Error> {
        let object = format!("the neighbours of link {index}");
        self.run("list", object, move |mut turn: Turn| async move { list(&mut turn, index).await })
            .await
    }

    /// Adds a permanent neighbour, in place of what the link has for its address.
    ///
    /// Fails if the link is not there: [`Error::is_not_found`].
    pub async fn add_neighbour(&self, index: u32, neighbour: &Neighbour) -> Result<(), Error> {
        let (ip, mac) = (neighbour.ip, neighbour.mac);
        let neighbour = neighbour.clone();
        let request = move |netlink: &Handle| write(netlink, index, &neighbour).execute();
        self.request("add the neighbour", format!("{ip} at {mac} to link {index}"), request).await
    }

    /// Removes the entry for a neighbour's address. Succeeds if it is gone.
    pub async fn remove_neighbour(&self, index: u32, neighbour: &Neighbour) -> Result<(), Error> {
        let object = format!("{} from link {index}", neighbour.ip);
        let neighbour = neighbour.clone();
        let request = move |netlink: &Handle| {
            let message = write(netlink, index, &neighbour).message_mut().clone();
            netlink.neighbours().del(message).execute()
        };
        or_absent(self.request("remove the neighbour", object, request).await)
    }
}

/// The permanent neighbours of a link.
pub(super) async fn list(session: &mut Session, index: u32) -> Result<Vec<Neighbour>, Failure> {
    let mut message = NeighbourMessage::default();
    message.attributes.push(NeighbourAttribute::IfIndex(index));
    session.dump(RouteNetlinkMessage::GetNeighbour(message), read).await
}

fn write(netlink: &Handle, index: u32, neighbour: &Neighbour) -> NeighbourAddRequest {
    let add = netlink.neighbours().add(index, neighbour.ip).replace();
    let mut add = add.link_layer_address(&neighbour.mac.0);
    let message = add.message_mut();
    message.header.flags.set(NeighbourFlags::Router, neighbour.router);
    if neighbour.protocol != 0 {
        message.attributes.push(NeighbourAttribute::Protocol(neighbour.protocol.into()));
    }
    add
}

fn read(message: RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut ip, mut mac, mut protocol) = (None, None, 0);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(v4.into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some(v6.into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok().map(Mac),
            NeighbourAttribute::Protocol(number) => protocol = number.into(),
            _ => {}
        }
    }
    let router = message.header.flags.contains(NeighbourFlags::Router);
    Some(Neighbour { ip: ip?, mac: mac?, router, protocol })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ip, with_veth};
    use super::*;

    #[tokio::test]
    async fn permanent_neighbours_are_restored_as_they_were() {
        let (pinned, netlink, index) = with_veth().await;
        for neighbour in [
            "169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev one nud permanent",
            "10.0.0.9 lladdr 02:00:00:00:00:09 dev one nud permanent protocol static",
            "fd00::9 lladdr 02:00:00:00:00:09 dev one nud permanent router",
            "10.0.0.8 lladdr 02:00:00:00:00:08 dev one nud reachable",
            "10.0.0.7 lladdr 02:00:00:00:00:07 dev two nud permanent",
        ] {
            ip(&pinned.path, &format!("neighbour add {neighbour}"));
        }
        let shown = || {
            let text = ip(&pinned.path, "-d neighbour show nud permanent dev one");
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let before = shown();
        assert_eq!(before.len(), 3);
        let neighbours = netlink.neighbours(index).await.unwrap();
        assert_eq!(neighbours.len(), 3);
        let stored = serde_json::to_string(&neighbours).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Neighbour>>(&stored).unwrap(), neighbours);

        for neighbour in &neighbours {
            netlink.remove_neighbour(index, neighbour).await.unwrap();
            netlink.remove_neighbour(index, neighbour).await.unwrap();
        }
        assert_eq!(netlink.neighbours(index).await.unwrap(), []);
        for neighbour in &neighbours {
            netlink.add_neighbour(index, neighbour).await.unwrap();
            netlink.add_neighbour(index, neighbour).await.unwrap();
        }
        assert_eq!(shown(), before);
    }

    #[tokio::test]
    async fn a_permanent_neighbour_takes_the_place_of_a_learnt_one() {
        let (pinned, netlink, index) = with_veth().await;
        ip(&pinned.path, "neighbour add 10.0.0.8 lladdr 02:00:00:00:00:08 dev one nud reachable");
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let neighbour =
            Neighbour { ip: "10.0.0.8".parse().unwrap(), mac, router: false, protocol: 0 };
        netlink.add_neighbour(index, &neighbour).await.unwrap();
        assert_eq!(netlink.neighbours(index).await.unwrap(), std::slice::from_ref(&neighbour));
        assert!(netlink.add_neighbour(4711, &neighbour).await.unwrap_err().is_not_found());
    }
}
