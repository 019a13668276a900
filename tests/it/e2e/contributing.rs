//! A test host that is kept up to look into, by the steps of CONTRIBUTING.md.

use std::process;

use super::readme::Steps;

#[test]
fn the_steps_for_a_test_host_work_as_they_are_written() {
    let name = format!("contributing-{}", process::id());
    let told = Steps::read("CONTRIBUTING.md", "contributing").renamed("dev", &name).here(&[]);
    assert!(told.contains("as ADD left it"), "{told}");
}
