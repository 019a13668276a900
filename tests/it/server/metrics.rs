//! Where Prometheus reads the driver's metrics, and who can.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::client::Connection;
use super::driver::until;
use super::process::Daemon;

/// One request, and its answer as it comes.
fn ask(mut stream: impl Read + Write, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn cnm_cni(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnm-cni"));
    command.env_clear().args(args).arg("--socket").arg(folder.join("cni.sock"));
    command.output().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_socket_for_metrics_is_roots_alone_and_ends_with_the_driver() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("metrics/m.sock");
    let address = format!("unix:{}", socket.display());
    let daemon = Daemon::start(folder.path(), &["--metrics", &address]).await;
    until("the socket", || socket.exists()).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let get = |method: &str, path: &str| ask(UnixStream::connect(&socket).unwrap(), method, path);
    let answer = get("GET", "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    let version = concat!("cnm_cni_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1");
    assert!(answer.contains(version), "{answer}");
    for (method, path, status) in
        [("GET", "/", 404), ("POST", "/metrics", 405), ("POST", "/NetworkDriver.Leave", 404)]
    {
        let answer = get(method, path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
    // Docker's socket has no such door.
    let mut dockers = Connection::open(&folder.path().join("cni.sock")).await;
    assert_eq!(dockers.call("metrics", &Value::Null).await.status, 404);
    assert_eq!(dockers.call("Plugin.Activate", &Value::Null).await.status, 200);
    let answer = get("GET", "/metrics");
    for (method, outcome) in [("other", "failed"), ("Plugin.Activate", "ok")] {
        let series = format!(
            "cnm_cni_call_duration_seconds_count{{method=\"{method}\",outcome=\"{outcome}\"}} 1\n"
        );
        assert!(answer.contains(&series), "{series} is not in {answer}");
    }
    daemon.signal(Signal::SIGTERM);
    let (status, log) = daemon.end().await;
    assert!(status.success(), "{log}");
    assert!(!socket.exists(), "the socket stays");
}

#[tokio::test]
async fn a_port_of_this_host_needs_no_flag_and_any_other_does() {
    let port = free_port();
    for (address, more, reached) in
        [("127.0.0.1", None, "127.0.0.1"), ("0.0.0.0", Some("--metrics-public"), "127.0.0.2")]
    {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("{address}:{port}");
        let flags = [&["--metrics", &address][..], more.as_slice()].concat();
        let _daemon = Daemon::start(folder.path(), &flags).await;
        until("the port", || TcpStream::connect((reached, port)).is_ok()).await;
        let answer = ask(TcpStream::connect((reached, port)).unwrap(), "GET", "/metrics");
        assert!(answer.contains("cnm_cni_build_info"), "{answer}");
    }
    let folder = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:9737", "[::]:9737", "192.0.2.7:9737"] {
        let refused = Command::new(env!("CARGO_BIN_EXE_cnm-cni"))
            .env_clear()
            .args(["serve", "--metrics", address, "--socket"])
            .arg(folder.path().join("cni.sock"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("--metrics-public"), "{said}");
    }
}

#[tokio::test]
async fn a_port_that_somebody_has_keeps_the_driver_from_nothing_and_is_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), &["--metrics", &address.to_string()]).await;
    let mut dockers = Connection::open(&folder.path().join("cni.sock")).await;
    assert_eq!(dockers.call("Plugin.Activate", &Value::Null).await.status, 200);
    daemon.logged("nobody can read the metrics").await;
    drop(taken);
    until("the port", || TcpStream::connect(address).is_ok()).await;
}

#[tokio::test]
async fn who_says_nothing_and_who_asks_much_leave_the_driver_to_docker() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let _daemon = Daemon::start(folder.path(), &["--metrics", &address]).await;
    until("the port", || TcpStream::connect(&address).is_ok()).await;
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut dockers = Connection::open(&folder.path().join("cni.sock")).await;
    assert_eq!(dockers.call("Plugin.Activate", &Value::Null).await.status, 200);
    drop(silent);
    let told = std::thread::scope(|scope| {
        let ask = || ask(TcpStream::connect(&address).unwrap(), "GET", "/metrics");
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(told.iter().all(|answer| answer.starts_with("HTTP/1.1 200")), "{told:?}");
}

#[tokio::test]
async fn the_verb_prints_the_metrics_or_replaces_a_file_for_the_textfile_collector() {
    let folder = tempfile::tempdir().unwrap();
    let absent = cnm_cni(folder.path(), &["metrics"]);
    let said = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(absent.status.code() == Some(1) && said.contains("no driver answers"), "{said}");

    // Without --metrics.
    let _daemon = Daemon::start(folder.path(), &[]).await;
    let printed = cnm_cni(folder.path(), &["metrics"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success() && text.contains("\ncnm_cni_build_info{"), "{text}");

    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let file = files.join("cnm-cni.prom");
    std::fs::write(&file, "old").unwrap();
    let args = ["metrics", "--textfile", file.to_str().unwrap()];
    // Whatever the umask of who calls it.
    let quoted = args.map(|arg| format!("'{arg}'")).join(" ");
    let line = format!(
        "umask 077; exec '{}' {quoted} --socket '{}'",
        env!("CARGO_BIN_EXE_cnm-cni"),
        folder.path().join("cni.sock").display()
    );
    let written = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(written.status.success() && written.stdout.is_empty(), "{written:?}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("\ncnm_cni_build_info{"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(&files).unwrap().count(), 1, "a temporary file stays");

    let wrong = cnm_cni(folder.path(), &["metrics", "--textfile", "/tmp/metrics.txt"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains(".prom"));
    let nowhere = folder.path().join("none/cnm-cni.prom");
    let refused = cnm_cni(folder.path(), &["metrics", "--textfile", nowhere.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("textfile.directory"), "{said}");
}
