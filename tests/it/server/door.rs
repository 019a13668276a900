//! A driver behind a real socket, in this process, with folders of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cnm_cni::lifecycle::{Config, Driver};
use cnm_cni::server::{self, SocketFile, Undrained};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Connection;

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
        let folder = tempfile::tempdir().unwrap();
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

/// A driver's folders below `folder`: `conf`, `state`, `run`; plugins from the examples.
pub(crate) fn config(folder: &Path) -> Config {
    Config {
        conf_dir: folder.join("conf"),
        cni_path: vec![super::door::examples()],
        state_dir: folder.join("state"),
        run_dir: folder.join("run"),
    }
}

/// Where cargo puts the examples, of which one is the scripted plugin.
pub(crate) fn examples() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("examples")
}
