//! `cnm-cni events`, on a journal without a driver.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::{Desk, Said};

impl Desk {
    fn journal(&self, number: u32) -> PathBuf {
        self.path(&format!("state/journal/{number:08}.jsonl"))
    }

    /// Appends to a file of the journal, as a driver does.
    fn happens(&self, number: u32, text: &str) {
        let file = self.journal(number);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(file).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn events(&self, args: &[&str]) -> Said {
        let state = self.path("state").display().to_string();
        let nobody = format!("unix://{}", self.path("nobody.sock").display());
        let fixed = ["events", "--state-dir", &state, "--docker", &nobody];
        Said::by(self.command(&[&fixed, args].concat()).env("TZ", "UTC"))
    }
}

fn line(time: &str, kind: &str, endpoint: &str, container: Value) -> String {
    let id = container.as_str().map(|name| format!("c0ffee{name}"));
    let event = json!({
        "time": time, "kind": kind, "endpoint": endpoint, "network": "a1b2c3d4e5f6",
        "container": container, "container_id": id, "ms": 12.5,
        "plugins": [{"plugin": "bridge", "verb": "ADD", "ms": 9.5, "error": null}],
    });
    format!("{event}\n")
}

/// Two containers' lives, in two files.
fn desk() -> Desk {
    let desk = Desk::with(&[]);
    desk.happens(1, &line("2026-07-01T03:00:00Z", "attach", "e1", Value::Null));
    desk.happens(1, &line("2026-07-01T03:00:01Z", "name", "e1", json!("web")));
    desk.happens(2, &line("2026-07-01T03:10:00Z", "refuse", "e2", json!("db")));
    desk.happens(2, &line("2026-07-01T03:20:00Z", "detach", "e1", Value::Null));
    desk
}

/// Kind and container of each line of JSON.
fn told(said: Said) -> Vec<String> {
    let output = said.output();
    let events = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    events.map(|it| format!("{} {}", word(&it["kind"]), word(&it["container"]))).collect()
}

#[test]
fn events_are_chosen_by_time_container_kind_and_number() {
    let desk = desk();
    let json = |args: &[&str]| told(desk.events(&[&["--format", "json"], args].concat()));
    assert_eq!(json(&[]), ["attach web", "refuse db", "detach web"]);
    let between = ["--since", "2026-07-01T03:05:00Z", "--until", "2026-07-01T03:15:00Z"];
    assert_eq!(json(&between), ["refuse db"]);
    assert_eq!(json(&["--since", "2026-07-01 03:15"]), ["detach web"]);
    assert_eq!(json(&["--container", "web"]), ["attach web", "detach web"]);
    assert_eq!(json(&["--container", "c0ffeedb"]), ["refuse db"]);
    assert_eq!(json(&["--network", "a1b2"]).len(), 3);
    assert_eq!(json(&["--network", "front"]).len(), 0);
    assert_eq!(json(&["--kind", "refuse,attach", "-n", "1"]), ["refuse db"]);
    assert_eq!(json(&["--plugin", "bridge"]).len(), 3);
    assert_eq!(json(&["--plugin", "portmap"]).len(), 0);
    let table = desk.events(&[]).output();
    assert!(table.starts_with("TIME ") && table.contains("07-01 03:10:00  refuse"), "{table}");
    assert!(!desk.events(&["--no-header"]).output().contains("TIME"));
    assert!(desk.events(&["--container", "nobody"]).output().starts_with("No such events"));
}

#[test]
fn the_exact_name_of_a_container_wins_over_the_beginning_of_an_id() {
    let desk = desk();
    let json = |args: &[&str]| told(desk.events(&[&["--format", "json"], args].concat()));
    assert_eq!(json(&["--container", "c0ffeedb"]), ["refuse db"]);
    desk.happens(2, &line("2026-07-01T03:30:00Z", "attach", "e3", json!("c0ffeedb")));
    assert_eq!(json(&["--container", "c0ffeedb"]), ["attach c0ffeedb"]);
    assert_eq!(json(&["--container", "c0ffeed"]), ["refuse db"]);
}

#[test]
fn times_that_are_none_or_in_the_wrong_order_are_refused() {
    let desk = desk();
    let said = desk.events(&["--since", "yesterday"]);
    assert!(said.status == 2 && said.stderr.contains("HH:MM"), "{said:?}");
    let backwards = ["--since", "2026-07-01T03:15:00Z", "--until", "2026-07-01T03:05:00Z"];
    let error = desk.events(&backwards).error();
    assert!(error.contains("--until (2026-07-01T03:05:00Z) is before --since"), "{error}");
}

#[test]
fn what_is_damaged_is_skipped_with_a_word() {
    let desk = desk();
    desk.happens(1, "{\"time\": \x00\n");
    desk.happens(2, "{\"time\": \"2026-07-01T03:30:00Z\", \"ki");
    let said = desk.events(&["--format", "json"]);
    let notes: Vec<_> = said.stderr.lines().map(str::to_owned).collect();
    assert!(notes[0].starts_with("note: a damaged line of 00000001.jsonl is skipped"), "{notes:?}");
    assert!(notes[1].starts_with("note: a damaged line of 00000002.jsonl is skipped"), "{notes:?}");
    assert_eq!(told(said).len(), 3);
    assert_eq!(told(Desk::with(&[]).events(&["--format", "json"])).len(), 0, "no journal at all");
}

/// Killed with the test.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_follows_gets_what_is_in_the_next_file_too_and_ends_with_its_reader() {
    let desk = desk();
    let state = desk.path("state").display().to_string();
    let args = ["events", "-f", "-n", "1", "--state-dir", &state, "--format", "json"];
    let mut command = desk.command(&args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut following = Following(child);
    let mut lines = BufReader::new(following.0.stdout.take().unwrap()).lines();
    let mut next = || {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        format!("{} {}", event["kind"].as_str().unwrap(), event["container"])
    };
    assert_eq!(next(), "detach \"web\"");
    let half = line("2026-07-01T03:30:00Z", "attach", "e3", json!("late"));
    let (begin, end) = half.split_at(40);
    desk.happens(2, begin);
    desk.happens(2, end);
    assert_eq!(next(), "attach \"late\"");
    desk.happens(3, &line("2026-07-01T03:40:00Z", "detach", "e3", Value::Null));
    assert_eq!(next(), "detach \"late\"");
    drop(lines);
    desk.happens(3, &line("2026-07-01T03:50:00Z", "attach", "e4", json!("unread")));
    assert!(following.0.wait().unwrap().success());
}
