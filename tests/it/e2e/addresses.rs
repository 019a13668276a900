//! Who chooses a container's addresses, and what Docker shows of them.

use super::host::{IMAGE, Suite};
use super::{PODS, on_a_host, on_both_dockers};

on_both_dockers! {
    docker_shows_the_address_gateway_and_mac_that_cni_gave,
    docker_chooses_from_the_conflists_own_subnet_when_it_has_that_subnet,
    the_user_chooses_the_mac,
    a_pool_of_dockers_that_the_conflist_cannot_give_is_refused,
}

fn docker_shows_the_address_gateway_and_mac_that_cni_gave(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        host.create_network("web", Some("pods"));
        host.run("alice", "web", &[]);
        let endpoint = host.endpoint("alice", "web");

        let address = endpoint["IPAddress"].as_str().unwrap();
        let in_container =
            host.docker(&["exec", "alice", "ip", "-4", "-o", "address", "show", "eth0"]);
        assert!(in_container.contains(&format!(" {address}/24 ")), "{in_container}");
        let lease = host.path("/var/lib/cni/networks/pods").join(address);
        assert!(lease.exists(), "host-local has no lease for {address}");

        let routes = host.docker(&["exec", "alice", "ip", "route"]);
        assert_eq!(endpoint["Gateway"], "10.99.0.1");
        assert!(routes.contains("default via 10.99.0.1 dev eth0"), "{routes}");

        let mac = host.docker(&["exec", "alice", "cat", "/sys/class/net/eth0/address"]);
        assert_eq!(endpoint["MacAddress"], *mac);

        let hosts = host.docker(&["exec", "alice", "cat", "/etc/hosts"]);
        assert!(hosts.lines().any(|line| line.ends_with(&format!("{address}\talice"))), "{hosts}");
        host.remove(&["alice"], &["web"]);
    });
}

fn docker_chooses_from_the_conflists_own_subnet_when_it_has_that_subnet(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        host.docker(&["network", "create", "-d", "cni", "--subnet", "10.99.0.0/24", "web"]);
        host.run("alice", "web", &["--ip", "10.99.0.77"]);
        host.run("bob", "web", &[]);
        assert_eq!(host.endpoint("alice", "web")["IPAddress"], "10.99.0.77");
        let bob = host.endpoint("bob", "web");
        for address in ["10.99.0.77", bob["IPAddress"].as_str().unwrap()] {
            let lease = host.path("/var/lib/cni/networks/pods").join(address);
            assert!(lease.exists(), "host-local has no lease for {address}");
        }
        host.ping("bob", "alice").unwrap();
        host.ping("bob", "10.99.0.77").unwrap();

        // What another runtime has, Docker's IPAM does not know.
        let pod = |verb: &str| {
            let cni = format!(
                "CNI_ARGS='IgnoreUnknown=1;IP=10.99.0.99' cnm-cni cni {verb} pods /run/netns/pod"
            );
            host.exec(&["sh", "-c", &cni]);
        };
        host.exec(&["ip", "netns", "add", "pod"]);
        pod("add");
        let run = ["run", "--rm", "--network", "web", "--ip", "10.99.0.99", IMAGE];
        let error = host.docker_refuses(&run);
        for words in ["Docker decided on 10.99.0.99", "--ipam-driver null"] {
            assert!(error.contains(words), "no {words:?} in: {error}");
        }
        pod("del");
        host.exec(&["ip", "netns", "delete", "pod"]);
        host.run("carol", "web", &["--ip", "10.99.0.99"]);
        host.remove(&["alice", "bob", "carol"], &["web"]);
    });
}

fn the_user_chooses_the_mac(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        let mac = "02:00:00:c0:ff:ee";
        host.create_network("web", None);
        host.run("alice", "web", &["--mac-address", mac]);
        host.run("bob", "web", &[]);
        assert_eq!(host.endpoint("alice", "web")["MacAddress"], mac);
        let in_container = host.docker(&["exec", "alice", "cat", "/sys/class/net/eth0/address"]);
        assert_eq!(in_container, mac);
        host.ping("bob", "alice").unwrap();
        host.remove(&["alice", "bob"], &["web"]);
    });
}

fn a_pool_of_dockers_that_the_conflist_cannot_give_is_refused(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        // Without --ipam-driver null, Docker takes a pool of its own.
        let error = host.docker_refuses(&["network", "create", "-d", "cni", "web"]);
        for words in ["pods", "--ipam-driver null", "--subnet 10.99.0.0/24"] {
            assert!(error.contains(words), "no {words:?} in: {error}");
        }
    });
}
