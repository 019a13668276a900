//! How errors read, for the log and for Docker.

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("cannot make the {0}")]
struct Quiet(&'static str, #[source] io::Error);

#[derive(Debug, thiserror::Error)]
#[error("cannot make the {0}: {1}")]
struct Quoting(&'static str, #[source] io::Error);

#[derive(Debug, thiserror::Error)]
#[error("cannot make the {0}: {1}; the disk is full")]
struct Advising(&'static str, #[source] io::Error);

#[test]
fn causes_follow_their_effects_and_none_is_said_twice() {
    let cause = || io::Error::other("no space");
    assert_eq!(chain(&Quiet("bridge", cause())), "cannot make the bridge: no space");
    assert_eq!(chain(&Quoting("bridge", cause())), "cannot make the bridge: no space");
    let advice = "cannot make the bridge: no space; the disk is full";
    assert_eq!(chain(&Advising("bridge", cause())), advice);
}

#[test]
fn a_failed_undo_is_told_after_the_error_and_each_with_its_cause_once() {
    let boot_id = || Error::BootId(io::Error::other("no /proc"));
    let list = || netns::Error::Failed {
        operation: "make",
        path: "/run/pin".into(),
        source: io::Error::other("no space"),
    };
    let undone = boot_id().undone(Err(list().into()));
    let told = chain(&undone);
    for (said, times) in [
        ("cannot read /proc/sys/kernel/random/boot_id: no /proc; and undoing it failed", 1),
        ("no /proc", 1),
        ("undoing it failed: cannot make /run/pin: no space; it is tried again", 1),
        ("no space", 1),
    ] {
        assert_eq!(told.matches(said).count(), times, "{said}: {told}");
    }
    // An undo of what was undone already.
    let told = chain(&undone.undone(Err(boot_id())));
    assert_eq!(told.matches("no space").count(), 1, "{told}");
}
