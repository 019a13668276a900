//! The server for Docker's calls: checks parameters, converts types, calls `lifecycle`.
//!
//! ```text
//!   connections ──▶ observe ──▶ plugin, network, endpoint, sandbox, control ──▶ lifecycle::Driver
//!              a task,     one handler per call;                           the work, once it
//!              a span,     json reads the body and writes                  is open (opening)
//!              a line      the answer, error the refusal
//! ```
//!
//! Nothing here decides about networks: the driver does. This room knows how to talk with dockerd, whose
//! HTTP client is special in some ways:
//!
//! * Bodies have no Content-Type, and the Host header may be empty.
//! * An empty body, if the call needs one, is a retry after a lost connection, and has to be refused: see
//!   [`Error::EmptyBody`].
//! * An idle connection is kept open for ever. dockerd would notice that it was closed only by losing a
//!   call on it. (hyper gets no timer, so it has no time-outs.)
//! * A call whose body has arrived is finished, even if its caller does not wait any more.

mod answer;
mod body;
mod connections;
pub mod control;
mod endpoint;
mod error;
mod json;
mod lock;
mod metrics;
mod network;
mod observe;
mod opening;
mod plugin;
mod sandbox;
mod socket;

use std::time::Duration;

use axum::extract::Request;
use axum::{Router, middleware};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

pub use error::Error;
pub use metrics::{Address as MetricsAddress, serve as serve_metrics};
pub use observe::Calls;
pub use opening::Opening;
pub use socket::{Error as SocketError, Holder, SocketFile, bind};

/// How long connections may be open once the last call has ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// Calls were still running when the time for them was over.
#[derive(Debug, thiserror::Error)]
#[error(
    "{calls} driver {} had not ended {} s after the signal to stop; \
     what is half-done is put right at the next start",
    if *calls == 1 { "call" } else { "calls" },
    limit.as_secs()
)]
pub struct Undrained {
    /// How many calls had not ended.
    pub calls: usize,
    /// How long they were given.
    pub limit: Duration,
}

/// The router for every call that the driver answers; `calls` counts them.
///
/// What is not a call is answered in the same form: `{"Err": "…"}`.
pub fn router(driver: Opening, calls: Calls) -> Router {
    Router::new()
        .merge(plugin::routes())
        .merge(network::routes())
        .merge(endpoint::routes())
        .merge(sandbox::routes())
        .merge(control::routes())
        .fallback(async |request: Request| Error::unknown_call(&request))
        .method_not_allowed_fallback(async |request: Request| Error::not_a_post(&request))
        .layer(middleware::from_fn_with_state(calls, observe::call))
        .with_state(driver)
}

/// Answers root's calls from `listener` until `stop` is cancelled, and counts them in `calls`: the handshake
/// at once, and calls that need the driver when it is open. After `stop` no new connection is accepted, and calls and background
/// work that are under way have `drain_limit` to end.
///
/// # Errors
/// [`Undrained`], if some had not ended by then.
pub async fn serve(
    listener: UnixListener,
    driver: Opening,
    calls: Calls,
    stop: CancellationToken,
    drain_limit: Duration,
) -> Result<(), Undrained> {
    let router = router(driver.clone(), calls.clone());
    let connections = connections::serve(listener, router, stop.clone());
    let no_more_calls = async {
        stop.cancelled().await;
        calls.drain().await;
        // An answer is written once its call has ended, and an incomplete request is no call yet.
        tokio::time::sleep(FAREWELL).await;
    };
    let ended = async {
        tokio::select! {
            () = connections => {}
            () = no_more_calls => {}
        }
        calls.drain().await;
        if let Some(driver) = driver.now() {
            driver.drain().await;
        }
    };
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(drain_limit).await;
    };
    tokio::select! {
        () = ended => {
            tracing::info!(calls = calls.answered(), failed = calls.failed(), "drained");
            Ok(())
        }
        () = too_late => match calls.running() {
            0 => {
                tracing::warn!("no call is under way; what else is, is put right at the next start");
                Ok(())
            }
            calls => Err(Undrained { calls, limit: drain_limit }),
        },
    }
}
