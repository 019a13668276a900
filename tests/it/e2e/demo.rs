//! The guided tour of `make demo`, which checks by itself what it shows.

use std::process::Command;

use super::host::{Host, Suite};
use super::on_both_dockers;

on_both_dockers! {
    the_tour_comes_to_its_end,
}

fn the_tour_comes_to_its_end(suite: Suite) {
    let host = Host::up(suite);
    let there = host.path("/root/cnm-cni");
    std::fs::create_dir(&there).unwrap();
    for folder in ["demo", "conflists"] {
        let copy = Command::new("cp").arg("-r").arg(folder).arg(&there).status().unwrap();
        assert!(copy.success(), "{folder}");
    }
    // As with sudo in the user's own checkout.
    host.exec(&["chown", "-R", "1000:1000", "/root/cnm-cni"]);
    let said = host.exec(&["/root/cnm-cni/demo/tour", "cnm-cni"]);
    assert!(said.contains("That was it."), "{said}");
}
