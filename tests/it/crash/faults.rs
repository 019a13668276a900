//! The same life with everything else that goes wrong: plugins, disks, namespaces, a reboot.

use std::fs;

use serde_json::{Value, json};

use super::site::{Life, Site};
use super::{ENDPOINT, Machine, files};
use crate::alone::{alone, sh};

/// Plays a life in which the plugins go wrong, and fails if anything is left of it.
async fn with_plugins_that(scripts: Value, flags: &[&str]) -> Machine {
    let mut machine = Machine::new(&scripts).await;
    machine.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
    machine.start(None).await;
    machine.life().await;
    assert_eq!(machine.end().await, None, "{scripts}");
    machine
}

#[test]
fn nothing_is_left_whatever_a_plugin_does() {
    alone(async {
        let faults = [
            json!({"exit": 1, "times": 1}),
            json!({"exit": 1, "times": 1, "after_work": true}),
            json!({"exit": 1, "times": 1, "stdout": "garbage"}),
            json!({"stdout": "garbage", "times": 1, "after_work": true}),
            json!({"sleep_ms": 30_000, "times": 1}),
            json!({"flood": 4 << 20, "times": 1}),
        ];
        let mut lives = 0;
        for fault in &faults {
            for plugin in ["first", "second"] {
                for verb in ["ADD", "DEL"] {
                    with_plugins_that(json!({plugin: {verb: fault}}), &["--plugin-timeout=1"])
                        .await;
                    lives += 1;
                }
            }
        }
        println!("{lives} lives with a plugin that fails, babbles, hangs or floods");
    });
}

#[test]
fn a_plugin_that_is_missing_for_a_while_is_waited_for() {
    alone(async {
        for plugin in ["first", "second"] {
            let mut machine = Machine::new(&Value::Null).await;
            machine.start(None).await;
            machine.begin().await;
            let (there, away) = (machine.path("bin").join(plugin), machine.path("away"));
            fs::rename(&there, &away).unwrap();
            machine.finish().await;
            assert_eq!(files(&machine.path("state/attachments")).len(), 1, "an orphan");
            fs::rename(&away, &there).unwrap();
            assert_eq!(machine.end().await, None, "{plugin}");
        }
    });
}

#[test]
fn a_full_disk_fails_calls_and_loses_nothing() {
    alone(async {
        let mut machine = Machine::new(&Value::Null).await;
        let state = machine.path("state");
        fs::create_dir(&state).unwrap();
        sh(&format!("mount -t tmpfs -o size=128k tmpfs {}", state.display()));
        machine.start(None).await;
        let fill =
            format!("dd if=/dev/zero of={}/fill bs=1k count=1000 2>&1 || true", state.display());
        let free = format!("rm {}/fill", state.display());

        sh(&fill);
        assert!(!machine.begin().await, "nothing can be kept");
        sh(&free);
        assert!(machine.begin().await);
        sh(&fill);
        // What is there already stays as it is, also over a restart.
        machine.kill().await;
        machine.start(None).await;
        assert_eq!(files(&state.join("attachments")).len(), 1);
        machine.finish().await;
        sh(&free);
        machine.forgotten().await;
        machine.kill().await;
        sh(&format!("cp -r {0} {0}.copy; umount {0}; rmdir {0}; mv {0}.copy {0}", state.display()));
        machine.start(None).await;
        assert_eq!(machine.end().await, None);
    });
}

#[test]
fn a_state_folder_that_turns_read_only_fails_calls_and_loses_nothing() {
    alone(async {
        let mut machine = Machine::new(&Value::Null).await;
        machine.start(None).await;
        let folders = ["attachments", "networks"];
        let folders = folders.map(|name| machine.path("state").join(name).display().to_string());
        for folder in &folders {
            sh(&format!("mount --bind {folder} {folder}"));
        }
        let remount = |how: &str| {
            for folder in &folders {
                sh(&format!("mount -o remount,bind,{how} {folder}"));
            }
        };
        remount("ro");
        assert!(!machine.begin().await, "nothing can be kept");
        remount("rw");
        assert!(machine.begin().await);
        remount("ro");
        machine.finish().await;
        remount("rw");
        machine.remove_network().await;
        for folder in &folders {
            sh(&format!("umount {folder}"));
        }
        assert_eq!(machine.end().await, None);
    });
}

#[test]
fn what_is_deleted_under_the_driver_is_not_missed() {
    alone(async {
        // The container's interface, and its namespace.
        for deletion in ["nsenter --net=SANDBOX ip link delete eth0", "umount SANDBOX"] {
            let mut machine = Machine::new(&Value::Null).await;
            machine.start(None).await;
            machine.begin().await;
            sh(&deletion.replace("SANDBOX", &machine.path("sandbox").to_string_lossy()));
            machine.dockerd.lost_its_interface(ENDPOINT);
            machine.finish().await;
            assert_eq!(machine.end().await, None, "{deletion}");
        }

        // The staging namespace.
        let mut machine = Machine::new(&Value::Null).await;
        machine.start(None).await;
        machine.begin().await;
        for pin in files(&machine.path("run/netns")) {
            sh(&format!("umount {pin} && rm {pin}"));
        }
        machine.finish().await;
        assert_eq!(machine.end().await, None);
    });
}

#[test]
fn nothing_is_left_of_a_bridge_that_was_killed_between_its_rules() {
    alone(async {
        let site = Site::with_spares(0).await;
        let mut driver = site.start().await;
        site.make_network().await;
        let life = Life::begin(&site, ENDPOINT).await.unwrap();
        driver.kill().await.unwrap();
        // DEL deletes the interface, then the rule that leads to the chain of the attachment, then the chain.
        let sandbox = site.path("sandboxes").join(ENDPOINT);
        sh(&format!("nsenter --net={} ip link delete eth0", sandbox.display()));
        let jump = sh("iptables -t nat -S POSTROUTING | grep ' id: '");
        sh(&format!("iptables -t nat -D {}", jump.trim().trim_start_matches("-A ")));
        assert!(sh("iptables -t nat -S").contains(" id: "), "the chain is there");
        driver = site.start().await;
        life.lost_its_interface().end(&site).await;
        site.nothing_is_left().await;
        driver.kill().await.unwrap();
    });
}

#[test]
fn after_a_reboot_with_dockerd_nothing_is_left() {
    alone(async {
        let mut machine = Machine::new(&Value::Null).await;
        machine.start(None).await;
        machine.begin().await;
        machine.kill().await;
        // Namespaces, interfaces, rules and run-time files go; records and leases do not.
        sh(&format!(
            "umount {0}/sandbox {0}/run/netns/*; rm -r {0}/sandbox {0}/run; nft flush ruleset",
            machine.folder.path().display()
        ));
        let boot_id = sh("cat /proc/sys/kernel/random/boot_id");
        for record in files(&machine.path("state/attachments")) {
            let text = fs::read_to_string(&record).unwrap();
            assert!(text.contains(boot_id.trim()));
            fs::write(&record, text.replace(boot_id.trim(), "another")).unwrap();
        }
        assert!(machine.path("lease").exists());
        machine.start(None).await;
        // The new dockerd knows of no endpoint; its user removes the network.
        machine.remove_network().await;
        assert_eq!(machine.end().await, None);
    });
}

#[test]
fn after_a_reboot_the_reference_plugins_give_everything_back() {
    alone(async {
        let site = Site::new().await;
        let mut driver = site.start().await;
        site.make_network().await;
        Life::begin(&site, ENDPOINT).await.unwrap();
        // Beside the container there is a spare for the next one.
        let records = || files(&site.path("state/attachments")).into_iter();
        let is_spare = |file: &String| {
            fs::read_to_string(file).is_ok_and(|text| text.contains("\"phase\":\"Spare\""))
        };
        site.until("a spare is on record", || records().any(|file| is_spare(&file))).await;
        driver.kill().await.unwrap();
        let pins = files(&site.path("run/netns")).into_iter().chain(files(&site.path("sandboxes")));
        for pin in pins {
            sh(&format!("umount {pin}; rm {pin}"));
        }
        sh("ip link delete soak0; nft flush ruleset");
        let boot_id = sh("cat /proc/sys/kernel/random/boot_id");
        for record in files(&site.path("state/attachments")) {
            let text = fs::read_to_string(&record).unwrap();
            fs::write(&record, text.replace(boot_id.trim(), "another")).unwrap();
        }
        driver = site.start().await;
        site.until("the record goes", || files(&site.path("state/attachments")).is_empty()).await;
        sh("ip link add soak0 type bridge");
        site.nothing_is_left().await;
        driver.kill().await.unwrap();
    });
}
