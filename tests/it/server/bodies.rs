//! Bodies that no dockerd should send, through the real router.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::Request;
use cnm_cni::lifecycle::Driver;
use cnm_cni::server::{Calls, router};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::alone;

/// Every method that carries a body.
const METHODS: [&str; 14] = [
    "GwAllocCheck",
    "AllocateNetwork",
    "FreeNetwork",
    "CreateNetwork",
    "DeleteNetwork",
    "CreateEndpoint",
    "EndpointOperInfo",
    "DeleteEndpoint",
    "Join",
    "Leave",
    "ProgramExternalConnectivity",
    "RevokeExternalConnectivity",
    "DiscoverNew",
    "DiscoverDelete",
];

/// A driver's router, and how to ask it.
struct Routed {
    router: axum::Router,
    _folder: tempfile::TempDir,
}

impl Routed {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = Driver::open(alone::config(folder.path())).await.unwrap();
        Self { router: router(Arc::new(driver).into(), Calls::default()), _folder: folder }
    }

    /// The status and the text of `Err`.
    async fn ask(&self, method: &str, body: impl Into<Body>) -> (u16, String) {
        let request = Request::post(format!("/NetworkDriver.{method}")).body(body.into()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).expect("an answer in JSON");
        (status, body.get("Err").and_then(Value::as_str).unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn an_empty_body_stops_dockers_retries() {
    let routed = Routed::new().await;
    for method in METHODS {
        for body in ["", "\n", "  \r\n"] {
            let (status, error) = routed.ask(method, body).await;
            assert_eq!(status, 400, "{method}");
            assert!(error.contains("empty") && error.contains("again"), "{method}: {error}");
        }
    }
}

#[tokio::test]
async fn what_is_not_json_is_refused_with_the_place() {
    let routed = Routed::new().await;
    for method in METHODS {
        for body in
            ["nonsense", "{\"NetworkID\":\"ab\",\n \"EndpointID\" \"cd\"}", "{\"NetworkID\"", "\0"]
        {
            let (status, error) = routed.ask(method, body).await;
            assert_eq!(status, 400, "{method} {body}");
            assert!(error.contains("not JSON") && error.contains("line"), "{method}: {error}");
        }
    }
    let (_, error) = routed.ask("Join", "{\"NetworkID\":\"ab\",\n \"EndpointID\" \"cd\"}").await;
    assert_eq!(error, "the body is not JSON: expected `:` at line 2 column 15");
    let (_, error) = routed.ask("FreeNetwork", "{} {}").await;
    assert!(error.contains("trailing characters at line 1 column 4"), "{error}");
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_refused_with_its_path() {
    let routed = Routed::new().await;
    for (method, body, path, reason) in [
        ("Leave", "[]", ".", "expected"),
        ("Leave", "5", ".", "expected"),
        ("Leave", "{}", ".", "missing field `NetworkID`"),
        ("Leave", r#"{"NetworkID":"ab"}"#, ".", "missing field `EndpointID`"),
        ("Join", r#"{"NetworkID":{},"EndpointID":"cd"}"#, "NetworkID", "expected a string"),
        ("Join", r#"{"NetworkID":"ab","EndpointID":null}"#, "EndpointID", "expected a string"),
        ("Join", r#"{"NetworkID":"ab","EndpointID":"cd","SandboxKey":1}"#, "SandboxKey", "string"),
        ("CreateNetwork", r#"{"NetworkID":"ab","Options":[]}"#, "Options", "expected a map"),
        (
            "CreateNetwork",
            r#"{"NetworkID":"ab","IPv4Data":[{"Pool":"10.0.0.0/16"},{"Pool":"10.0.0.0/99"}]}"#,
            "IPv4Data[1].Pool",
            "invalid IP address syntax",
        ),
        (
            "CreateEndpoint",
            r#"{"NetworkID":"ab","EndpointID":"cd","Interface":{"Address":"fd00::1/64"}}"#,
            "Interface.Address",
            "fd00::1/64",
        ),
    ] {
        let (status, error) = routed.ask(method, body).await;
        assert_eq!(status, 400, "{method} {body}: {error}");
        let begins = format!("the body does not fit the call, at {path}: ");
        assert!(error.starts_with(&begins) && error.contains(reason), "{method} {body}: {error}");
    }
}

#[tokio::test]
async fn ids_that_could_become_paths_are_refused() {
    let routed = Routed::new().await;
    for id in ["", "../x", "a/b", "..", "a b", "ab\\u0000", &"a".repeat(129)] {
        for method in ["DeleteNetwork", "Join", "Leave", "DeleteEndpoint", "EndpointOperInfo"] {
            let body = format!(r#"{{"NetworkID":"{id}","EndpointID":"{id}"}}"#);
            let (status, error) = routed.ask(method, body).await;
            assert_eq!(status, 400, "{method} {id:?}");
            assert!(error.contains("is not a Docker id"), "{method} {id:?}: {error}");
        }
    }
}

#[tokio::test]
async fn fifty_megabytes_are_refused_and_not_kept() {
    let routed = Routed::new().await;
    let body = vec![b' '; 50_000_000];
    let (status, error) = routed.ask("CreateNetwork", body).await;
    assert_eq!(status, 413);
    assert_eq!(error, "the body is larger than 1048576 bytes, which is the limit");
}

#[tokio::test]
async fn a_body_without_end_is_given_up() {
    let routed = Routed::new().await;
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let endless =
        futures_util::stream::repeat_with(move || Ok::<_, std::convert::Infallible>(piece.clone()));
    let (status, _) = routed.ask("CreateNetwork", Body::from_stream(endless)).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn a_body_at_the_limit_is_read() {
    let routed = Routed::new().await;
    let mut body = br#"{"DiscoveryType":1}"#.to_vec();
    body.resize(1 << 20, b' ');
    assert_eq!(routed.ask("DiscoverNew", body.clone()).await, (200, String::new()));
    body.push(b' ');
    assert_eq!(routed.ask("DiscoverNew", body).await.0, 413);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_call() {
    let routed = Routed::new().await;
    let pieces = [
        Ok(Bytes::from_static(br#"{"NetworkID":"#)),
        Err(std::io::Error::other("connection reset")),
    ];
    let broken = Body::from_stream(futures_util::stream::iter(pieces));
    let (status, error) = routed.ask("DeleteNetwork", broken).await;
    assert_eq!(status, 400);
    assert_eq!(error, "the body could not be read to its end: connection reset");
}

#[tokio::test]
async fn json_that_is_nested_without_reason_is_refused() {
    let routed = Routed::new().await;
    let deep = "[".repeat(100_000);
    let body = format!(r#"{{"NetworkID":"ab","Options":{{"x":{deep}"#);
    let (status, error) = routed.ask("CreateNetwork", body).await;
    assert_eq!(status, 400);
    assert!(error.contains("recursion limit"), "{error}");
}
