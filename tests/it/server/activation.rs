//! The driver below a service manager, through the protocol: sd_listen_fds(3), sd_notify(3).

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::client::Connection;
use super::process::Daemon;

/// What a service manager has: the socket, and where it is told how the service does.
struct Manager {
    folder: TempDir,
    listener: UnixListener,
    told: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("manager.sock")).unwrap();
        let told = UnixDatagram::bind(folder.path().join("notify.sock")).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { folder, listener, told }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("manager.sock")
    }

    fn own_socket(&self) -> PathBuf {
        self.folder.path().join("cni.sock")
    }

    /// Starts the driver with the manager's socket.
    fn start(&self) -> Daemon {
        let handed = self.listener.try_clone().unwrap().into();
        self.start_with("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=cnm-cni.socket", handed)
    }

    /// Starts the driver with these variables, in the words of a shell whose process it
    /// becomes, and `handed` as descriptors 3 and 4.
    fn start_with(&self, variables: &str, handed: OwnedFd) -> Daemon {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!(r#"exec 3<&0 4<&0 </dev/null; {variables} exec "$0" "$@""#)])
            .args([env!("CARGO_BIN_EXE_cnm-cni"), "serve"])
            .env("NOTIFY_SOCKET", self.folder.path().join("notify.sock"))
            .stdin(Stdio::from(handed))
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (flag, name) in [
            ("conf-dir", "conf"),
            ("state-dir", "state"),
            ("run-dir", "run"),
            ("socket", "cni.sock"),
        ] {
            command.arg(format!("--{flag}")).arg(self.folder.path().join(name));
        }
        Daemon::spawn(command)
    }

    /// The next thing that the driver tells.
    fn hears(&self) -> String {
        let mut text = [0; 256];
        let length = self.told.recv(&mut text).expect("nothing is told in time");
        String::from_utf8_lossy(&text[..length]).trim_end().to_owned()
    }

    fn hears_nothing(&self) {
        self.told.set_nonblocking(true).unwrap();
        assert!(self.told.recv(&mut [0; 256]).is_err(), "something was told");
    }
}

/// Sends a call, and does not wait for the answer.
async fn ask(socket: &Path) -> Connection {
    let mut connection = Connection::open(socket).await;
    let head = "POST /Plugin.Activate HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\n";
    connection.send(head.as_bytes()).await;
    connection
}

#[tokio::test]
async fn a_call_from_before_the_start_is_answered_and_the_sockets_file_stays() {
    let manager = Manager::new();
    // Twice: what is handed over outlives the driver.
    for _ in 0..2 {
        let mut early = ask(&manager.socket()).await;
        let mut daemon = manager.start();
        assert_eq!(manager.hears(), "READY=1");
        let line = daemon.logged("listening").await;
        assert!(line.contains(manager.socket().to_str().unwrap()), "{line}");
        assert_eq!(early.answer().await.body["Implements"], json!(["NetworkDriver"]));
        let answer = ask(&manager.socket()).await.answer().await;
        assert_eq!(answer.status, 200);
        drop(early);

        daemon.signal(Signal::SIGTERM);
        assert_eq!(manager.hears(), "STOPPING=1");
        let (status, log) = daemon.end().await;
        assert!(status.success() && log.contains("drained"), "{log}");
        assert!(manager.socket().exists(), "the manager's socket was removed");
        assert!(!manager.own_socket().exists(), "a second socket was made");
    }
    manager.hears_nothing();
}

#[tokio::test]
async fn a_driver_that_cannot_start_is_never_ready() {
    let manager = Manager::new();
    fs::write(manager.folder.path().join("state"), "no folder").unwrap();
    let (status, said) = manager.start().end().await;
    assert_eq!(status.code(), Some(1), "{said}");
    manager.hears_nothing();
    assert!(manager.socket().exists());
}

#[tokio::test]
async fn without_a_socket_for_it_the_driver_makes_its_own_and_reports_ready() {
    let manager = Manager::new();
    // The variables are another process's, as when a shell below a service starts the driver.
    let handed = manager.listener.try_clone().unwrap().into();
    let daemon = manager.start_with("LISTEN_PID=1 LISTEN_FDS=1", handed);
    assert_eq!(manager.hears(), "READY=1");
    let mut connection = Connection::open(&manager.own_socket()).await;
    assert_eq!(connection.call("Plugin.Activate", &Value::Null).await.status, 200);
    drop(connection);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(manager.hears(), "STOPPING=1");
    assert!(daemon.end().await.0.success());
    assert!(!manager.own_socket().exists());
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_what_to_write_in_the_unit() {
    let manager = Manager::new();
    let stream = || manager.listener.try_clone().unwrap().into();
    let datagram = UnixDatagram::unbound().unwrap().into();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
    for (variables, handed, complaint) in [
        ("LISTEN_PID=$$ LISTEN_FDS=2", stream(), "2 sockets are handed over"),
        ("LISTEN_PID=$$ LISTEN_FDS=one", stream(), "invalid LISTEN_FDS"),
        ("LISTEN_PID=$$ LISTEN_FDS=1", datagram, "ListenStream="),
        ("LISTEN_PID=$$ LISTEN_FDS=1", tcp, "ListenStream="),
    ] {
        let (status, said) = manager.start_with(variables, handed).end().await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(complaint), "{said}");
    }
    manager.hears_nothing();
}
