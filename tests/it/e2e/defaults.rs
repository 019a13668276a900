//! A host's own defaults for the networks of the driver.

use super::host::Suite;
use super::readme::Steps;
use super::{PODS, more_pods, on_a_host};

mod docker_26_1 {
    #[test]
    fn a_conflist_is_the_default_of_a_host() {
        super::a_conflist_is_the_default_of_a_host(super::Suite::Trixie);
    }
}

mod docker_28_5 {
    #[test]
    fn a_conflist_is_the_default_of_a_host() {
        super::a_conflist_is_the_default_of_a_host(super::Suite::Forky);
    }
}

/// Docker 20.10 does not know the setting.
fn a_conflist_is_the_default_of_a_host(suite: Suite) {
    let more = more_pods();
    on_a_host(suite, &[PODS, ("20-more.conflist", &more)], |host| {
        Steps::read("docs/install.md", "host-defaults").with("k8s-pod-network", "more").on(host);
        host.stop_dockerd("TERM");
        host.start_dockerd(&[]);
        host.create_network("web", None);
        host.run("alice", "web", &[]);
        let address = host.endpoint("alice", "web")["IPAddress"].clone();
        assert!(address.as_str().unwrap().starts_with("10.98.0."), "{address}");
        host.remove(&["alice"], &["web"]);
        // What is said wins.
        host.create_network("web", Some("pods"));
        host.run("alice", "web", &[]);
        let address = host.endpoint("alice", "web")["IPAddress"].clone();
        assert!(address.as_str().unwrap().starts_with("10.99.0."), "{address}");
        host.remove(&["alice"], &["web"]);
    });
}
