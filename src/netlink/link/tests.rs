//! The verbs on links, beside what iproute2 sees.

use super::*;
use crate::netlink::tests::{ip, with_veth};
use crate::netns::{self, tests::Pinned, tests::eventually};

#[tokio::test]
async fn a_new_namespace_has_the_loopback_alone() {
    let pinned = Pinned::new().await;
    let netlink = Netlink::in_netns(&pinned.path).await.unwrap();
    let links = netlink.links().await.unwrap();
    let names: Vec<_> = links.iter().map(|link| (link.index, link.name.as_str())).collect();
    assert_eq!(names, [(1, "lo")]);
    assert!(links[0].up);
    assert_eq!((links[0].mtu, &links[0].kind), (65536, &None));
}

#[tokio::test]
async fn everything_about_a_link_is_read() {
    let (pinned, netlink, index) = with_veth().await;
    let link = netlink.link_by_index(index).await.unwrap().unwrap();
    assert!(link.up && link.arp && link.multicast);
    assert!(!link.promiscuous && !link.all_multicast);
    assert_eq!((link.mtu, link.group, link.kind.as_deref()), (1500, 0, Some("veth")));
    let peer = netlink.link("two").await.unwrap().unwrap();
    assert_eq!((link.parent, link.parent_namespace), (Some(peer.index), None));
    assert_eq!(Some(&link), netlink.links().await.unwrap().iter().find(|one| one.name == "one"));

    ip(&pinned.path, "link set one promisc on allmulticast on multicast off arp off");
    ip(&pinned.path, "link set one mtu 1400 txqueuelen 77 group 5 alias hostname");
    ip(&pinned.path, "link set one address 02:00:00:00:00:07");
    ip(&pinned.path, "link property add dev one altname short altname a-name-of-more-than-fifteen");
    ip(&pinned.path, "link add name br type bridge");
    ip(&pinned.path, "link set one master br down");
    let bridge = netlink.link("br").await.unwrap().unwrap();
    let changed = netlink.link("one").await.unwrap().unwrap();
    assert_eq!(
        changed,
        Link {
            alternative_names: vec!["short".into(), "a-name-of-more-than-fifteen".into()],
            alias: Some("hostname".into()),
            mac: Some(Mac([2, 0, 0, 0, 0, 7])),
            mtu: 1400,
            tx_queue_len: 77,
            group: 5,
            up: false,
            arp: false,
            multicast: false,
            promiscuous: true,
            all_multicast: true,
            controller: Some(bridge.index),
            ..link
        }
    );
    let stored = serde_json::to_string(&changed).unwrap();
    assert_eq!(serde_json::from_str::<Link>(&stored).unwrap(), changed);
}

#[tokio::test]
async fn a_link_is_found_by_every_name_and_missed_by_none() {
    let (_pinned, netlink, index) = with_veth().await;
    for name in ["second", "a-name-of-more-than-fifteen"] {
        assert_eq!(netlink.link(name).await.unwrap(), None);
        netlink.add_altname(index, name).await.unwrap();
        assert_eq!(netlink.link(name).await.unwrap().unwrap().index, index);
        assert!(netlink.add_altname(index, name).await.unwrap_err().is_exists());
        netlink.remove_altname(index, name).await.unwrap();
        netlink.remove_altname(index, name).await.unwrap();
        assert_eq!(netlink.link(name).await.unwrap(), None);
    }
    assert_eq!(netlink.link_by_index(4711).await.unwrap(), None);
    assert_eq!(netlink.link("").await.unwrap(), None);
}

#[tokio::test]
async fn a_link_is_changed_and_deleted() {
    let (pinned, netlink, index) = with_veth().await;
    let mac = Mac([2, 0, 0, 0, 0, 9]);
    netlink.set_mac(index, mac).await.unwrap();
    netlink.set_mtu(index, 1280).await.unwrap();
    netlink.set_down(index).await.unwrap();
    netlink.rename(index, "eth0").await.unwrap();
    let link = netlink.link("eth0").await.unwrap().unwrap();
    assert_eq!((link.index, link.mac, link.mtu, link.up), (index, Some(mac), 1280, false));
    let said = ip(&pinned.path, "-o link show eth0");
    assert!(said.contains("mtu 1280") && said.contains("02:00:00:00:00:09"), "{said}");

    assert!(netlink.rename(index, "two").await.unwrap_err().is_exists());
    assert!(netlink.add_veth("eth0", "other").await.unwrap_err().is_exists());
    assert_eq!(netlink.link("other").await.unwrap(), None);

    netlink.delete_link(index).await.unwrap();
    netlink.delete_link(index).await.unwrap();
    assert_eq!(netlink.links().await.unwrap().len(), 1);
    assert!(netlink.set_up(index).await.unwrap_err().is_not_found());
    assert!(netlink.delete_link(1).await.is_err(), "lo was deleted");
}

#[tokio::test]
async fn a_link_moves_with_its_attributes_and_arrives_down() {
    let (_from, source, index) = with_veth().await;
    source.set_mtu(index, 1280).await.unwrap();
    source.add_altname(index, "second").await.unwrap();
    let before = source.link("one").await.unwrap().unwrap();

    let to = Pinned::new().await;
    source.move_to(index, netns::open(&to.path).unwrap()).await.unwrap();
    assert_eq!(source.link("one").await.unwrap(), None);
    let target = Netlink::in_netns(&to.path).await.unwrap();
    let after = target.link("second").await.unwrap().unwrap();
    assert!(after.parent_namespace.is_some());
    let parent_namespace = after.parent_namespace;
    assert_eq!(after, Link { index: after.index, up: false, parent_namespace, ..before });
}

#[tokio::test]
async fn a_move_that_nobody_waits_for_is_finished() {
    let (_from, source, index) = with_veth().await;
    let to = Pinned::new().await;
    let target = Netlink::in_netns(&to.path).await.unwrap();
    tokio::select! {
        biased;
        _ = source.move_to(index, netns::open(&to.path).unwrap()) => panic!("at once?"),
        () = std::future::ready(()) => {}
    }
    eventually("the link arrived", async || target.link("one").await.unwrap().is_some()).await;
}

#[tokio::test]
async fn a_name_that_is_taken_there_keeps_a_link_here() {
    let (_from, source, index) = with_veth().await;
    let (to, _target, _) = with_veth().await;
    let moved = source.move_to(index, netns::open(&to.path).unwrap()).await;
    assert!(moved.unwrap_err().is_exists());
    assert!(source.link("one").await.unwrap().unwrap().up);
}
