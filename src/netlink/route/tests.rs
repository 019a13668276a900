use ipnet::IpNet;

use super::*;
use crate::netlink::tests::{ip, reachable, with_veth};

#[tokio::test]
async fn routes_are_restored_as_they_were() {
    let (pinned, netlink, index) = with_veth().await;
    ip(&pinned.path, "addr add 10.0.0.2/24 dev one");
    ip(&pinned.path, "addr add fd00:1::2/64 dev one nodad");
    reachable(&netlink, index).await;
    let before = [
        ip(&pinned.path, "-d -4 route show table all"),
        ip(&pinned.path, "-d -6 route show table all"),
    ];
    let kernels = netlink.routes(index).await.unwrap();
    for route in [
        "default via 10.0.0.1 dev one",
        "10.1.0.0/16 via 10.0.0.1 dev one metric 100 src 10.0.0.2",
        "10.1.0.0/16 via 10.0.0.3 dev one metric 200 mtu 1400 advmss 1300",
        "10.2.0.0/16 dev one scope link mtu lock 1380",
        "10.3.0.0/16 via 169.254.1.1 dev one onlink",
        "10.4.0.0/16 dev one table 1000 proto static",
        "10.5.0.0/16 dev one table 100 tos 0x10",
        "10.6.0.0/16 via inet6 fe80::1 dev one",
        "default via 10.0.0.1 dev one table 100 proto 99",
        "local 10.7.0.1 dev one table 100",
        "fd00:2::/64 via fd00:1::1 dev one metric 50 mtu 1400",
        "default via fd00:1::1 dev one",
        "fd00:3::/64 dev one table 1000 src fd00:1::2",
        "fd00:4::1 via fe80::1 dev one onlink proto static",
        // Over several gateways, with further metrics, and with headers around each packet.
        "10.8.0.0/16 nexthop via 10.0.0.1 dev one weight 2 nexthop via 10.0.0.3 dev one",
        "10.9.0.0/16 via 10.0.0.1 dev one initcwnd 20 quickack 1 congctl reno",
        "fd00:5::/64 nexthop via fd00:1::1 dev one weight 3 nexthop via fd00:1::3 dev one",
        "fd00:6::/64 via fd00:1::1 dev one pref high",
        "fd00:7::/64 encap seg6 mode encap segs fd00:1::9 dev one",
    ] {
        ip(&pinned.path, &format!("route add {route}"));
    }
    let shown = || {
        [
            ip(&pinned.path, "-d -4 route show table all"),
            ip(&pinned.path, "-d -6 route show table all"),
        ]
    };
    let full = shown();
    assert_ne!(full, before);
    let routes = netlink.routes(index).await.unwrap();
    let stored = serde_json::to_string(&routes).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Route>>(&stored).unwrap(), routes);
    let added: Vec<_> = routes.iter().filter(|route| !kernels.contains(route)).collect();
    assert_eq!(added.len(), 19);
    assert_eq!(added.iter().filter(|route| route.is_default()).count(), 3);

    for route in &added {
        netlink.remove_route(route).await.unwrap();
        netlink.remove_route(route).await.unwrap();
    }
    assert_eq!(shown(), before);
    for route in &added {
        netlink.add_route(route).await.unwrap();
        assert!(netlink.add_route(route).await.unwrap_err().is_exists());
        netlink.replace_route(route).await.unwrap();
    }
    assert_eq!(shown(), full);
    assert_eq!(netlink.routes(index).await.unwrap(), routes);
}

#[tokio::test]
async fn only_the_routes_of_the_link_are_read_and_all_when_asked() {
    let (pinned, netlink, index) = with_veth().await;
    ip(&pinned.path, "route add 10.1.0.0/16 dev one");
    ip(&pinned.path, "route add 10.2.0.0/16 dev two");
    ip(&pinned.path, "route add blackhole 10.3.0.0/16");
    let of_one = netlink.routes(index).await.unwrap();
    assert!(of_one.iter().all(|route| route.link == Some(index)), "{of_one:?}");
    let to = |routes: &[Route], net: &str| {
        let net: IpNet = net.parse().unwrap();
        routes.iter().any(|route| route.destination == net)
    };
    assert!(to(&of_one, "10.1.0.0/16") && !to(&of_one, "10.2.0.0/16"));
    let all = netlink.all_routes().await.unwrap();
    assert!(["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].iter().all(|net| to(&all, net)));
    let refusing = all.iter().find(|route| route.kind == 6).unwrap().clone();
    netlink.remove_route(&refusing).await.unwrap();
    netlink.add_route(&refusing).await.unwrap();
    assert_eq!(netlink.all_routes().await.unwrap(), all);
}

#[tokio::test]
async fn a_gateway_outside_the_subnet_is_reached_over_a_route_on_the_link() {
    let (pinned, netlink, index) = with_veth().await;
    ip(&pinned.path, "addr add 10.0.0.2/32 dev one");
    let gateway = "169.254.1.1".parse().unwrap();
    let default = Route::new("0.0.0.0/0".parse().unwrap(), Some(gateway), index);
    assert!(netlink.add_route(&default).await.is_err());
    let on_link = Route::new("169.254.1.1/32".parse().unwrap(), None, index);
    netlink.add_route(&on_link).await.unwrap();
    netlink.add_route(&default).await.unwrap();
    let said = ip(&pinned.path, "route show");
    assert_eq!(
        said.lines().map(str::trim).collect::<Vec<_>>(),
        ["default via 169.254.1.1 dev one", "169.254.1.1 dev one scope link"]
    );
    let routes = netlink.routes(index).await.unwrap();
    assert!(routes.contains(&default) && routes.contains(&on_link), "{routes:?}");
}
