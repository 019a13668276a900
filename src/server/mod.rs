//! Docker's door: checks parameters, converts types, hands over.
//!
//! ```text
//!   socket ──▶ observe ──▶ plugin, network, endpoint, sandbox, control ──▶ lifecycle::Driver
//!              a task,     one handler per call;                           the work, once it
//!              a span,     json reads the body and writes                  is open (opening)
//!              a line      the answer, error the refusal
//! ```
//!
//! Nothing here decides about networks: that is the driver's. What is decided here is how
//! one talks with dockerd, whose HTTP client has habits of its own:
//!
//! * Bodies have no Content-Type, and the Host header may be empty.
//! * An empty body, where the call carries one, is a retry after a lost connection, and has
//!   to be refused: see [`Error::EmptyBody`].
//! * An idle connection is kept open for ever. dockerd has no way to know that it was closed
//!   but to lose a call on it. (No timer is given to hyper, so it has no time-outs.)
//! * A call that has begun is carried through, whether or not its caller still waits.

mod answer;
pub mod control;
mod endpoint;
mod error;
mod json;
mod lock;
mod network;
mod observe;
mod opening;
mod peers;
mod plugin;
mod sandbox;
mod socket;

use std::future::IntoFuture;
use std::time::Duration;

use axum::extract::Request;
use axum::{Router, middleware};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

pub use error::Error;
pub use observe::Calls;
pub use opening::Opening;
pub use socket::{Error as SocketError, Holder, SocketFile, bind};

use peers::Trusted;

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

/// Every call that the driver answers, in front of it; `calls` counts them.
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
        .layer(middleware::from_fn(json::whole_body))
        .layer(middleware::from_fn_with_state(calls, observe::call))
        .with_state(driver)
}

/// Answers root's calls from `listener` until `stop` is cancelled, the handshake at once, and what
/// needs the driver when it is open. Then no new connection is
/// accepted, and calls and background work that are under way have `drain_limit` to end.
///
/// # Errors
/// [`Undrained`], when some had not ended by then.
pub async fn serve(
    listener: UnixListener,
    driver: Opening,
    stop: CancellationToken,
    drain_limit: Duration,
) -> Result<(), Undrained> {
    let calls = Calls::default();
    let connections = axum::serve(Trusted(listener), router(driver.clone(), calls.clone()))
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .into_future();
    let ended = async {
        // Ends without error, and only once the last connection has: axum documents both.
        let _ = connections.await;
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
        () = too_late => Err(Undrained { calls: calls.running(), limit: drain_limit }),
    }
}
