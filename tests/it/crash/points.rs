//! The driver is killed at every point that a container's life passes.

use serde_json::{Value, json};

use super::Machine;
use crate::alone::alone;

#[test]
fn nothing_is_left_wherever_the_driver_dies() {
    alone(async {
        let mut machine = Machine::new(&Value::Null).await;
        machine.start(Some("list")).await;
        machine.life().await;
        assert_eq!(machine.settled().await, [] as [String; 0]);
        let points = points_in(&machine.kill().await);
        let mut left = Vec::new();
        for point in &points {
            let mut machine = Machine::new(&Value::Null).await;
            machine.start(Some(point)).await;
            machine.life().await;
            left.extend(machine.end().await.map(|remains| format!("{point}: {remains}")));
        }
        println!("{} crash points in a container's life", points.len());
        assert!(left.is_empty(), "{}", left.join("\n"));
        assert!(points.len() > 80, "{points:?}");
    });
}

#[test]
fn nothing_is_left_of_a_spare_wherever_the_driver_dies() {
    alone(async {
        let mut machine = Machine::with_a_spare(&Value::Null).await;
        machine.start(Some("list")).await;
        machine.life().await;
        assert_eq!(machine.settled().await, [] as [String; 0]);
        let points = points_in(&machine.kill().await);
        // From the first plugin until Docker has the interface, and its ports are published. The rest is as for any
        // attachment.
        let at = |step: &str| points.iter().position(|point| point.ends_with(step)).unwrap();
        let (begin, end) = (at("ADD first: start/1"), at("ProgramExternalConnectivity: done/1"));
        for step in [
            "spare: park/1",
            "spare: parked/1",
            "spare: claim/1",
            "spare: claimed/1",
            "ports: publish/1",
            "ports: published/1",
        ] {
            assert!((begin..end).contains(&at(step)), "{step} in {points:?}");
        }
        let mut left = Vec::new();
        for point in &points[begin..end] {
            let mut machine = Machine::with_a_spare(&Value::Null).await;
            machine.start(Some(point)).await;
            machine.life().await;
            left.extend(machine.end().await.map(|remains| format!("{point}: {remains}")));
        }
        println!("{} crash points in a spare's life", end - begin);
        assert!(left.is_empty(), "{}", left.join("\n"));
    });
}

#[test]
fn nothing_is_left_wherever_the_next_driver_dies_as_well() {
    alone(async {
        // The recovery has most to do if ADD has made everything, and Docker knows of nothing.
        const FIRST: &str = "ADD second: ended/1";
        let mut machine = Machine::new(&Value::Null).await;
        machine.start(Some(FIRST)).await;
        assert!(machine.dies_in_life(Some("list")).await);
        assert_eq!(machine.settled().await, [] as [String; 0]);
        let points = points_in(&machine.kill().await);
        let (mut left, mut deaths) = (Vec::new(), 0);
        for point in &points {
            let mut machine = Machine::new(&Value::Null).await;
            machine.start(Some(FIRST)).await;
            deaths += usize::from(machine.dies_in_life(Some(point)).await);
            left.extend(machine.end().await.map(|remains| format!("{point}: {remains}")));
        }
        println!("{} crash points in a recovery, {deaths} of them passed again", points.len());
        assert!(left.is_empty(), "{}", left.join("\n"));
        assert!(deaths > 12, "{points:?}");
    });
}

#[test]
fn a_plugin_that_outlives_its_driver_is_ended_before_its_del() {
    alone(async {
        // Would take the lease after DEL.
        let slow = json!({"first": {"ADD": {"sleep_ms": 500}}});
        let mut machine = Machine::new(&slow).await;
        machine.start(Some("first: runs/1")).await;
        machine.life().await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(machine.end().await, None);
    });
}

/// The crash points that a driver says it has passed.
fn points_in(log: &str) -> Vec<String> {
    log.lines().filter_map(|line| line.strip_prefix("crash point: ")).map(str::to_owned).collect()
}
