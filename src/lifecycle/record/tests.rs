//! Records as they were written, and what they are read as. The files have an attachment of each phase, by
//! each version that has written any.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Attachment, PhaseName};
use crate::state::{decode, encode};

/// The folders of what version 0.1.0 wrote, what the last one of version 1 did, and version 2.
const VERSIONS: [&str; 3] = ["0.1.0", "1", "2"];

/// The phases that a version knows.
fn phases_of(version: &str) -> impl Iterator<Item = PhaseName> {
    let has_spares = version == "2";
    PhaseName::ALL.into_iter().filter(move |phase| has_spares || *phase != PhaseName::Spare)
}

/// The record of an attachment in that phase.
fn written(version: &str, phase: PhaseName) -> Value {
    let name = phase.to_string().to_lowercase();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join(format!("tests/fixtures/attachments/{version}/{name}.json"));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn read(record: &Value) -> Result<Attachment, String> {
    decode(record.to_string().as_bytes())
}

/// An attachment in that phase.
pub(crate) fn attachment(phase: PhaseName) -> Attachment {
    read(&written("2", phase)).unwrap()
}

#[test]
fn a_record_of_every_version_and_phase_is_read_as_what_it_says() {
    for version in VERSIONS {
        for name in phases_of(version) {
            let told = format!("{name} of {version}");
            let attachment = read(&written(version, name)).expect(&told);
            assert_eq!(attachment.phase.name(), name, "{told}");
            let is_spare = name == PhaseName::Spare;
            assert_eq!(attachment.has_endpoint(), !is_spare, "{told}");
            assert!(is_spare || attachment.endpoint.as_str() == "e1", "{told}");
            assert_eq!(attachment.list.name(), "k8snet", "{told}");
            assert_eq!(attachment.parameters.if_name, attachment.id.if_name(), "{told}");
            assert!(attachment.made.or(attachment.id.made()).is_some(), "{told}");

            let was_added = name != PhaseName::Adding;
            let addresses: Vec<String> = attachment.addresses().map(|it| it.to_string()).collect();
            let given: &[&str] = if was_added { &["10.22.3.7", "fd00:22::7"] } else { &[] };
            assert_eq!(addresses, given, "{told}");
            let snapshot = attachment.snapshot().map(|snapshot| snapshot.link.name.clone());
            assert_eq!(snapshot, was_added.then(|| attachment.id.if_name()), "{told}");

            let has_joined = was_added && !is_spare && name != PhaseName::Staged;
            let sandbox = attachment.sandbox().and_then(std::path::Path::to_str);
            match (name, sandbox) {
                // Where the container's namespace is held, or was.
                (PhaseName::Deleting, Some(_)) => {}
                _ => assert_eq!(sandbox, has_joined.then_some("/run/sandbox"), "{told}"),
            }
            assert_eq!(attachment.settings().is_some(), has_joined || is_spare, "{told}");
            // Version 0.1.0 did not look.
            let looked = is_spare || (has_joined && version != "0.1.0");
            assert_eq!(attachment.host_side().is_some(), looked, "{told}");
            let removal = attachment.removal().map(|removal| removal.attempts);
            assert_eq!(removal, (name == PhaseName::Deleting).then_some(1), "{told}");
            let is_gateway = matches!(name, PhaseName::Settled | PhaseName::Deleting);
            assert_eq!(attachment.is_gateway, is_gateway, "{told}");
        }
    }
}

#[test]
fn version_2_is_written_and_says_all_that_was_read() {
    let write = |attachment: &Attachment| -> Value {
        serde_json::from_slice(&encode(attachment).unwrap()).unwrap()
    };
    for version in VERSIONS {
        for name in phases_of(version) {
            let record = written(version, name);
            let again = write(&read(&record).unwrap());
            assert_eq!(again["version"], 2);
            assert_eq!(write(&read(&again).unwrap()), again);
            if version == "2" {
                assert_eq!(again, record, "{name}: is it a new version?");
            }
        }
    }
}

/// Why a record is refused in which that part is replaced, or taken away.
fn refusal(version: &str, phase: PhaseName, part: &str, by: Option<&str>) -> String {
    let mut record = written(version, phase);
    let fields = record["record"].as_object_mut().unwrap();
    let part = part.to_owned();
    match by {
        Some(by) => drop(fields.insert(part, by.into())),
        None if version == "2" => drop(fields.remove(&part)),
        None => drop(fields.insert(part, Value::Null)),
    }
    read(&record).expect_err("it contradicts itself")
}

#[test]
fn a_record_that_contradicts_itself_is_refused_with_what_is_the_matter() {
    use PhaseName::{Adding, Deleting, Joined, Settled, Staged};
    let (add, join, none) = ("what ADD made", "what Join decided", "nothing more");
    let both = format!("{add} and {join}");
    let removal = "how its removal goes";
    // What version 2 has is taken away, or another phase is named.
    for (phase, part, by, name, goes_with, has) in [
        (Staged, "add", None, Staged, add, none),
        (Joined, "add", None, Joined, &both, join),
        (Joined, "join", None, Joined, &both, add),
        (Settled, "join", None, Settled, &both, add),
        (Deleting, "removal", None, Deleting, removal, none),
        (Staged, "phase", Some("Adding"), Adding, none, add),
        (Staged, "phase", Some("Settled"), Settled, &both, add),
        (Staged, "phase", Some("Deleting"), Deleting, removal, add),
        (Settled, "phase", Some("Staged"), Staged, add, &both),
        (Deleting, "phase", Some("Joined"), Joined, &both, removal),
    ] {
        let refusal = refusal("2", phase, part, by);
        let expected = format!(
            "it contradicts itself: an attachment that is {name} has {goes_with}, and this one has {has}"
        );
        assert_eq!(refusal, expected);
    }
    // The same of version 1, where all that a phase has stands side by side.
    for version in ["0.1.0", "1"] {
        for (phase, part, says) in [
            (Staged, "result", "it has the interface, and not what ADD answered"),
            (Settled, "interface", "it has what ADD answered, and not the interface"),
            (
                Joined,
                "sandbox",
                "is Joined has what ADD made and what Join decided, and this one has what ADD made",
            ),
        ] {
            let refusal = refusal(version, phase, part, None);
            assert!(
                refusal.starts_with("it contradicts itself") && refusal.contains(says),
                "{refusal}"
            );
        }
        let refusal = refusal(version, Staged, "phase", Some("Joined"));
        assert!(refusal.contains("is Joined has what ADD made and what Join decided"), "{refusal}");
    }
    // A phase of a later version.
    let unknown = refusal("2", Staged, "phase", Some("Parked"));
    assert!(unknown.contains("unknown variant `Parked`"), "{unknown}");
    // A spare is nobody's, and everything else is somebody's.
    let owned = refusal("2", PhaseName::Spare, "endpoint", Some("e1"));
    assert!(owned.contains("it is a spare, and an endpoint has it"), "{owned}");
    let unowned = refusal("2", Staged, "endpoint", None);
    assert!(unowned.contains("it is Staged, and has no endpoint"), "{unowned}");
}
