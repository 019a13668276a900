//! The JSON of a call: its body read leniently, its answer written.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer;
use super::error::Error;
use super::observe;
use crate::cnm::{EndpointId, NetworkId};

/// Largest body that is read, in bytes. Docker's largest calls, with hundreds of published
/// ports, have some tens of kilobytes.
const LIMIT: usize = 1 << 20;

/// How much of a body that is refused is read and thrown away, in bytes, before the
/// connection is closed on it. Many clients read the answer only when they have written all.
const PATIENCE: usize = 64 << 20;

/// How long a body may take to arrive. dockerd sends its own at once.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// How much there may be of all bodies together, in bytes, and in which portions it is counted.
const ALL_BODIES: usize = 16 << 20;
const PORTION: usize = 16 << 10;

/// A call's request, or its answer.
///
/// As an extractor it does not look at the Content-Type, since Docker sends none, and it
/// names the network and the endpoint of the call for the log.
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

/// The memory for the bodies of all calls. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL_BODIES / PORTION)))
    }
}

/// A part of that memory, until it is dropped.
#[derive(Debug)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// Makes room for `bytes` in all.
    fn widen(&mut self, bodies: &Bodies, bytes: usize) -> Result<(), Error> {
        let held = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(PORTION).saturating_sub(held);
        let more = u32::try_from(more).map_err(|_| Error::BodyTooLarge { limit: LIMIT })?;
        let more = Arc::clone(&bodies.0).try_acquire_many_owned(more).map_err(|_| Error::Busy)?;
        match &mut self.0 {
            Some(held) => held.merge(more),
            None => self.0 = Some(more),
        }
        Ok(())
    }
}

/// Reads the body of a request, whether or not its call looks at it: a connection on which a body
/// was left unread cannot be used again, and would be closed.
pub(super) async fn whole(body: Body, bodies: &Bodies) -> Result<(Vec<u8>, Room), Error> {
    timeout(ARRIVES_WITHIN, read(body, bodies)).await.map_err(|_| Error::BodySlow)?
}

async fn read(body: Body, bodies: &Bodies) -> Result<(Vec<u8>, Room), Error> {
    let mut pieces = body.into_data_stream();
    let (mut kept, mut room) = (Vec::new(), Room(None));
    let (mut seen, mut refused) = (0, None);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(Error::BodyBroken)?;
        seen += piece.len();
        if refused.is_none() && seen > LIMIT {
            refused = Some(Error::BodyTooLarge { limit: LIMIT });
        } else if refused.is_none() {
            refused = room.widen(bodies, seen).err();
        }
        if refused.is_none() {
            kept.extend_from_slice(&piece);
            continue;
        }
        (kept, room) = (Vec::new(), Room(None));
        if seen > PATIENCE {
            break;
        }
    }
    match refused {
        Some(error) => Err(error),
        None => Ok((kept, room)),
    }
}

/// Tells the log which network and endpoint the call is about. Read apart from the call
/// itself, so that a call that is refused is logged with its ids too; ids that are not
/// sound are the call's own to complain about.
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
