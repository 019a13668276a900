//! A driver behind a real socket, in this process, with folders of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cnm_cni::lifecycle::Driver;
use cnm_cni::server::{self, SocketFile, Undrained};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Connection;
use crate::alone::config;

/// A driver that serves until it is closed.
pub(crate) struct Door {
    folder: TempDir,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), Undrained>>,
    _file: SocketFile,
}

impl Door {
    /// Opens the driver on empty folders.
    pub(crate) async fn open() -> Self {
        Self::open_on(tempfile::tempdir().unwrap()).await
    }

    /// Opens the driver on the folders below `folder`.
    pub(crate) async fn open_on(folder: TempDir) -> Self {
        let driver = Arc::new(Driver::open(config(folder.path())).await.expect("a driver"));
        let (listener, file) = server::bind(&folder.path().join("cni.sock")).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let stop = CancellationToken::new();
        let limit = Duration::from_secs(10);
        let serving = tokio::spawn(server::serve(listener, driver, stop.clone(), limit));
        Self { folder, stop, serving, _file: file }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("cni.sock")
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(&self.socket()).await
    }

    /// Drains and stops.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.serving.await.unwrap().expect("every call to end");
    }
}
