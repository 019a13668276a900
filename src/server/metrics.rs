//! The server for Prometheus: `GET /metrics`, on a socket or port of its own. Docker's socket does not serve it: whoever
//! can open that one rules the host's networks.
//!
//! Whatever happens here, Docker's calls go on: few connections at a time, each with a limit; and a port that is taken
//! is only logged.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::opening::Opening;
use super::socket::{self, SocketFile};
use crate::lifecycle::chain;
use crate::metrics;

/// How many connections there may be; others wait in the kernel.
const MOST: usize = 4;

/// How long one may take, from its begin to the end of the answer.
const LIMIT: Duration = Duration::from_secs(15);

/// The pause before the driver tries again to listen.
const PAUSE: Duration = Duration::from_secs(5);

/// Where the driver listens for Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket that only root can open.
    Unix(PathBuf),
    /// A port.
    Tcp(SocketAddr),
}

impl Address {
    /// Whether other hosts may reach it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("the path behind unix: has to begin with /".to_owned()),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "it is neither unix:/PATH nor ADDRESS:PORT, as 127.0.0.1:9737 or [::1]:9737"
                    .to_owned()
            }),
        }
    }
}

/// Gives the metrics to whoever asks at this address, until `stop` is cancelled. If the address cannot be had, it
/// is tried again: what only watches must not keep containers from starting.
pub async fn serve(address: Address, driver: Opening, stop: CancellationToken) {
    let router = Router::new().route("/metrics", get(scrape)).with_state(driver);
    let listening = async {
        loop {
            let outcome = match &address {
                Address::Unix(path) => match listen(path).await {
                    Ok((listener, _file)) => {
                        tracing::info!(socket = %path.display(), "metrics can be read");
                        return connections(listener, router).await;
                    }
                    Err(error) => chain(&error),
                },
                Address::Tcp(address) => match TcpListener::bind(address).await {
                    Ok(listener) => {
                        tracing::info!(%address, "metrics can be read");
                        return connections(listener, router).await;
                    }
                    Err(error) => format!("cannot listen on {address}: {error}"),
                },
            };
            tracing::error!(error = outcome, "nobody can read the metrics; trying again");
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = listening => {}
        () = stop.cancelled() => {}
    }
}

async fn listen(path: &std::path::Path) -> Result<(UnixListener, SocketFile), socket::Error> {
    let (listener, file) = socket::bind(path)?;
    let listener = UnixListener::from_std(listener).map_err(|source| socket::Error::Io {
        step: "listen on",
        path: path.to_owned(),
        source,
    })?;
    Ok((listener, file))
}

async fn connections<L: Listener>(mut listener: L, router: Router)
where
    L::Addr: std::fmt::Debug,
{
    let places = Arc::new(Semaphore::new(MOST));
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    // A connection is for one scrape: there are few places.
    http.keep_alive(false);
    loop {
        // The semaphore is never closed, so there always comes a place.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        let (stream, _) = listener.accept().await;
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            // Whoever is too slow, or has gone, asks again.
            let _ = timeout(LIMIT, connection).await;
            drop(place);
        });
    }
}

async fn scrape(State(driver): State<Opening>) -> Response {
    let Some(driver) = driver.now() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the driver is starting\n").into_response();
    };
    match driver.metrics().await {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(error, "the metrics cannot be gathered");
            (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_a_port() {
        let read = |text: &str| text.parse::<Address>();
        assert_eq!(read("unix:/run/m.sock"), Ok(Address::Unix("/run/m.sock".into())));
        for (text, is_public) in [
            ("127.0.0.1:9737", false),
            ("127.0.0.9:9737", false),
            ("[::1]:9737", false),
            ("[::ffff:127.0.0.1]:9737", false),
            ("0.0.0.0:9737", true),
            ("[::]:9737", true),
            ("192.0.2.1:9737", true),
        ] {
            assert_eq!(read(text).unwrap().is_public(), is_public, "{text}");
        }
        for wrong in
            ["", "9737", ":9737", "localhost:9737", "127.0.0.1", "unix:m.sock", "/run/m.sock"]
        {
            read(wrong).unwrap_err();
        }
    }
}
