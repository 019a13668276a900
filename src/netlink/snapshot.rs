//! Everything that netlink shows of a link and its namespace, read together.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{
    Address, Error, Failure, Link, Neighbour, Netlink, Route, Rule, Turn, address, link, neighbour,
    route, rule,
};

/// A link with all that is lost or stays behind when it is moved to another namespace, but
/// for its settings under `/proc/sys` (see [`crate::sysctl`]).
///
/// It has what is there, the kernel's own addresses, routes and rules included. The caller decides
/// which of it matters, and need not keep the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The link itself.
    pub link: Link,
    /// Its addresses, in an order in which they can be added again.
    pub addresses: Vec<Address>,
    /// The routes that leave by it, of all tables.
    pub routes: Vec<Route>,
    /// Its permanent neighbours.
    pub neighbours: Vec<Neighbour>,
    /// All rules of the namespace.
    pub rules: Vec<Rule>,
    /// All other links of the namespace, `lo` included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_links: Vec<Link>,
}

impl Netlink {
    /// Reads a link and what belongs to it, in one turn. The lists are
    /// read one after the other: the namespace should not change meanwhile.
    ///
    /// Fails if the link is not there: [`Error::is_not_found`].
    pub async fn snapshot(&self, index: u32) -> Result<Snapshot, Error> {
        self.run("read", format!("link {index}"), move |mut turn: Turn| async move {
            let session = &mut *turn;
            let (mut this, further_links): (Vec<_>, _) =
                link::list(session).await?.into_iter().partition(|link| link.index == index);
            let absent = Failure::Refused { errno: Errno::ENODEV, reason: None };
            Ok(Snapshot {
                link: this.pop().ok_or(absent)?,
                addresses: address::list(session, index).await?,
                routes: route::list(session, Some(index)).await?,
                neighbours: neighbour::list(session, index).await?,
                rules: rule::list(session).await?,
                further_links,
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ip, reachable, with_veth};
    use super::*;
    use crate::sysctl;

    #[tokio::test]
    async fn a_snapshot_holds_what_each_list_holds_and_survives_the_disk() {
        let (pinned, netlink, index) = with_veth().await;
        for command in [
            "addr add 10.0.0.2/24 dev one",
            "addr add fd00::2/64 dev one nodad",
            "route add default via 10.0.0.1 dev one table 100",
            "rule add from 10.0.0.2/32 table 100",
            "neighbour add 10.0.0.1 lladdr 02:00:00:00:00:01 dev one nud permanent",
        ] {
            ip(&pinned.path, command);
        }
        reachable(&netlink, index).await;
        let snapshot = netlink.snapshot(index).await.unwrap();
        assert_eq!(Some(&snapshot.link), netlink.link("one").await.unwrap().as_ref());
        assert_eq!(snapshot.addresses, netlink.addresses(index).await.unwrap());
        assert_eq!(snapshot.routes, netlink.routes(index).await.unwrap());
        assert_eq!(snapshot.neighbours, netlink.neighbours(index).await.unwrap());
        assert_eq!(snapshot.rules, netlink.rules().await.unwrap());
        let further: Vec<_> = snapshot.further_links.iter().map(|link| &link.name).collect();
        assert_eq!(further, ["lo", "two"]);
        assert!(snapshot.routes.iter().any(|route| route.table == 100 && route.is_default()));
        assert_eq!((snapshot.neighbours.len(), snapshot.rules.len()), (1, 6));

        let stored = serde_json::to_vec(&snapshot).unwrap();
        assert_eq!(serde_json::from_slice::<Snapshot>(&stored).unwrap(), snapshot);
        assert!(netlink.snapshot(4711).await.unwrap_err().is_not_found());
    }

    #[tokio::test]
    async fn a_moved_link_is_restored_from_its_snapshot() {
        let (pinned, netlink, index) = with_veth().await;
        for command in [
            "addr add 10.0.0.2/24 dev one",
            "addr add fd00::2/64 dev one nodad",
            "addr add fd00:1::2/128 dev one nodad",
            "route add default via 10.0.0.1 dev one metric 50",
            "route add default via fd00::1 dev one",
            "neighbour add 10.0.0.1 lladdr 02:00:00:00:00:01 dev one nud permanent",
        ] {
            ip(&pinned.path, command);
        }
        reachable(&netlink, index).await;
        let settings = sysctl::Scope::Link("one".into());
        let set = sysctl::read(&pinned.path, &settings).await.unwrap();
        let before = netlink.snapshot(index).await.unwrap();
        let elsewhere = crate::netns::tests::Pinned::new().await;
        let target = Netlink::in_netns(&elsewhere.path).await.unwrap();
        netlink.move_to(index, crate::netns::open(&elsewhere.path).unwrap()).await.unwrap();

        let index = target.link("one").await.unwrap().unwrap().index;
        // Among them how IPv6 addresses are made when the link comes up.
        sysctl::write(&elsewhere.path, &settings, &set).await.unwrap();
        target.set_up(index).await.unwrap();
        for address in &before.addresses {
            target.add_address(index, address).await.unwrap();
        }
        for route in before.routes.iter().filter(|route| route.protocol != 2) {
            target.add_route(&Route { link: Some(index), ..route.clone() }).await.unwrap();
        }
        for neighbour in &before.neighbours {
            target.add_neighbour(index, neighbour).await.unwrap();
        }
        reachable(&target, index).await;
        let after = target.snapshot(index).await.unwrap();
        let routes: Vec<_> = (after.routes.iter())
            .map(|route| Route { link: before.routes[0].link, ..route.clone() })
            .collect();
        assert_eq!(routes, before.routes);
        assert_eq!(after.addresses, before.addresses);
        assert_eq!(after.neighbours, before.neighbours);
        assert_eq!(sysctl::read(&elsewhere.path, &settings).await.unwrap(), set);
    }
}
