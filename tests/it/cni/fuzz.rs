//! The fuzz targets of `fuzz/`, without libFuzzer: each is run 8,000 times, on arbitrary
//! bytes and on seeds that were tampered with, as bytes and as JSON.
//!
//! The inputs differ from run to run; a failure prints the smallest one that was found.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;

#[path = "../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "to libFuzzer it is a library")]
mod targets;

/// How often each target is run.
const EXECUTIONS: u32 = 8_000;

#[test]
fn no_conflist_upsets_the_engine() {
    run(targets::conflist, "conflist");
}

#[test]
fn r52_no_result_upsets_the_engine() {
    run(targets::result, "result");
}

#[test]
fn r55_no_error_of_a_plugin_upsets_the_engine() {
    run(targets::plugin_error, "plugin_error");
}

#[test]
fn r16_no_cni_args_upset_the_engine() {
    run(targets::cni_args, "cni_args");
}

#[test]
fn no_record_upsets_the_driver() {
    run(targets::record, "record");
}

#[test]
fn no_options_upset_the_driver() {
    run(targets::options, "options");
}

#[test]
fn half_of_the_tampered_results_are_still_json() {
    let mut runner = TestRunner::deterministic();
    let strategy = tampered(seeds("result"));
    let sound = (0..1000).filter(|_| {
        let bytes = strategy.new_tree(&mut runner).unwrap().current();
        serde_json::from_slice::<Value>(&bytes).is_ok()
    });
    assert!((300..900).contains(&sound.count()));
}

fn run(target: fn(&[u8]), seeds_of: &str) {
    let config = ProptestConfig {
        cases: EXECUTIONS,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let inputs = prop_oneof![1 => vec(any::<u8>(), 0..48), 4 => tampered(seeds(seeds_of))];
    let ended = TestRunner::new(config).run(&inputs, |bytes| {
        target(&bytes);
        Ok(())
    });
    if let Err(error) = ended {
        panic!("{error}");
    }
}

/// What libFuzzer begins with, too.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One change of an input. Where it does not apply, it changes nothing.
#[derive(Debug, Clone)]
enum Change {
    /// Other bits in one byte.
    Flip(Index, u8),
    Cut(Index, Index),
    Repeat(Index, Index),
    Insert(Index, &'static str),
    /// In the place of one value of the JSON, whichever, stands this text.
    Value(Index, &'static str),
    /// In the place of one key of the JSON, whichever, stands this one.
    Key(Index, &'static str),
}

const VALUES: &[&str] = &[
    "null",
    "true",
    "{}",
    "[]",
    "[null]",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\"",
    "\"true\"",
    "\"a/../b\"",
    "-0",
    "-1",
    "1e999",
    "0.1000000000000000000000001",
    "18446744073709551616",
    "4294967296",
    "\"1.1.0\"",
    "\"0.2.0\"",
    "\"1.1.0.0\"",
    "\"0.0.0.0/33\"",
    "\"::ffff:10.0.0.1/96\"",
    "\"10.0.0.1\"",
    "{\"type\": \"a\"}",
    "{\"dst\": \"::/0\"}",
];

const KEYS: &[&str] = &[
    "",
    "cniVersion",
    "CNIVERSION",
    "name",
    "type",
    "ipam",
    "plugins",
    "capabilities",
    "prevResult",
    "ips",
    "ip4",
    "ip6",
    "dns",
    "routes",
    "version",
    "address",
    "interface",
    "code",
    "msg",
    "\u{212a}ey",
];

const TEXTS: &[&str] = &[
    "\0", "\n", ";", "=", ":", "\"", "\\", "\\u", "{", "}", "[", "]", ",", "\u{feff}", "é", "A=b;",
];

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        1 => (place(), 1..=u8::MAX).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => (place(), place()).prop_map(|(from, to)| Change::Cut(from, to)),
        1 => (place(), place()).prop_map(|(from, to)| Change::Repeat(from, to)),
        1 => (place(), select(TEXTS)).prop_map(|(at, text)| Change::Insert(at, text)),
        4 => (place(), select(VALUES)).prop_map(|(at, value)| Change::Value(at, value)),
        2 => (place(), select(KEYS)).prop_map(|(at, key)| Change::Key(at, key)),
    ]
}

fn tampered(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (select(seeds), vec(change(), 1..5)).prop_map(|(mut bytes, mut changes)| {
        // First what needs JSON, before it is broken.
        changes.sort_by_key(|change| !matches!(change, Change::Value(..) | Change::Key(..)));
        for change in changes {
            bytes = changed(bytes, &change);
        }
        bytes
    })
}

fn changed(mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    let (end, place) = (bytes.len(), |at: &Index| at.index(bytes.len() + 1));
    let between = |from, to| place(from).min(place(to))..place(from).max(place(to));
    match change {
        Change::Flip(at, bits) => {
            let at = place(at).min(end.saturating_sub(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bits;
            }
        }
        Change::Cut(from, to) => {
            let cut = between(from, to);
            bytes.drain(cut);
        }
        Change::Repeat(from, to) => {
            let repeated = between(from, to);
            bytes.extend_from_within(repeated);
        }
        Change::Insert(at, text) => {
            let at = place(at);
            bytes.splice(at..at, text.bytes());
        }
        Change::Value(at, text) => {
            if let Ok(mut json) = serde_json::from_slice::<Value>(&bytes) {
                let chosen = at.index(count(&json));
                *nth(&mut json, &mut chosen.clone()).unwrap() = serde_json::from_str(text).unwrap();
                return json.to_string().into_bytes();
            }
        }
        Change::Key(at, key) => {
            if let Ok(mut json) = serde_json::from_slice::<Value>(&bytes) {
                let chosen = at.index(count(&json));
                let inside = nth(&mut json, &mut chosen.clone()).and_then(Value::as_object_mut);
                if let Some(object) = inside
                    && let Some(old) = object.keys().next_back().cloned()
                    && let Some(value) = object.remove(&old)
                {
                    object.insert((*key).to_owned(), value);
                }
                return json.to_string().into_bytes();
            }
        }
    }
    bytes
}

/// How many values there are in `json`, with itself.
fn count(json: &Value) -> usize {
    1 + match json {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(object) => object.values().map(count).sum(),
        _ => 0,
    }
}

/// The value in `json` that comes after `skip` others; `skip` is counted down.
fn nth<'a>(json: &'a mut Value, skip: &mut usize) -> Option<&'a mut Value> {
    if *skip == 0 {
        return Some(json);
    }
    *skip -= 1;
    match json {
        Value::Array(list) => list.iter_mut().find_map(|inner| nth(inner, skip)),
        Value::Object(object) => object.values_mut().find_map(|inner| nth(inner, skip)),
        _ => None,
    }
}
