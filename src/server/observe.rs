//! Every call passes here: it becomes its own task, is timed, counted, and logged in one line. This file
//! does not know what the call means.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio_util::task::TaskTracker;
use tracing::field::{Empty, display};
use tracing::{Instrument, Span, debug, info_span, warn};

use super::body::{self, Bodies};
use super::error::{Error, Failure};
use crate::cnm::{EndpointId, NetworkId};
use crate::crash;
use crate::metrics::Metrics;

/// The calls that are running, and how many have ended; and the memory for their bodies. Clones
/// share all of it.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    running: TaskTracker,
    ended: Arc<Ended>,
    bodies: Bodies,
}

#[derive(Debug, Default)]
struct Ended {
    answered: AtomicU64,
    failed: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Calls {
    /// No calls yet; they are counted in `metrics` too.
    #[must_use]
    pub fn counted_in(metrics: Arc<Metrics>) -> Self {
        Self { ended: Arc::new(Ended { metrics, ..Ended::default() }), ..Self::default() }
    }

    /// How many calls are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How many calls have ended, including failed ones.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.ended.answered.load(Relaxed)
    }

    /// How many calls have ended in an error.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.ended.failed.load(Relaxed)
    }

    /// Waits for the calls that are running, including those whose callers are gone.
    pub(super) async fn drain(&self) {
        self.running.close();
        self.running.wait().await;
    }
}

/// Runs one call, in a task that survives its connection: dockerd may end in the middle of a call, and a
/// half-made attachment helps nobody. The task begins once the body has arrived.
pub(super) async fn call(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    let method = request.uri().path().trim_start_matches('/');
    let span = info_span!("call", %method, network = Empty, endpoint = Empty);
    let Calls { running, ended, bodies } = calls;
    let kind = kind(&request);
    let in_flight = ended.metrics.calls.begins(&kind);
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let (request, room) = match body::whole(body, &bodies).await {
        Ok((body, room)) => (Request::from_parts(head, body.into()), room),
        Err(error) => {
            let answer = error.into_response();
            span.in_scope(|| ended.note(&kind, begun, &answer));
            return answer;
        }
    };
    let work = {
        let uri = request.uri().clone();
        let (ended, kind) = (Arc::clone(&ended), kind.clone());
        async move {
            let _in_flight = in_flight;
            let begun = Instant::now();
            crash::point(format_args!("{}: asked", uri.path()));
            let answer = next.run(request).await;
            crash::point(format_args!("{}: done", uri.path()));
            ended.note(&kind, begun, &answer);
            drop(room);
            answer
        }
    };
    running.spawn(work.instrument(span.clone())).await.unwrap_or_else(|lost| {
        let answer = Error::Lost(lost).into_response();
        span.in_scope(|| ended.note(&kind, begun, &answer));
        answer
    })
}

/// The method as the metrics have it: one of those that the driver knows, or `other`.
fn kind(request: &Request) -> Arc<str> {
    let known = request.extensions().get::<MatchedPath>();
    known.map_or("other", |path| path.as_str().trim_start_matches('/')).into()
}

/// Names the network and the endpoint that the current call is about, for its log line and
/// for every line that is logged during it.
pub(super) fn about(network: Option<&NetworkId>, endpoint: Option<&EndpointId>) {
    let span = Span::current();
    if let Some(network) = network {
        span.record("network", display(network.short()));
    }
    if let Some(endpoint) = endpoint {
        span.record("endpoint", display(endpoint.short()));
    }
}

impl Ended {
    fn note(&self, kind: &str, begun: Instant, answer: &Response) {
        self.answered.fetch_add(1, Relaxed);
        let took = begun.elapsed();
        self.metrics.calls.ended(kind, took, answer.extensions().get::<Failure>().is_none());
        let duration_ms = took.as_micros() as f64 / 1000.0;
        let status = answer.status().as_u16();
        match answer.extensions().get() {
            // What came of it is told by the driver.
            None => debug!(status, duration_ms, "answered"),
            Some(Failure { text, is_told }) => {
                self.failed.fetch_add(1, Relaxed);
                match is_told {
                    true => debug!(status, duration_ms, error = text, "failed"),
                    false => warn!(status, duration_ms, error = text, "failed"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use tokio::sync::{mpsc, oneshot};
    use tower::ServiceExt;

    fn observed(path: &str, calls: &Calls, handler: axum::routing::MethodRouter) -> Router {
        Router::new().route(path, handler).layer(from_fn_with_state(calls.clone(), call))
    }

    fn post_to(path: &str) -> Request {
        Request::post(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_call_whose_caller_is_gone_is_carried_through() {
        let calls = Calls::default();
        let (begun, mut has_begun) = mpsc::channel(1);
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let may_go_on = Arc::new(std::sync::Mutex::new(Some(may_go_on)));
        let (finished, mut has_finished) = mpsc::channel(1);
        let slow = async move || {
            begun.send(()).await.unwrap();
            let wait = may_go_on.lock().unwrap().take().unwrap();
            wait.await.unwrap();
            finished.send(()).await.unwrap();
        };
        let caller = tokio::spawn(observed("/slow", &calls, post(slow)).oneshot(post_to("/slow")));
        has_begun.recv().await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert_eq!((calls.running(), calls.answered()), (1, 0));

        go_on.send(()).unwrap();
        calls.drain().await;
        has_finished.try_recv().expect("the call was cancelled with its caller");
        assert_eq!((calls.running(), calls.answered(), calls.failed()), (0, 1, 0));
    }

    #[tokio::test]
    async fn a_call_that_panics_is_answered_and_counted_as_failed() {
        let calls = Calls::default();
        let broken = async || -> &'static str { panic!("a bug") };
        let answer =
            observed("/broken", &calls, post(broken)).oneshot(post_to("/broken")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(answer.into_body(), 4096).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(body["Err"].as_str().unwrap().contains("a bug"), "{body}");
        assert_eq!((calls.answered(), calls.failed()), (1, 1));
    }
}
