//! Each way of installation, by the steps of the documentation.

use super::host::Suite;
use super::readme::Steps;
use super::{on_a_host, on_both_dockers};

on_both_dockers! {
    the_quick_start_gives_a_container_an_address_of_the_built_in_bridge,
}

fn the_quick_start_gives_a_container_an_address_of_the_built_in_bridge(suite: Suite) {
    on_a_host(suite, &[], |host| {
        // What Docker would fetch.
        host.docker(&["tag", "cnm-cni/busybox", "busybox"]);
        let told = Steps::read("README.md", "quick-start").on(host);
        assert!(told.contains("inet 10.233."), "{told}");
        host.docker(&["network", "rm", "web"]);
    });
}
