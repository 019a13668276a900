//! What is there for the operator's other programs: alert rules and a dashboard.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::process::Daemon;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder with Debian's `prometheus` and `promtool`.
pub(crate) fn prometheus() -> PathBuf {
    let found = Command::new(file("tests/testbed/prometheus")).output().unwrap();
    let said = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{said}");
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
}

/// Runs promtool, which must be content, and tells what it said.
pub(crate) fn promtool(args: &[&str], stdin: &str) -> String {
    let mut tool = Command::new(prometheus().join("promtool"))
        .args(args)
        .current_dir(file("contrib/prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let ended = tool.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(ended.status.success(), "promtool {args:?}: {said}");
    said
}

/// The texts behind a key of a YAML file, on its own lines.
fn behind<'y>(yaml: &'y str, key: &'y str) -> impl Iterator<Item = &'y str> {
    yaml.lines().filter_map(move |line| line.trim().strip_prefix(key)).map(str::trim)
}

/// The expressions of the dashboard, with an actual host and time instead of its variables.
pub(crate) fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(file("contrib/grafana/cnm-cni.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions = targets.map(|target| {
        let expression = target["expr"].as_str().unwrap();
        expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
    });
    expressions.collect()
}

/// The names of metrics in the alerts and in the dashboard, without what Prometheus adds to a histogram's.
pub(crate) fn named() -> BTreeSet<String> {
    let mut text = fs::read_to_string(file("contrib/prometheus/alerts.yml")).unwrap();
    text.extend(dashboard());
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_name(c)).filter(|word| word.starts_with("cnm_cni_"));
    words
        .map(|word| {
            let ends = ["_bucket", "_sum", "_count"];
            ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn promtool_accepts_the_alerts_and_each_fires_in_its_test() {
    let said = promtool(&["check", "rules", "alerts.yml"], "");
    assert!(said.contains("SUCCESS"), "{said}");
    let said = promtool(&["test", "rules", "alerts_test.yml"], "");
    assert!(said.contains("SUCCESS"), "{said}");

    let rules = fs::read_to_string(file("contrib/prometheus/alerts.yml")).unwrap();
    let tests = fs::read_to_string(file("contrib/prometheus/alerts_test.yml")).unwrap();
    let alerts: Vec<_> = behind(&rules, "- alert:").collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let fires = format!("{{labels: '{{alertname=\"{alert}\", instance=");
        assert!(tests.contains(&fires), "no test has {alert} fire");
    }
}

#[test]
fn the_alerts_and_the_dashboard_name_metrics_of_the_documentation() {
    let page = fs::read_to_string(file("docs/operations.md")).unwrap();
    let named = named();
    assert!(named.len() > 25, "{named:?}");
    for name in named {
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not documented");
    }
}

#[tokio::test]
async fn promtool_finds_no_fault_in_the_metrics_of_a_driver_that_has_just_begun() {
    let folder = tempfile::tempdir().unwrap();
    let _daemon = Daemon::start(folder.path(), &[]).await;
    let mut ask = Command::new(env!("CARGO_BIN_EXE_cnm-cni"));
    ask.env_clear().args(["metrics", "--socket"]).arg(folder.path().join("cni.sock"));
    let text = String::from_utf8(ask.output().unwrap().stdout).unwrap();
    assert!(text.contains("cnm_cni_build_info"), "{text}");
    assert_eq!(promtool(&["check", "metrics"], &text), "");
}
