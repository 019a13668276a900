//! Every refusal, and how it becomes `{"Err": "…"}`.

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::answer;
use crate::lifecycle::{self, chain};
use crate::plain;

/// Why a call was refused or failed.
///
/// # Which status
/// Docker shows the text of `Err` in any case, and never retries a call that was answered. With status 200
/// it shows `remote: TEXT`; with another, `NetworkDriver.METHOD: TEXT` (moby,
/// `libnetwork/drivers/remote/driver.go` and `pkg/plugins/{client,errors}.go`, the same from 20.10 to
/// main). So the driver's own errors are answered with 200, without the method's name. An error between
/// dockerd and this server has its HTTP status: there, the method is half of the message. It also means
/// that the driver's own errors never have status 404, which Docker would ignore for the
/// `…ExternalConnectivity` calls.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The driver could not do what was asked.
    #[error(transparent)]
    Driver(#[from] lifecycle::Error),
    /// The path is no call of the remote driver protocol, or one of a plugin kind that was
    /// not announced.
    #[error("{path:?} is not a call of this driver, which implements NetworkDriver only")]
    UnknownCall {
        /// The path of the request.
        path: String,
    },
    /// Every call is a POST.
    #[error("{path:?} takes POST, not {method}")]
    NotAPost {
        /// The path of the request.
        path: String,
        /// The method of the request.
        method: Method,
    },
    /// dockerd lost the connection after it had sent the call, and sends it again without the body, which
    /// the first attempt has used up. Any answer stops the retries; there is nothing to act on. The driver
    /// knows whether the first attempt was carried out.
    #[error(
        "the body is empty. Docker sends this when it repeats a call whose connection was \
         lost, as when the driver was restarted meanwhile; run the docker command again"
    )]
    EmptyBody,
    /// The body is too large. No call of Docker's is nearly as large as the limit.
    #[error("the body is larger than {limit} bytes, which is the limit")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body did not come in time.
    #[error("the body has not arrived within a minute")]
    BodySlow,
    /// The bodies of other calls use all the memory for bodies.
    #[error("too much is being sent to the driver at once; try again")]
    Busy,
    /// The connection broke while the body came in.
    #[error("the body could not be read to its end")]
    BodyBroken(#[source] axum::Error),
    /// The body is not JSON.
    #[error("the body is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// The body is JSON, but not what the call takes.
    #[error("the body does not fit the call, at {path}")]
    Mismatch {
        /// Where in the JSON, such as `IPv4Data[0].Pool`; `.` for the whole.
        path: String,
        /// What was expected there.
        source: serde_json::Error,
    },
    /// The answer could not be written as JSON.
    #[error("the answer could not be written")]
    Answer(#[source] serde_json::Error),
    /// The task of the call did not reach its end: a bug.
    #[error("the driver failed in the middle of the call; its log has the place")]
    Lost(#[source] tokio::task::JoinError),
}

/// Marks the response to a failed call with its text, for the log.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) text: String,
    /// The driver has told it, with all that it knows.
    pub(super) is_told: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal<'a> {
    err: &'a str,
}

impl Error {
    pub(super) fn unknown_call(request: &Request) -> Self {
        Self::UnknownCall { path: request.uri().path().to_owned() }
    }

    pub(super) fn not_a_post(request: &Request) -> Self {
        let path = request.uri().path().to_owned();
        Self::NotAPost { path, method: request.method().clone() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Driver(_) => StatusCode::OK,
            Self::UnknownCall { .. } => StatusCode::NOT_FOUND,
            Self::NotAPost { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodySlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::EmptyBody | Self::BodyBroken(_) | Self::NotJson(_) | Self::Mismatch { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::Answer(_) | Self::Lost(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        // It may contain a plugin's message, and it is shown on terminals.
        let text = plain::line(&chain(&self)).into_owned();
        // Text is JSON in any case.
        let mut response = answer::response(self.status(), &Refusal { err: &text })
            .unwrap_or_else(|_| self.status().into_response());
        let is_told = matches!(self, Self::Driver(_));
        response.extensions_mut().insert(Failure { text, is_told });
        response
    }
}
