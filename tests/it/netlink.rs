//! What netlink's verbs promise when the kernel refuses, says what nobody understands, or has
//! much to tell.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cnm_cni::netlink::{Error, Events, Failure, Netlink, Route};
use ipnet::IpNet;

use crate::alone::{alone, sh};

/// A thousand virtual links beside `lo`, in pairs.
fn make_a_thousand_links() {
    sh("for i in $(seq 500); do echo link add a$i type veth peer name b$i; done | ip -batch -");
}

#[test]
fn an_error_has_what_was_tried_on_what_where_and_the_kernels_words() {
    alone(async {
        sh("ip link add one type veth peer name two; ip link set one up; ip link set two up");
        let netlink = Netlink::own().unwrap();
        let index = netlink.link("one").await.unwrap().unwrap().index;
        let gateway = Some("198.51.100.1".parse().unwrap());
        let route = Route::new("192.0.2.0/24".parse().unwrap(), gateway, index);
        let error = netlink.add_route(&route).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot add the route to 192.0.2.0/24 over 198.51.100.1 on link {index} in the \
                 host's namespace: ENETUNREACH: Network is unreachable (Nexthop has invalid gateway)"
            )
        );
        assert!(!error.is_not_found() && !error.is_exists());
    });
}

#[tokio::test]
async fn a_handle_needs_a_namespace() {
    let path = std::env::temp_dir().join("cnm-cni-no-such-namespace");
    let error = Netlink::in_netns(&path).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let error = Netlink::in_netns(Path::new("/proc/self/comm")).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn one_handle_serves_many_tasks_while_the_lists_change() {
    alone(async {
        sh("ip link add one type veth peer name two; ip link set one up; ip link set two up");
        let netlink = Netlink::own().unwrap();
        let index = netlink.link("one").await.unwrap().unwrap().index;
        for host in 1..=250 {
            let net: IpNet = format!("10.1.1.{host}/32").parse().unwrap();
            netlink.add_address(index, &net.into()).await.unwrap();
        }
        let mut tasks = tokio::task::JoinSet::new();
        for task in 1..=8 {
            let netlink = netlink.clone();
            tasks.spawn(async move {
                for host in 1..=20 {
                    let net: IpNet = format!("10.2.{task}.{host}/32").parse().unwrap();
                    netlink.add_address(index, &net.into()).await.unwrap();
                    let seen = netlink.addresses(index).await.unwrap();
                    assert!(seen.len() >= 250 && seen.contains(&net.into()));
                    assert!(netlink.all_routes().await.unwrap().len() >= 250);
                }
            });
        }
        tasks.join_all().await;
        let addresses = netlink.addresses(index).await.unwrap();
        let v4 = addresses.iter().filter(|address| address.net.addr().is_ipv4());
        assert_eq!(v4.count(), 250 + 8 * 20);
    });
}

#[test]
fn every_kind_of_change_is_news_also_one_that_is_not_understood() {
    alone(async {
        sh("ip link add one type veth peer name two; ip link set one up; ip link set two up");
        let mut events = Events::own().unwrap();
        for command in [
            "ip link set two alias x",
            "ip link set two alias $(printf '\\377')",
            "ip addr add 10.9.0.2/24 dev one",
            "ip route add 10.10.0.0/24 via 10.9.0.1",
            "ip addr add fd09::2/64 dev one nodad",
        ] {
            sh(command);
            let news = tokio::time::timeout(Duration::from_secs(5), events.next()).await;
            news.unwrap_or_else(|_| panic!("no news of: {command}")).unwrap();
        }
    });
}

#[test]
fn a_list_that_the_kernel_refuses_is_an_error_in_its_words() {
    alone(async {
        let netlink = Netlink::own().unwrap();
        // The kernel says so in the message that ends a list, and not in one of an error.
        let error = netlink.routes(4711).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert_eq!(
            error.to_string(),
            "cannot list the routes of link 4711 in the host's namespace: ENODEV: No such device"
        );
        assert!(netlink.addresses(4711).await.unwrap_err().is_not_found());
        assert!(!netlink.all_routes().await.unwrap().is_empty());
    });
}

#[test]
fn a_link_that_cannot_be_understood_is_an_error_and_leaves_no_hole() {
    alone(async {
        sh("ip link add one type veth peer name two");
        let netlink = Netlink::own().unwrap();
        let links = netlink.links().await.unwrap();
        let [one, two] = ["one", "two"].map(|name| {
            links.iter().find(|link| link.name == name).map(|link| link.index).unwrap()
        });
        let name = |alias: &[u8]| {
            let arguments = ["link", "set", "two", "alias"].map(OsStr::new);
            let status = Command::new("ip").args(arguments).arg(OsStr::from_bytes(alias)).status();
            assert!(status.unwrap().success());
        };
        // The kernel takes any bytes; this is no text.
        name(b"a\xffb");
        for error in [
            netlink.links().await.unwrap_err(),
            netlink.link("two").await.unwrap_err(),
            netlink.link_by_index(two).await.unwrap_err(),
            netlink.snapshot(one).await.unwrap_err(),
        ] {
            assert!(
                matches!(error, Error::Request { source: Failure::Unreadable(_), .. }),
                "{error}"
            );
            assert!(error.to_string().contains("is not understood: "), "{error}");
        }
        // What does not tell of it goes on, and so does the handle.
        assert_eq!(netlink.link("one").await.unwrap().unwrap().index, one);
        netlink.set_up(two).await.unwrap();
        name(b"ab");
        assert_eq!(netlink.links().await.unwrap().len(), links.len());
        assert_eq!(netlink.link("two").await.unwrap().unwrap().alias.as_deref(), Some("ab"));
    });
}

#[test]
fn a_list_that_changes_while_it_is_read_is_read_again_and_not_for_ever() {
    alone(async {
        make_a_thousand_links();
        let netlink = Netlink::own().unwrap();
        let change = tokio::spawn(async {
            let other = Netlink::own().unwrap();
            loop {
                other.add_veth("new", "other").await.unwrap();
                let new = other.link("new").await.unwrap().unwrap();
                other.delete_link(new.index).await.unwrap();
            }
        });
        // The kernel marks such a list, and one that is marked each time is none.
        let deadline = Instant::now() + Duration::from_secs(20);
        let is_unsteady = |error| matches!(error, Error::Request { source: Failure::Unsteady, .. });
        while !netlink.links().await.is_err_and(is_unsteady) {
            assert!(Instant::now() < deadline, "no list was marked");
        }
        change.abort();
        change.await.unwrap_err();
        assert!(netlink.links().await.unwrap().len() >= 1001);
    });
}

#[test]
fn a_thousand_links_are_read_as_they_come() {
    alone(async {
        let netlink = Netlink::own().unwrap();
        assert_eq!(netlink.links().await.unwrap().len(), 1);
        make_a_thousand_links();
        // What is in memory now is the measure for the highest mark from now on.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS:");
        let links = netlink.links().await.unwrap();
        assert_eq!(links.len(), 1001);
        // A message about a link takes some ten KiB; what is kept of it, three hundred bytes.
        let most = memory("VmHWM:") - before;
        assert!(most < 2048, "{most} KiB for {} links", links.len());
    });
}

/// A figure of this process, in KiB.
fn memory(figure: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
