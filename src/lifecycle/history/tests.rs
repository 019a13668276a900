//! Each outcome is counted once.

use super::*;
use crate::lifecycle::error::PortError;

/// A history, and the call of an endpoint on conflist `web`.
fn history(folder: &tempfile::TempDir) -> (History, Asked) {
    let history = History::new(Journal::open(folder.path()), &Arc::default());
    let (network, endpoint) = ("a1".parse().unwrap(), "e1".parse().unwrap());
    let mut asked = Asked::now("CreateEndpoint", &network, Some(&endpoint));
    asked.conflist = Some("web".to_owned());
    (history, asked)
}

/// The value of this series, without the common beginning of its name.
fn value(history: &History, series: &str) -> Option<String> {
    let text = history.metrics_text(&State::default());
    let of = |line: &str| line.strip_prefix(&format!("cnm_cni_{series} ")).map(str::to_owned);
    text.lines().find_map(of)
}

const FAILED: &str = r#"attach_duration_seconds_count{conflist="web",outcome="failed"}"#;
const NONE_FREE: &str = r#"port_conflicts_total{reason="none_free"}"#;

fn none_free() -> Error {
    PortError::NoneFree { first: 1, last: 2, protocol: "tcp" }.into()
}

#[test]
fn a_call_that_fails_before_its_attempt_counts_no_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let (history, asked) = history(&folder);
    history.ended(&asked, Err::<(), _>(Error::Stopping)).unwrap_err();
    assert_eq!(value(&history, FAILED), None);
}

#[test]
fn each_failed_attempt_counts_once_although_the_call_fails_too() {
    let folder = tempfile::tempdir().unwrap();
    let (history, mut asked) = history(&folder);
    asked.begin_attempt();
    history.attempt_failed(&mut asked);
    // The call ends without another attempt.
    history.ended(&asked, Err::<(), _>(Error::Stopping)).unwrap_err();
    assert_eq!(value(&history, FAILED).as_deref(), Some("1"));
    asked.begin_attempt();
    history.ended(&asked, Err::<(), _>(Error::Stopping)).unwrap_err();
    assert_eq!(value(&history, FAILED).as_deref(), Some("2"));
}

#[test]
fn a_port_conflict_counts_whatever_else_the_error_tells() {
    let folder = tempfile::tempdir().unwrap();
    let (history, asked) = history(&folder);
    let with_undo = none_free().undone(Err(Error::Stopping));
    for (count, error) in [(1, none_free()), (2, with_undo)] {
        history.ended(&asked, Err::<(), _>(error)).unwrap_err();
        assert_eq!(value(&history, NONE_FREE), Some(count.to_string()));
    }
    history.ended(&asked, Err::<(), _>(Error::Stopping)).unwrap_err();
    assert_eq!(value(&history, NONE_FREE).as_deref(), Some("2"));
}
