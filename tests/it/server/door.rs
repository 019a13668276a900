//! A driver behind a real socket, in this process, with folders of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cnm_cni::lifecycle::Driver;
use cnm_cni::server::{self, Calls, Opening, SocketFile, Undrained};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Connection;
use crate::alone::config;

/// A driver that serves until it is closed.
pub(crate) struct Door {
    folder: TempDir,
    opening: Opening,
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
        let door = Self::before_the_driver(folder);
        door.open_the_driver().await;
        door
    }

    /// Serves on the folders below `folder`, for a driver that has still to be opened.
    pub(crate) fn before_the_driver(folder: TempDir) -> Self {
        let (listener, file) = server::bind(&folder.path().join("cni.sock")).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let (opening, stop) = (Opening::default(), CancellationToken::new());
        let limit = Duration::from_secs(10);
        let serving = tokio::spawn(server::serve(
            listener,
            opening.clone(),
            Calls::default(),
            stop.clone(),
            limit,
        ));
        Self { folder, opening, stop, serving, _file: file }
    }

    pub(crate) async fn open_the_driver(&self) {
        let driver = Driver::open(config(self.folder.path())).await.expect("a driver");
        self.opening.done(Arc::new(driver));
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
