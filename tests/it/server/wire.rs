//! HTTP as Docker speaks it, byte by byte.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::door::Door;

/// The recorded sessions with their header lines, oldest Docker first.
const RECORDED: [&str; 4] = [
    include_str!("../../fixtures/wire-docker-20.10.24.jsonl"),
    include_str!("../../fixtures/wire-docker-26.1.5.jsonl"),
    include_str!("../../fixtures/wire-docker-28.5.2.jsonl"),
    include_str!("../../fixtures/wire-docker-main-2026-08.jsonl"),
];

/// Every set of headers that was recorded, but for the length.
fn recorded_headers() -> BTreeSet<Vec<String>> {
    RECORDED
        .iter()
        .flat_map(|session| session.lines())
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|record| {
            let headers = record.get("headers")?.as_array()?;
            let headers = headers.iter().map(|header| header.as_str().unwrap().to_owned());
            Some(headers.filter(|header| !header.starts_with("Content-Length:")).collect())
        })
        .collect()
}

#[tokio::test]
async fn every_docker_versions_headers_are_taken() {
    let variations = recorded_headers();
    assert!(
        variations.iter().any(|headers| headers.contains(&"Host: ".to_owned())),
        "Docker 20.10 sends an empty Host: {variations:?}"
    );
    let door = Door::open().await;
    let mut connection = door.connect().await;
    for headers in variations {
        let head = format!(
            "POST /NetworkDriver.DiscoverNew HTTP/1.1\r\n{}\r\nContent-Length: 3\r\n\r\n{{}}\n",
            headers.join("\r\n")
        );
        connection.send(head.as_bytes()).await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.body), (200, json!({})), "{head}");
    }
    door.close().await;
}

#[tokio::test]
async fn only_what_needs_the_driver_waits_until_it_is_open() {
    let door = Door::before_the_driver(tempfile::tempdir().unwrap());
    let mut early = door.connect().await;
    let id = json!({"NetworkID": "0".repeat(64)});
    early.begin("NetworkDriver.DeleteNetwork", id.to_string().len()).await;
    early.send(id.to_string().as_bytes()).await;
    let mut dockerd = door.connect().await;
    for method in ["Plugin.Activate", "NetworkDriver.GetCapabilities"] {
        assert_eq!(dockerd.call(method, &json!({})).await.status, 200, "{method}");
    }
    let waited = tokio::time::timeout(Duration::from_millis(50), early.answer()).await;
    assert!(waited.is_err(), "answered by no driver");

    door.open_the_driver().await;
    assert_eq!(early.answer().await.status, 200);
    drop((early, dockerd));
    door.close().await;
}

#[tokio::test]
async fn the_handshake_needs_no_body() {
    let door = Door::open().await;
    let mut connection = door.connect().await;
    for (method, expected) in [
        ("Plugin.Activate", json!({"Implements": ["NetworkDriver"]})),
        (
            "NetworkDriver.GetCapabilities",
            json!({"Scope": "local", "ConnectivityScope": "global", "GwAllocChecker": false}),
        ),
    ] {
        for length in ["Content-Length: 0\r\n", ""] {
            let head = format!("POST /{method} HTTP/1.1\r\nHost: \r\n{length}\r\n");
            connection.send(head.as_bytes()).await;
            let answer = connection.answer().await;
            assert_eq!((answer.status, &answer.body), (200, &expected));
            assert_eq!(
                answer.header("content-type"),
                Some("application/vnd.docker.plugins.v1.2+json")
            );
        }
    }
    door.close().await;
}

#[tokio::test]
async fn calls_that_need_nothing_of_the_driver_are_answered() {
    let door = Door::open().await;
    let mut connection = door.connect().await;
    for (method, body, expected) in [
        ("GwAllocCheck", json!({"Options": {}}), json!({"SkipIPv4": false, "SkipIPv6": false})),
        ("AllocateNetwork", json!({"NetworkID": "ab", "IPv6Data": null}), json!({"Options": {}})),
        ("FreeNetwork", json!({"NetworkID": "ab"}), json!({})),
        ("DiscoverNew", json!({"DiscoveryType": 1, "DiscoveryData": {"Self": true}}), json!({})),
        ("DiscoverDelete", json!({"DiscoveryType": 1, "DiscoveryData": null}), json!({})),
    ] {
        let answer = connection.call(&format!("NetworkDriver.{method}"), &body).await;
        assert_eq!((answer.status, answer.body), (200, expected), "{method}");
    }
    door.close().await;
}

#[tokio::test]
async fn a_body_may_come_in_chunks() {
    let door = Door::open().await;
    let mut connection = door.connect().await;
    connection
        .send(b"POST /NetworkDriver.DiscoverNew HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for piece in [&b"1\r\n{\r\n"[..], b"1\r\n}\r\n", b"0\r\n\r\n"] {
        connection.send(piece).await;
        tokio::task::yield_now().await;
    }
    let answer = connection.answer().await;
    assert_eq!((answer.status, answer.body), (200, json!({})));
    door.close().await;
}

#[tokio::test]
async fn what_is_no_call_is_refused_in_the_same_form() {
    let door = Door::open().await;
    let mut connection = door.connect().await;
    for (line, status, named) in [
        ("POST /IpamDriver.RequestPool", 404, "IpamDriver.RequestPool"),
        ("POST /", 404, "\"/\""),
        ("GET /nothing", 404, "/nothing"),
        ("GET /NetworkDriver.Join", 405, "POST, not GET"),
        ("DELETE /Plugin.Activate", 405, "POST, not DELETE"),
    ] {
        connection.send(format!("{line} HTTP/1.1\r\nHost: \r\n\r\n").as_bytes()).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, status, "{line}");
        assert!(answer.error().contains(named), "{line}: {}", answer.error());
    }
    door.close().await;
}

#[tokio::test]
async fn a_body_that_nobody_looks_at_costs_no_connection() {
    let door = Door::open().await;
    let mut connection = door.connect().await;
    for (method, status) in
        [("Plugin.Activate", 200), ("IpamDriver.RequestPool", 404), ("Plugin.Activate", 200)]
    {
        connection.begin(method, 2).await;
        connection.send(b"{}").await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (status, None));
    }
    door.close().await;
}

/// dockerd keeps its connection for as long as it runs. The clock here is tokio's own, and
/// jumps a day ahead: a time-out on the connection would fire.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept() {
    let door = Door::open().await;
    let mut used = door.connect().await;
    let mut unused = door.connect().await;
    used.call("NetworkDriver.DiscoverNew", &json!({})).await;
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
    for connection in [&mut used, &mut unused] {
        let answer = connection.call("NetworkDriver.DiscoverNew", &json!({})).await;
        assert_eq!(answer.status, 200);
    }
    door.close().await;
}

#[tokio::test]
async fn a_connection_that_is_stuck_in_a_call_stops_no_other() {
    let door = Door::open().await;
    let mut stuck = door.connect().await;
    stuck.begin("NetworkDriver.DiscoverNew", 2).await;
    for _ in 0..20 {
        let answer = door.connect().await.call("NetworkDriver.DiscoverNew", &json!({})).await;
        assert_eq!(answer.status, 200);
    }
    stuck.send(b"{}").await;
    assert_eq!(stuck.answer().await.status, 200);
    door.close().await;
}

#[tokio::test]
async fn a_client_that_has_closed_its_end_gets_its_answer() {
    let door = Door::open().await;
    let mut half = door.connect().await;
    half.send(b"POST /NetworkDriver.DiscoverNew HTTP/1.1\r\nHost: \r\nContent-Length: 2\r\n\r\n{}")
        .await;
    half.close_its_end().await;
    assert_eq!(half.answer().await.status, 200);
    door.close().await;
}

#[tokio::test]
async fn many_half_sent_bodies_take_no_more_memory_than_there_is_for_all() {
    let door = Door::open().await;
    let mut half_sent = Vec::new();
    for _ in 0..40 {
        let mut connection = door.connect().await;
        connection.begin("NetworkDriver.DiscoverNew", 1 << 20).await;
        half_sent.push(connection);
    }
    // 16 MiB are taken for all bodies together.
    let half = vec![b' '; 512 << 10];
    for connection in &mut half_sent {
        connection.send(&half).await;
    }
    let mut answers = Vec::new();
    for connection in &mut half_sent {
        connection.send(&half).await;
        answers.push(connection.answer().await.status);
    }
    // Nothing but blanks is no body; and who came too late is told to try again.
    assert!(answers.contains(&400) && answers.contains(&503), "{answers:?}");
    let answer = door.connect().await.call("NetworkDriver.DiscoverNew", &json!({})).await;
    assert_eq!(answer.status, 200);
    drop(half_sent);
    door.close().await;
}

#[tokio::test]
async fn a_call_that_is_coming_in_when_the_driver_stops_is_answered() {
    let door = Door::open().await;
    let mut late = door.connect().await;
    late.begin("NetworkDriver.DiscoverNew", 2).await;
    let closing = tokio::spawn(door.close());
    late.send(b"{}").await;
    let answer = late.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    closing.await.unwrap();
}
