//! The JSON of an answer.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

/// The media type of the plugin protocol's JSON. Docker ignores it; people and tools do not.
const PLUGIN_JSON: HeaderValue =
    HeaderValue::from_static("application/vnd.docker.plugins.v1.2+json");

/// The response with `answer` as its body.
///
/// # Errors
/// The answer cannot be written as JSON.
pub(super) fn response(
    status: StatusCode,
    answer: &impl Serialize,
) -> Result<Response, serde_json::Error> {
    let body = serde_json::to_vec(answer)?;
    tracing::debug!(body = %String::from_utf8_lossy(&body), "answer");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLUGIN_JSON);
    Ok(response)
}
