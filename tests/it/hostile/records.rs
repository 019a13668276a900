//! A local user could write the state folder once, or a disk gave back what was never written.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::{Site, chmod, scripted};
use crate::alone::alone;

/// What is done to a record.
type Plant<'a> = &'a dyn Fn(&Path);

/// Has the record say something else.
fn tamper(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut json["record"]);
    fs::write(file, json.to_string()).unwrap();
}

#[test]
fn a_planted_record_is_set_aside_and_nothing_of_it_is_done() {
    alone(async {
        let mut site = Site::with(json!([scripted()])).await;
        let precious = site.path("precious");
        fs::write(&precious, "precious").unwrap();
        let plants: [(&str, Plant<'_>); 8] = [
            ("another file is unmounted and removed", &|file| {
                tamper(file, |it| it["staging"] = json!(precious));
            }),
            ("plugins are told of another namespace", &|file| {
                tamper(file, |it| it["parameters"]["netns"] = json!("/proc/1/ns/net"));
            }),
            ("plugins are told of another container", &|file| {
                tamper(file, |it| it["parameters"]["container_id"] = json!("somebody-elses"));
            }),
            ("plugins are told of another interface", &|file| {
                tamper(file, |it| it["parameters"]["if_name"] = json!("eth0"));
            }),
            ("it is another user's", &|file| chown(file, Some(65534), None).unwrap()),
            ("others can write it", &|file| chmod(file, 0o666)),
            ("others may have it open by another name", &|file| {
                fs::hard_link(file, file.with_extension("other")).unwrap();
            }),
            ("it has another's name", &|file| {
                fs::rename(file, file.with_file_name("0198c0de-0000-7000-8000-0000000000a1.json"))
                    .unwrap();
            }),
        ];
        for (what, plant) in plants {
            site.create_endpoint("e1").await.unwrap();
            let [record] = site.records().try_into().expect("one record");
            let sound = fs::read(&record).unwrap();
            let name = record.file_name().unwrap().to_owned();
            tamper(&record, |it| {
                let add = it.as_object_mut().unwrap().remove("add").expect("what ADD made");
                let (result, snapshot) = (&add["result"], &add["snapshot"]);
                it["phase"] = json!("Deleting");
                it["removal"] = json!({"since": 0, "attempts": 0, "error": null, "result": result,
                                       "snapshot": snapshot});
            });
            plant(&record);
            let before = site.calls();
            site.restart().await;
            assert_eq!(site.calls(), before, "{what}: its plugins were run");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{what}");
            let left = site.records();
            let aside = |it: &&std::path::PathBuf| it.to_string_lossy().ends_with(".unreadable");
            assert_eq!(left.iter().filter(aside).count(), 1, "{what}: {left:?}");

            // As it was, it is believed, and what it made is removed.
            left.iter().for_each(|file| fs::remove_file(file).unwrap());
            fs::write(site.config.state_dir.join("attachments").join(name), sound).unwrap();
            site.restart().await;
            site.delete_endpoint("e1").await;
            assert!(site.records().is_empty(), "{what}: {:?}", site.records());
        }
    });
}

#[test]
fn what_is_no_file_among_the_records_neither_hangs_the_start_nor_stops_it() {
    alone(async {
        let mut site = Site::with(json!([scripted()])).await;
        let folder = site.config.state_dir.join("attachments");
        mkfifo(&folder.join("fifo.json"), Mode::S_IRWXU).unwrap();
        let zero = makedev(1, 5);
        mknod(&folder.join("zero.json"), SFlag::S_IFCHR, Mode::S_IRWXU, zero).unwrap();
        fs::write(folder.join("large.json"), vec![b' '; (16 << 20) + 1]).unwrap();
        for name in ["folder.json.tmp/in", "folder.json/in", "folder.json.unreadable/in"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("half.json.tmp"), "{").unwrap();
        site.restart().await;
        assert_eq!(site.records().len(), 6, "{:?}", site.records());
        assert!(site.records().iter().all(|it| it.to_string_lossy().ends_with(".unreadable")));
        site.create_endpoint("e1").await.unwrap();
        site.delete_endpoint("e1").await;
        site.restart().await;
        assert_eq!(site.records().len(), 6);
    });
}
