//! One plugin's execution: its environment, its bounds, and what is made of its end.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use cnm_cni::cni::{Attachment, Error, Failure, Limits, NetworkConfigList};
use serde_json::{Value, json};

use super::netns::Netns;
use super::{Bench, attachment};

/// Waits until a condition holds: much longer than it takes, and much shorter than the
/// children of the tests live.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what} never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_running(pid: &Value) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended; whoever is its parent may take a moment to reap it.
    !stat.is_empty() && !stat.contains(") Z ")
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Plugin(error) => error.failure,
        other => panic!("not a plugin's failure: {other}"),
    }
}

#[tokio::test]
async fn r14_r16_r17_r20_r40_r41_l20_l21_l23_all_six_variables_are_set_and_own_ones_are_not_inherited()
 {
    let bench = Bench::with(&["one"]);
    let list = bench.list("1.1.0", json!([{"type": "one"}]));
    let to = Attachment {
        args: vec![("IgnoreUnknown".into(), "1".into()), ("IP".into(), "10.0.0.9".into())],
        ..attachment()
    };
    bench.runtime().add(&list, &to).await.unwrap();
    bench.runtime().status(&list).await.unwrap();

    let calls = bench.calls();
    let env = |call: usize, key: &str| calls[call]["env"][key].clone();
    assert_eq!(env(0, "CNI_COMMAND"), "ADD");
    assert_eq!(env(0, "CNI_CONTAINERID"), "c1");
    assert_eq!(env(0, "CNI_NETNS"), "/some/netns");
    assert_eq!(env(0, "CNI_IFNAME"), "eth0");
    assert_eq!(env(0, "CNI_ARGS"), "IgnoreUnknown=1;IP=10.0.0.9");
    assert_eq!(env(0, "CNI_PATH"), bench.bin().to_str().unwrap());
    assert_ne!(env(0, "PATH"), Value::Null);
    for key in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"] {
        assert_eq!(env(1, key), "", "{key} of STATUS");
    }
}

#[tokio::test]
async fn r13_plugins_run_in_the_namespace_of_the_runtime_and_not_in_the_containers() {
    let bench = Bench::with(&["a"]);
    let list = bench.list("1.1.0", json!([{"type": "a"}]));
    let netns = Netns::new();
    let to = Attachment { netns: Some(netns.path()), ..attachment() };
    let runtime = bench.runtime();
    let result = runtime.add(&list, &to).await.unwrap();
    runtime.check(&list, &to, &result).await.unwrap();
    runtime.del(&list, &to, Some(&result)).await.unwrap();
    let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
    let inside = std::fs::metadata(netns.path()).unwrap().ino();
    assert_ne!(own, inside);
    for call in bench.calls() {
        assert_eq!((&call["netns"], &call["inside"]), (&json!(own), &json!(inside)), "{call}");
    }
}

#[tokio::test]
async fn l30_a_plugin_is_killed_at_its_deadline_with_its_children() {
    let bench = Bench::with(&["slow"]);
    let script = json!({"sleep_ms": 120_000, "child_holds_pipe_s": 120});
    let list = bench.list("1.0.0", json!([{"type": "slow", "fake": {"ADD": script}}]));
    let limits = Limits { add: Duration::from_secs(2), ..Limits::default() };
    let error = bench.runtime_with(limits).add(&list, &attachment()).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "plugin type=\"slow\" name=\"net\" failed (add): it did not end within 2s, and was killed"
    );
    assert!(error.needs_del());
    let call = &bench.calls()[0];
    eventually("the plugin's end", || !is_running(&call["pid"])).await;
    eventually("its child's end", || !is_running(&call["child"])).await;
}

#[tokio::test]
async fn a_dropped_operation_takes_its_plugin_and_the_children_with_it() {
    let bench = Bench::with(&["slow"]);
    let script = json!({"sleep_ms": 120_000, "child_holds_pipe_s": 120});
    let list = bench.list("1.0.0", json!([{"type": "slow", "fake": {"ADD": script}}]));
    let runtime = bench.runtime();
    let task = tokio::spawn(async move { runtime.add(&list, &attachment()).await });
    eventually("the plugin's start", || !bench.calls().is_empty()).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let call = &bench.calls()[0];
    eventually("the plugin's end", || !is_running(&call["pid"])).await;
    eventually("its child's end", || !is_running(&call["child"])).await;
}

#[tokio::test]
async fn l30_an_answer_counts_although_a_child_holds_the_pipe() {
    let bench = Bench::with(&["one"]);
    let script = json!({"child_holds_pipe_s": 120});
    let list = bench.list("1.0.0", json!([{"type": "one", "fake": {"ADD": script}}]));
    let started = Instant::now();
    bench.runtime().add(&list, &attachment()).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(30));
    let call = &bench.calls()[0];
    eventually("its child's end", || !is_running(&call["child"])).await;
}

#[tokio::test]
async fn a_flood_of_output_is_cut_off() {
    let bench = Bench::with(&["loud"]);
    let script = json!({"flood": 64 << 20});
    let list = bench.list("1.0.0", json!([{"type": "loud", "fake": {"ADD": script}}]));
    let limits = Limits { output: 1000, ..Limits::default() };
    let error = bench.runtime_with(limits).add(&list, &attachment()).await.unwrap_err();
    assert!(matches!(failure(error), Failure::TooMuchOutput { limit: 1000 }));
}

#[tokio::test]
async fn r56_l27_a_flood_of_errors_is_shortened_and_reported() {
    let bench = Bench::with(&["loud"]);
    let script = json!({"flood_stderr": 10 << 20, "exit": 1});
    let list = bench.list("1.0.0", json!([{"type": "loud", "fake": {"ADD": script}}]));
    let error = bench.runtime().add(&list, &attachment()).await.unwrap_err();
    assert_eq!(error.plugin().unwrap().stderr.len(), 64 << 10);
}

/// A plugin folder with one shell script in it, as the plugin `script`.
fn script(text: &str) -> (tempfile::TempDir, cnm_cni::cni::Runtime, NetworkConfigList) {
    let dir = tempfile::TempDir::new().unwrap();
    write_executable(&dir.path().join("script"), text);
    let list = r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"script","pad":"PAD"}]}"#;
    // More than a pipe holds.
    let list = list.replace("PAD", &"x".repeat(1 << 20));
    let runtime = cnm_cni::cni::Runtime::new(vec![dir.path().to_owned()], Limits::default());
    (dir, runtime, NetworkConfigList::parse(list.as_bytes()).unwrap())
}

pub(crate) fn write_executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_plugin_need_not_read_its_configuration() {
    let (_dir, runtime, list) =
        script("#!/bin/sh\necho '{\"ips\":[{\"address\":\"10.0.0.2/8\"}]}'\n");
    let result = runtime.add(&list, &attachment()).await.unwrap();
    assert_eq!(result.ips.len(), 1);
}

#[tokio::test]
async fn a_large_configuration_and_a_large_answer_do_not_wait_for_each_other() {
    let (_dir, runtime, list) =
        script("#!/bin/sh\nhead -c 500000 /dev/zero | tr '\\0' ' '\necho '{}'\ncat >/dev/null\n");
    runtime.add(&list, &attachment()).await.unwrap();
}

#[tokio::test]
async fn l25_an_executable_that_stays_busy_ends_in_an_error() {
    let (dir, runtime, list) = script("#!/bin/sh\necho '{}'\n");
    let writer = std::fs::OpenOptions::new().append(true).open(dir.path().join("script")).unwrap();
    let error = runtime.add(&list, &attachment()).await.unwrap_err();
    assert!(!error.needs_del());
    assert!(error.to_string().contains("another process has it open for writing"), "{error}");
    drop(writer);
    runtime.add(&list, &attachment()).await.unwrap();
}

#[tokio::test]
async fn l25_an_executable_that_is_busy_for_a_moment_is_waited_for() {
    let (dir, runtime, list) = script("#!/bin/sh\necho '{}'\n");
    let writer = std::fs::OpenOptions::new().append(true).open(dir.path().join("script")).unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(writer);
    };
    let to = attachment();
    let (added, ()) = tokio::join!(runtime.add(&list, &to), release);
    added.unwrap();
}

#[tokio::test]
async fn l24_a_missing_plugin_is_reported_before_any_plugin_is_run() {
    let bench = Bench::with(&["one"]);
    std::fs::write(bench.bin().join("data"), "not a program").unwrap();
    for missing in ["absent", "data"] {
        let list = bench.list("1.0.0", json!([{"type": "one"}, {"type": missing}]));
        let error = bench.runtime().add(&list, &attachment()).await.unwrap_err();
        let bin = bench.bin();
        let bin = bin.to_str().unwrap();
        let unusable = match missing {
            "data" => format!(" ({bin}/data cannot be executed)"),
            _ => String::new(),
        };
        assert_eq!(
            error.to_string(),
            format!(
                "plugin type=\"{missing}\" name=\"net\" failed (add): failed to find plugin \
                 \"{missing}\" in path [{bin}]{unusable}; install it there, or add its folder \
                 with --cni-path"
            )
        );
        assert!(!error.needs_del());
    }
    assert!(bench.calls().is_empty());
}
