//! The driver ends while plugins publish ports in the background.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Machine, PATIENCE, files};
use crate::alone::alone;

/// A container that has joined, and whose ports are being published; and the driver, which runs.
async fn publishing() -> Machine {
    let slow = json!({"second": {"ADD": {"with_ports": true, "sleep_ms": 700}}});
    let mut machine = Machine::with_a_spare(&slow).await;
    machine.start(None).await;
    assert!(machine.join().await);
    assert!(machine.is_publishing());
    machine
}

impl Machine {
    /// Whether plugins publish the container's ports, by its record.
    fn is_publishing(&self) -> bool {
        let records = files(&self.path("state/attachments")).into_iter();
        let records = records.filter_map(|file| fs::read(file).ok());
        let mut records = records.filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
        let of_container = records.find(|record| !record["record"]["endpoint"].is_null());
        of_container.expect("a record")["record"]["publishing"].as_bool().unwrap_or_default()
    }

    /// The verbs of the runs that got ports.
    fn runs_with_ports(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("plugin.log")).unwrap_or_default();
        let calls = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        calls
            .filter(|call| !call["stdin"]["runtimeConfig"]["portMappings"].is_null())
            .map(|call| call["command"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn ports_that_a_killed_driver_had_begun_to_publish_are_published_again_before_docker_is_told() {
    alone(async {
        let mut machine = publishing().await;
        machine.kill().await;
        assert!(machine.is_publishing());
        machine.start(None).await;
        assert!(machine.program().await);
        assert_eq!(machine.runs_with_ports(), ["ADD", "DEL", "ADD"]);
        // They are published once, and whatever driver comes next knows.
        let deadline = Instant::now() + PATIENCE;
        while machine.is_publishing() {
            assert!(Instant::now() < deadline, "it is not on record");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        machine.kill().await;
        machine.start(None).await;
        assert!(machine.program().await);
        assert_eq!(machine.runs_with_ports().len(), 3);
        machine.finish().await;
        assert_eq!(machine.end().await, None);
    });
}

#[test]
fn a_driver_that_is_stopped_ends_once_the_ports_are_published() {
    alone(async {
        let mut machine = publishing().await;
        let driver = machine.driver.take().expect("a driver");
        driver.signal(Signal::SIGTERM);
        let (status, log) = driver.end().await;
        assert!(status.success(), "{status}: {log}");
        assert!(!machine.is_publishing());
        machine.start(None).await;
        assert!(machine.program().await);
        assert_eq!(machine.runs_with_ports(), ["ADD"]);
        machine.finish().await;
        assert_eq!(machine.end().await, None);
    });
}
