//! `cnm-cni status` on a host that is not well.

use std::process::Command;

use serde_json::Value;

use super::program;
use crate::alone::{alone, sh};

#[test]
fn a_disk_that_takes_no_record_is_a_problem() {
    alone(async {
        sh("mkdir /run/state; mount -t tmpfs -o size=64k tmpfs /run/state");
        let problems = || {
            let args = ["status", "--state-dir", "/run/state", "--format", "json"];
            let told = Command::new(program()).args(args).output().unwrap();
            let told: Value = serde_json::from_slice(&told.stdout).unwrap();
            let problems = told["problems"].as_array().unwrap();
            let of_disk =
                problems.iter().filter(|it| it["what"].as_str().unwrap().contains("disk of"));
            of_disk.map(|it| it["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(problems().is_empty());
        sh("dd if=/dev/zero of=/run/state/fill bs=1k count=100 2>/dev/null || true");
        assert!(problems()[0].contains("/run/state is full"), "{:?}", problems());
        sh("rm /run/state/fill; mount -o remount,ro /run/state");
        assert!(problems()[0].contains("/run/state is read-only"), "{:?}", problems());
        sh("mount -o remount,rw /run/state");
        assert!(problems().is_empty());
    });
}
