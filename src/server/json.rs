//! The JSON of a call: its body read leniently, its answer written.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer;
use super::body::LIMIT;
use super::error::Error;
use super::observe;
use crate::cnm::{EndpointId, NetworkId};

/// A call's request, or its answer.
///
/// As an extractor it ignores the Content-Type, because Docker sends none. It also gives the network and
/// the endpoint of the call to the log.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let body = to_bytes(request.into_body(), LIMIT).await.map_err(Error::BodyBroken)?;
        tracing::debug!(body = %String::from_utf8_lossy(&body), "asked");
        if body.trim_ascii().is_empty() {
            return Err(Error::EmptyBody);
        }
        note_subject(&body);
        parse(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        answer::response(StatusCode::OK, &self.0)
            .unwrap_or_else(|error| Error::Answer(error).into_response())
    }
}

/// Writes to the log which network and endpoint the call is about. The ids are read separately from the
/// call, so that a refused call is logged with its ids too. Invalid ids are ignored here, because the call
/// itself reports them.
fn note_subject(body: &[u8]) {
    #[derive(Deserialize)]
    struct Subject {
        #[serde(rename = "NetworkID", default)]
        network: Value,
        #[serde(rename = "EndpointID", default)]
        endpoint: Value,
    }
    if let Ok(Subject { network, endpoint }) = serde_json::from_slice(body) {
        let network = network.as_str().and_then(|id| id.parse::<NetworkId>().ok());
        let endpoint = endpoint.as_str().and_then(|id| id.parse::<EndpointId>().ok());
        observe::about(network.as_ref(), endpoint.as_ref());
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let source = error.into_inner();
        if source.is_data() { Error::Mismatch { path, source } } else { Error::NotJson(source) }
    })?;
    json.end().map_err(Error::NotJson)?;
    Ok(value)
}
