//! The driver ends while plugins publish ports in the background: they go on without it, and Docker goes on with
//! whatever it does next.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{ENDPOINT, Machine, PATIENCE, files};
use crate::alone::{alone, sh};

/// A machine on which ports are published slowly.
async fn slow() -> Machine {
    let slow = json!({"second": {"ADD": {"with_ports": true, "sleep_ms": 700}}});
    Machine::with_a_spare(&slow).await
}

/// A container that has joined, and whose ports are being published; and the driver, which runs.
async fn publishing() -> Machine {
    let mut machine = slow().await;
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

    /// Waits until it is on record that the ports are published.
    async fn has_published(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.is_publishing() {
            assert!(Instant::now() < deadline, "it is not on record");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
        machine.has_published().await;
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

#[test]
fn nothing_is_left_wherever_the_driver_dies_while_plugins_publish() {
    alone(async {
        for point in [
            "spare: claimed/1",
            "ports: publish/1",
            // Once for the spare, and now for its ports.
            "second: runs/2",
            "ADD second: ended/2",
            "ports: published/1",
            "/NetworkDriver.CreateEndpoint: done/1",
            "/NetworkDriver.Join: asked/1",
            "/NetworkDriver.Join: done/1",
            "/NetworkDriver.ProgramExternalConnectivity: asked/1",
            "/NetworkDriver.ProgramExternalConnectivity: done/1",
        ] {
            let mut machine = slow().await;
            machine.start(Some(point)).await;
            machine.life().await;
            assert_eq!(machine.end().await, None, "{point}");
        }
    });
}

#[test]
fn a_container_that_ends_instead_of_asking_for_its_ports_leaves_nothing() {
    alone(async {
        for is_up in [true, false] {
            let mut machine = publishing().await;
            if is_up {
                machine.kill().await;
                machine.start(None).await;
            } else {
                // The next one starts with Docker's next call.
                machine.driver.as_ref().expect("a driver").signal(Signal::SIGKILL);
            }
            machine.finish().await;
            assert_eq!(machine.end().await, None, "the driver is up: {is_up}");
            assert_eq!(machine.runs_with_ports().last().unwrap(), "DEL");
        }
    });
}

#[test]
fn nothing_is_left_of_a_container_that_ended_with_dockerd_and_the_driver_while_plugins_published() {
    alone(async {
        let mut machine = publishing().await;
        machine.kill().await;
        let sandbox = machine.path("sandbox").display().to_string();
        sh(&format!("umount {sandbox}; rm {sandbox}"));
        machine.dockerd.lost_its_interface(ENDPOINT);
        machine.start(None).await;
        // The new dockerd does not know the endpoint, and its user removes the network.
        (machine.joined, machine.endpoint) = (false, false);
        machine.has_published().await;
        machine.collect().await;
        machine.remove_network().await;
        assert_eq!(machine.end().await, None);
        assert_eq!(machine.runs_with_ports().last().unwrap(), "DEL");
    });
}
