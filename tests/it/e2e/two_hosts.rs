//! Two Docker hosts on one network, in two ways for which Debian has no plugin: with addresses of both
//! families, like Flannel's later plugins; and on one shared bridge, like Weave.

use super::host::{Host, Suite, within};
use super::leaks::{Footprint, LIMIT};
use super::several_hosts::{CONFLIST, Member, NETWORK, WEAVE, WEAVE_LIKE, check};

/// Does the same as Flannel's plugin from 1.1 on (`flannel_linux.go`): makes a configuration from
/// flanneld's file, with a range for each family, and runs `bridge` with it.
const DUAL_STACK: &str = r#"#!/bin/sh
set -eu
conf=$(cat)
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0"]}'; exit ;;
esac
. /run/flannel/subnet.env
ipv4=${FLANNEL_SUBNET%.1/*}.0/24 ipv6=${FLANNEL_IPV6_SUBNET%::1/*}::/64
echo '{"cniVersion": "0.3.1", "name": "cbr0", "type": "bridge", "bridge": "cni0", "isGateway": true,
    "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false, "mtu": '"$FLANNEL_MTU"',
    "ipam": {"type": "host-local",
        "ranges": [[{"subnet": "'"$ipv4"'"}], [{"subnet": "'"$ipv6"'"}]],
        "routes": [{"dst": "'"$FLANNEL_NETWORK"'"}, {"dst": "'"$FLANNEL_IPV6_NETWORK"'"}]}}' |
    exec /usr/lib/cni/bridge
"#;

#[test]
fn flannel_of_both_families() {
    let hosts = two_hosts();
    for (number, (host, other)) in [(1, (&hosts[0], &hosts[1])), (2, (&hosts[1], &hosts[0]))] {
        host.write_program("/opt/cni/bin/flannel", DUAL_STACK);
        host.write("/etc/cni/net.d/10-flannel.conflist", CONFLIST);
        host.write(
            "/run/flannel/subnet.env",
            &format!(
                "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.{number}.1/24\n\
                 FLANNEL_IPV6_NETWORK=fd00:f4::/48\nFLANNEL_IPV6_SUBNET=fd00:f4:0:{number}::1/64\n\
                 FLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n"
            ),
        );
        let there = 3 - number;
        let ways = format!(
            "ip -6 address add fd00:c::{number}/64 dev eth1 nodad
             ip -6 route add fd00:f4:0:{there}::/64 via fd00:c::{there}
             ip route add 10.244.{there}.0/24 via {}",
            other.address()
        );
        host.exec(&["sh", "-ec", &ways]);
        attach_to(host, "cbr0");
    }
    play(&hosts, 1500, |members| {
        let of_ipv6 = |member: &Member<'_>| {
            let shown = member.run("ip -6 -o address show dev eth0 scope global").unwrap();
            let (_, address) = shown.split_once("inet6 ").unwrap();
            address.split('/').next().unwrap().to_owned()
        };
        for (from, to) in [(&members[0], &members[1]), (&members[1], &members[0])] {
            let to = of_ipv6(to);
            // The packet includes an IPv6 header and an ICMPv6 header.
            for size in [56, 1500 - 48] {
                let ping = || from.run(&format!("ping -c 1 -W 3 -s {size} {to}"));
                assert!(within(LIMIT, || ping().is_ok()), "{size} bytes to {to}: {:?}", ping());
            }
        }
    });
}

/// Weave's bridges are joined by its router, in user space or by the kernel's vxlan: here by the latter.
#[test]
fn a_bridge_that_both_hosts_are_on() {
    let hosts = two_hosts();
    for (host, range) in hosts.iter().zip(["10.32.0", "10.40.0"]) {
        host.write_program("/opt/cni/bin/weave-net", WEAVE_LIKE);
        host.write(&format!("/etc/cni/net.d/{}", WEAVE.0), WEAVE.1);
        host.write("/etc/weave-range", range);
        attach_to(host, "weave");
        // The first container makes the bridge.
        host.run("first", NETWORK, &[]);
        host.docker(&["rm", "-f", "first"]);
    }
    for (host, other) in [(&hosts[0], &hosts[1]), (&hosts[1], &hosts[0])] {
        let join = format!(
            "ip link add vxlan-6784 mtu 1376 type vxlan id 6784 dstport 6784 remote {}
             ip link set vxlan-6784 master weave up",
            other.address()
        );
        host.exec(&["sh", "-ec", &join]);
    }
    play(&hosts, 1376, |_| {});
}

/// A Docker 20.10 and a Docker 28.5, with a cable between them.
fn two_hosts() -> [Host; 2] {
    let hosts = [Suite::Bookworm, Suite::Forky].map(Host::up);
    hosts[0].cable_to(&hosts[1]);
    hosts
}

fn attach_to(host: &Host, conflist: &str) {
    host.start_driver();
    let create = ["network", "create", "-d", "cni", "--ipam-driver", "null", "-o", "forward=open"];
    host.docker(&[&create[..], &["-o", &format!("conflist={conflist}"), NETWORK]].concat());
}

/// Checks that a container on each host reaches the other, twice: the first time makes what stays. Then
/// nothing may be left.
fn play([old, new]: &[Host; 2], mtu: u32, more: impl Fn(&[Member<'_>])) {
    let live = || {
        old.run("alice", NETWORK, &["-p", "8080:80"]);
        new.run("bob", NETWORK, &["-p", "8080:80"]);
        let members = [("alice", old), ("bob", new)];
        let members = members.map(|(name, host)| Member::look_up(name, host, false));
        let table = check(&members, mtu);
        more(&members);
        old.docker(&["rm", "-f", "alice"]);
        new.docker(&["rm", "-f", "bob"]);
        table
    };
    live();
    let before = [old, new].map(Footprint::settled);
    eprintln!("\n{}", live());
    for (footprint, host) in before.iter().zip([old, new]) {
        footprint.assert_nothing_more(host);
    }
}
