//! Records that exist when a driver starts: of each phase, as each version wrote it. None is forgotten.
//! Interrupted attachments are removed, and the attachment of a container continues until Docker deletes
//! it.

use std::fs;
use std::path::{Path, PathBuf};

use cnm_cni::lifecycle::{Collection, Outcome, PhaseName};
use serde_json::{Value, json};

use super::phases::Log;
use super::{Bench, scripted};
use crate::alone::{alone, sh};

/// The versions that have written records.
const VERSIONS: [&str; 3] = ["0.1.0", "1", "2"];

/// The phases that a version knows.
fn phases_of(version: &str) -> impl Iterator<Item = PhaseName> {
    let has_spares = version == "2";
    PhaseName::ALL.into_iter().filter(move |phase| has_spares || *phase != PhaseName::Spare)
}

/// The record of an attachment in that phase, by that version; `FOLDER` in it stands for the folder of
/// the test, `BOOT` for the boot.
fn written(version: &str, phase: PhaseName) -> Value {
    let name = phase.to_string().to_lowercase();
    let file = format!("tests/fixtures/attachments/{version}/{name}.json");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Puts a record among those of a driver, and returns where.
fn plant(bench: &Bench, record: &Value) -> PathBuf {
    let text = record.to_string().replace("FOLDER", &bench.folder.path().to_string_lossy());
    let text = text.replace("BOOT", sh("cat /proc/sys/kernel/random/boot_id").trim());
    let id = record["record"]["id"].as_str().unwrap();
    let file = bench.config.state_dir.join("attachments").join(format!("{id}.json"));
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn an_attachment_of_every_version_and_phase_goes_on_and_is_ended_by_its_del() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        for version in VERSIONS {
            for phase in phases_of(version) {
                let told = format!("{phase} of {version}");
                let record = written(version, phase);
                let (id, if_name) =
                    (&record["record"]["id"], &record["record"]["parameters"]["if_name"]);
                let _ = fs::remove_file(bench.log());
                plant(&bench, &record);
                bench.restart().await;
                // This driver is to have no spares.
                if !matches!(phase, PhaseName::Adding | PhaseName::Spare | PhaseName::Deleting) {
                    assert_eq!(bench.verbs(), [] as [&str; 0], "{told}: it goes on");
                    let answer = bench.create_endpoint("e1").await.unwrap();
                    let address = answer.interface.address.unwrap().to_string();
                    assert_eq!(address, "10.22.3.7/16", "{told}");
                    assert_eq!(bench.verbs(), [] as [&str; 0], "{told}: it is known");
                    bench.delete_endpoint("e1").await;
                }
                assert_eq!(bench.verbs(), ["DEL"], "{told}");
                let del = &bench.calls()[0];
                assert_eq!(del["env"]["CNI_CONTAINERID"], *id, "{told}");
                assert_eq!(del["env"]["CNI_IFNAME"], *if_name, "{told}");
                // It gets ADD's result, and finds what ADD left.
                let was_added = phase != PhaseName::Adding;
                assert_eq!(del["stdin"].get("prevResult").is_some(), was_added, "{told}");
                let live = match phase {
                    PhaseName::Adding => Value::Null,
                    // After a DEL that failed, the addresses that the host has rules for: none.
                    PhaseName::Deleting => Value::Null,
                    _ => json!(["10.22.3.7/16", "fd00:22::7/64"]),
                };
                assert_eq!(del["live"], live, "{told}");
                bench.assert_nothing_is_left();
            }
        }
    });
}

#[test]
fn an_attachment_of_0_1_0_is_collected_when_its_container_has_ended() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        let record = written("0.1.0", PhaseName::Settled);
        plant(&bench, &record);
        bench.restart().await;
        // Its id shows that it is old.
        let wanted = Collection { apply: true, grace: 600, exclusive: false };
        let found = bench.driver.collect(&wanted).await.unwrap();
        let id = record["record"]["id"].as_str().unwrap();
        assert_eq!(found[0].what, format!("attachment {id}"));
        assert_eq!(found[0].outcome, Outcome::Removed, "{found:?}");
        assert_eq!(bench.verbs(), ["DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_record_that_contradicts_itself_is_set_aside_and_nothing_of_it_is_done() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        // The valid record beside it is handled nevertheless.
        let sound = plant(&bench, &written("1", PhaseName::Deleting));
        let mut records = Vec::new();
        for (version, phase, part, by) in [
            ("2", PhaseName::Staged, "add", None),
            ("2", PhaseName::Joined, "join", None),
            ("2", PhaseName::Deleting, "removal", None),
            ("2", PhaseName::Settled, "phase", Some("Adding")),
            ("0.1.0", PhaseName::Joined, "sandbox", None),
        ] {
            let mut record = written(version, phase);
            let id = format!("{:032x}", 0x4000_8000_0000_0000_0000_u128 + records.len() as u128);
            let text = record.to_string();
            let old = record["record"]["id"].as_str().unwrap().to_owned();
            record = serde_json::from_str(&text.replace(&old, &id)).unwrap();
            let fields = record["record"].as_object_mut().unwrap();
            match by {
                Some(by) => drop(fields.insert(part.to_owned(), by.into())),
                None => drop(fields.remove(part)),
            }
            let file = plant(&bench, &record);
            records.push((fs::read(&file).unwrap(), file));
        }
        let log = Log::listen();
        bench.restart().await;
        assert_eq!(bench.verbs(), ["DEL"]);
        assert!(!sound.exists());
        let text = log.text();
        for (content, file) in &records {
            let mut aside = file.clone().into_os_string();
            aside.push(".unreadable");
            assert!(!file.exists(), "{}", file.display());
            assert_eq!(fs::read(&aside).unwrap(), *content, "{}", file.display());
            let told = text.lines().find(|line| line.contains(aside.to_str().unwrap())).unwrap();
            for part in
                ["ERROR", "it contradicts itself", "once the container is gone, remove the file"]
            {
                assert!(told.contains(part), "{told}");
            }
        }
        // They are garbage after somebody has looked at them and removed them.
        let wanted = Collection { apply: true, grace: 0, exclusive: false };
        assert_eq!(bench.driver.collect(&wanted).await.unwrap(), []);
        assert_eq!(bench.records().len(), records.len());
    });
}
