//! Who may talk: root, and the user that the driver runs as.
//!
//! The socket's mode says the same. But a file's mode can be changed, and a socket that a service
//! manager made has the mode that its unit says.

use axum::serve::Listener;
use nix::unistd::geteuid;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

/// A listener that hangs up on everybody else.
#[derive(Debug)]
pub(super) struct Trusted(pub(super) UnixListener);

impl Listener for Trusted {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.0).await;
            match stream.peer_cred() {
                Ok(peer) if is_trusted(peer.uid()) => return (stream, address),
                Ok(peer) => {
                    tracing::warn!(
                        user = peer.uid(),
                        process = peer.pid(),
                        "hung up on a stranger"
                    );
                }
                Err(error) => tracing::warn!(%error, "hung up on somebody unknown"),
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}
