//! Connections: only from root, with a limit for their number and for the memory of each.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How many connections there may be. dockerd has one for each call that is under way, and keeps two idle
/// ones. More connections wait in the kernel.
const MOST: usize = 256;

/// How much of a connection's input is read ahead, in bytes.
const BUFFER: usize = 64 << 10;

/// How long to leave the listener alone when it cannot give a connection.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers every connection until `stop` is cancelled, and then waits until the remaining ones have got
/// their answer.
pub(super) async fn serve(listener: UnixListener, router: Router, stop: CancellationToken) {
    let (places, connections) = (Arc::new(Semaphore::new(MOST)), GracefulShutdown::new());
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    // A client may close its end after the request, and still expects the answer.
    http.half_close(true).max_buf_size(BUFFER);
    loop {
        let next = async {
            let place = place(&places).await;
            (place, accept(&listener).await)
        };
        let (place, stream) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => break,
        };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // The client has closed it, so there is nobody to tell.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

/// Waits for a connection to end if there are too many.
async fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Some(place);
    }
    tracing::warn!(connections = MOST, "as many connections as there may be; others wait");
    // The semaphore is never closed, so there always comes a place.
    Arc::clone(places).acquire_owned().await.ok()
}

/// The next connection from root. Connections from others are closed.
async fn accept(listener: &UnixListener) -> UnixStream {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(%error, "cannot take a connection; trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if is_trusted(peer.uid()) => return stream,
            Ok(peer) => {
                tracing::warn!(user = peer.uid(), process = peer.pid(), "hung up on a stranger");
            }
            Err(error) => tracing::warn!(%error, "hung up on somebody unknown"),
        }
    }
}

fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}
