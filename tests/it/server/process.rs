//! `cnm-cni serve` as a process: how it starts, what it logs, how it ends.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::client::Connection;
use super::driver::until;
use crate::alone::{alone, config, sh};

const PATIENCE: Duration = Duration::from_secs(20);

const NETWORK: &str = "a0ca6ece2c77192e6a30b8d43e6cc8ecf221af6fbcec1bdea408c1d29c467b9f";
const ENDPOINT: &str = "c28fd67ae6ee36a7b1b9f4a6dbd8ba3b92c3b7c1e1c6a5f0d9d0a4f7b2e1c3d4";

/// A running driver. Dies with the test.
pub(crate) struct Daemon {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

fn serve(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnm-cni"));
    command.arg("serve").env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
    for (flag, name) in
        [("conf-dir", "conf"), ("state-dir", "state"), ("run-dir", "run"), ("socket", "cni.sock")]
    {
        command.arg(format!("--{flag}")).arg(folder.join(name));
    }
    // Cargo's folders are whoever's builds.
    command.arg("--allow-writable").args(more).kill_on_drop(true);
    command
}

impl Daemon {
    /// Starts the driver and waits until it listens.
    pub(crate) async fn start(folder: &Path, more: &[&str]) -> Self {
        let mut daemon = Self::spawn(serve(folder, more));
        daemon.logged("listening").await;
        daemon
    }

    /// The same with a crash point, at which it may die before it listens; and what it logged
    /// until then.
    pub(crate) async fn start_and_crash(
        folder: &Path,
        more: &[&str],
        crash_at: &str,
    ) -> (Self, String) {
        let mut command = serve(folder, more);
        command.env("CNM_CNI_CRASH_AT", crash_at);
        let mut daemon = Self::spawn(command);
        let mut log = String::new();
        while let Some(line) = daemon.line().await {
            log += &format!("{line}\n");
            if line.contains("listening") {
                break;
            }
        }
        (daemon, log)
    }

    pub(super) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// The next line of the log with `words` in it.
    pub(super) async fn logged(&mut self, words: &str) -> String {
        let mut before = Vec::new();
        while let Some(line) = self.line().await {
            if line.contains(words) {
                return line;
            }
            before.push(line);
        }
        panic!("the driver ended without {words:?}:\n{}", before.join("\n"));
    }

    async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.log.next_line()).await.expect("a line in time").unwrap()
    }

    pub(crate) async fn ends_within(&mut self, limit: Duration) -> bool {
        timeout(limit, self.child.wait()).await.is_ok()
    }

    /// What is left of the log, and how the driver ended.
    pub(crate) async fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        while let Some(line) = self.line().await {
            rest += &line;
            rest.push('\n');
        }
        (timeout(PATIENCE, self.child.wait()).await.expect("an end in time").unwrap(), rest)
    }

    fn pid(&self) -> i32 {
        self.child.id().unwrap().try_into().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Whether it has a handler for the signal, as proc(5) tells.
    fn catches(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal as u32 - 1)) != 0
    }
}

/// A driver with a call that does not come to its end: an ADD that sleeps.
async fn stuck(folder: &Path, drain_timeout: &str) -> (Daemon, Connection) {
    let [conf, called] = ["conf", "called"].map(|name| folder.join(name));
    std::fs::create_dir(&conf).unwrap();
    let plugin =
        json!({"type": "fake-plugin", "fake": {"log": called, "ADD": {"sleep_ms": 20_000}}});
    let list = json!({"cniVersion": "1.0.0", "name": "slow", "plugins": [plugin]});
    std::fs::write(conf.join("10-slow.conflist"), list.to_string()).unwrap();
    let plugins = config(folder).cni_path.remove(0);
    let more = ["--drain-timeout", drain_timeout, "--cni-path", plugins.to_str().unwrap()];
    let daemon = Daemon::start(folder, &more).await;
    let mut connection = Connection::open(&folder.join("cni.sock")).await;
    let made = connection.call("NetworkDriver.CreateNetwork", &json!({"NetworkID": NETWORK})).await;
    assert_eq!(made.body, json!({}));
    let ids = json!({"NetworkID": NETWORK, "EndpointID": ENDPOINT, "Interface": {}}).to_string();
    let head = format!(
        "POST /NetworkDriver.CreateEndpoint HTTP/1.1\r\nHost: \r\nContent-Length: {}\r\n\r\n",
        ids.len()
    );
    connection.send((head + &ids).as_bytes()).await;
    let deadline = Instant::now() + PATIENCE;
    while !called.exists() {
        assert!(Instant::now() < deadline, "no plugin was called");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (daemon, connection)
}

fn home() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("cni.sock");
    (folder, socket)
}

#[tokio::test]
async fn each_signal_ends_the_driver_and_its_socket() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (folder, socket) = home();
        let daemon = Daemon::start(folder.path(), &[]).await;
        let mut idle = Connection::open(&socket).await;
        assert_eq!(idle.call("Plugin.Activate", &Value::Null).await.status, 200);
        daemon.signal(signal);
        let (status, log) = daemon.end().await;
        assert!(status.success(), "{status}: {log}");
        assert!(log.contains(signal.as_str()) && log.contains("drained calls=1 failed=0"), "{log}");
        assert!(!socket.exists() && !socket.with_extension("sock.lock").exists());
    }
}

#[tokio::test]
async fn a_second_driver_refuses_to_start_and_says_who_is_first() {
    let (folder, socket) = home();
    let first = Daemon::start(folder.path(), &[]).await;
    let (status, said) = Daemon::spawn(serve(folder.path(), &[])).end().await;
    assert_eq!(status.code(), Some(1));
    let holder = format!("process {} ({} serve", first.pid(), env!("CARGO_BIN_EXE_cnm-cni"));
    assert!(said.starts_with("error: ") && said.contains("\n  caused by: "), "{said}");
    assert!(said.contains(&holder) && said.contains("--socket"), "{said}");
    let answer = Connection::open(&socket).await.call("Plugin.Activate", &Value::Null).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn only_root_is_answered_whatever_the_sockets_mode() {
    let (folder, socket) = home();
    let mut daemon = Daemon::start(folder.path(), &[]).await;
    for (path, mode) in [(folder.path(), 0o755), (&socket, 0o666)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    // The build folder may be closed to others.
    let binary = folder.path().join("cnm-cni");
    std::fs::copy(env!("CARGO_BIN_EXE_cnm-cni"), &binary).unwrap();
    let mut command = Command::new(binary);
    command.args(["orphans", "retry", "--socket"]).arg(&socket).env_clear();
    let roots = command.output().await.unwrap();
    assert!(roots.status.success(), "{roots:?}");
    let strangers = command.uid(65534).gid(65534).output().await.unwrap();
    assert!(!strangers.status.success(), "{strangers:?}");
    daemon.logged("hung up on a stranger user=65534").await;
}

#[tokio::test]
async fn two_drivers_do_not_share_their_records() {
    let (folder, _) = home();
    let first = Daemon::start(folder.path(), &[]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("cni.sock");
    std::os::unix::fs::symlink(folder.path().join("state"), elsewhere.path().join("state"))
        .unwrap();
    let second = serve(elsewhere.path(), &[]);
    let (status, said) = Daemon::spawn(second).end().await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains(&format!("process {}", first.pid())), "{said}");
    assert!(said.contains("--state-dir") && !other.exists(), "{said}");
}

#[tokio::test]
async fn the_operator_asks_the_running_driver() {
    let (folder, socket) = home();
    let orphans = |verb: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cnm-cni"));
        command.arg("orphans").args(verb).arg("--socket").arg(&socket).env_clear();
        async move { command.output().await.unwrap() }
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let alone = orphans(&["retry"]).await;
    assert!(!alone.status.success());
    let said = text(alone.stderr);
    assert!(said.contains("no driver answers on") && said.contains("cnm-cni serve"), "{said}");

    let _daemon = Daemon::start(folder.path(), &[]).await;
    let retried = orphans(&["retry"]).await;
    assert!(retried.status.success());
    assert_eq!(text(retried.stdout), "No orphans: nothing to do.\n");
    let retried = orphans(&["retry", "--format", "json"]).await;
    assert_eq!(text(retried.stdout), "[]\n");
    let forgotten = orphans(&["forget", "0198"]).await;
    assert!(!forgotten.status.success());
    let said = text(forgotten.stderr);
    assert!(said.contains("there is no orphan") && said.contains("\"0198\""), "{said}");
}

#[tokio::test]
async fn a_driver_that_was_killed_leaves_nothing_in_the_way() {
    let (folder, socket) = home();
    let first = Daemon::start(folder.path(), &[]).await;
    first.signal(Signal::SIGKILL);
    first.end().await;
    assert!(socket.exists(), "nobody removed it");
    let _second = Daemon::start(folder.path(), &[]).await;
    let answer = Connection::open(&socket).await.call("Plugin.Activate", &Value::Null).await;
    assert_eq!(answer.status, 200);
}

#[test]
fn a_call_that_does_not_end_is_given_up_after_the_drain_timeout() {
    alone(async {
        let (folder, socket) = home();
        let (daemon, _stuck) = stuck(folder.path(), "0").await;
        daemon.signal(Signal::SIGTERM);
        let (status, log) = daemon.end().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("error: 1 driver call had not ended 0 s after"), "{log}");
        assert!(!socket.exists());
    });
}

#[test]
fn a_second_signal_ends_the_driver_at_once() {
    alone(async {
        let (folder, socket) = home();
        let (mut daemon, _stuck) = stuck(folder.path(), "3600").await;
        daemon.signal(Signal::SIGTERM);
        daemon.logged("stopping").await;
        daemon.signal(Signal::SIGINT);
        let (status, log) = daemon.end().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("second signal"), "{log}");
        assert!(!socket.exists());
    });
}

#[test]
fn a_signal_ends_a_driver_that_still_reads_its_records() {
    alone(async {
        let (folder, socket) = home();
        let records = folder.path().join("state/attachments");
        std::fs::create_dir_all(&records).unwrap();
        // None is a record, and each takes a while to read. They take no room.
        for number in 0..300 {
            let file = std::fs::File::create(records.join(format!("{number}.json"))).unwrap();
            file.set_len(15 << 20).unwrap();
        }
        let daemon = Daemon::spawn(serve(folder.path(), &[]));
        until("the driver listens for signals", || daemon.catches(Signal::SIGTERM)).await;
        daemon.signal(Signal::SIGTERM);
        let (status, log) = daemon.end().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("stopped by SIGTERM before the driver was ready"), "{log}");
        assert!(!socket.exists());
    });
}

#[tokio::test]
async fn when_descriptors_run_out_the_log_says_so() {
    let (folder, socket) = home();
    let driver = serve(folder.path(), &[]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40; exec \"$@\"", "sh"]).arg(driver.as_std().get_program());
    limited.args(driver.as_std().get_args()).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut daemon = Daemon::spawn({
        limited.kill_on_drop(true);
        limited
    });
    daemon.logged("listening").await;
    let mut connections = Vec::new();
    for _ in 0..40 {
        connections.push(Connection::open(&socket).await);
    }
    daemon.logged("cannot take a connection").await;
    // They are taken once there are descriptors again.
    connections.clear();
    let answer = Connection::open(&socket).await.call("Plugin.Activate", &Value::Null).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_half_sent_body_is_no_call_that_is_waited_for() {
    let (folder, socket) = home();
    let daemon = Daemon::start(folder.path(), &["--drain-timeout", "3600"]).await;
    let mut half = Connection::open(&socket).await;
    half.begin("NetworkDriver.DiscoverNew", 2).await;
    daemon.signal(Signal::SIGTERM);
    let (status, log) = daemon.end().await;
    assert!(status.success() && log.contains("drained calls=0 failed=0"), "{log}");
}

#[tokio::test]
async fn every_call_is_one_line_with_its_subject_and_outcome() {
    let (folder, socket) = home();
    let arguments = ["--log-format", "json", "--log-level", "debug"];
    let mut daemon = Daemon::start(folder.path(), &arguments).await;
    let mut connection = Connection::open(&socket).await;
    connection.call("NetworkDriver.DiscoverNew", &json!({"NetworkID": NETWORK})).await;
    let subject = json!({"NetworkID": NETWORK, "EndpointID": ENDPOINT, "SandboxKey": 5});
    let refused = connection.call("NetworkDriver.Join", &subject).await;
    let unsound = json!({"NetworkID": "../x", "EndpointID": ENDPOINT});
    connection.call("NetworkDriver.Leave", &unsound).await;

    let mut lines = Vec::new();
    while lines.len() < 3 {
        let line: Value = serde_json::from_str(&daemon.line().await.unwrap()).unwrap();
        if line["status"].is_null() {
            continue;
        }
        assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
        assert!(line["timestamp"].is_string(), "{line}");
        lines.push(line);
    }
    let told = |line: &Value| {
        let Value::Array(told) = json!([
            line["level"],
            line["message"],
            line["status"],
            line["span"]["method"],
            line["span"]["network"],
            line["span"]["endpoint"],
        ]) else {
            unreachable!()
        };
        told
    };
    let null = Value::Null;
    let (network, endpoint) = (&NETWORK[..12], &ENDPOINT[..12]);
    assert_eq!(
        told(&lines[0]),
        [
            json!("DEBUG"),
            json!("answered"),
            json!(200),
            json!("NetworkDriver.DiscoverNew"),
            json!(network),
            null.clone()
        ]
    );
    assert_eq!(
        told(&lines[1]),
        [
            json!("WARN"),
            json!("failed"),
            json!(400),
            json!("NetworkDriver.Join"),
            json!(network),
            json!(endpoint)
        ]
    );
    assert_eq!(lines[1]["error"].as_str(), Some(refused.error()));
    assert_eq!(
        told(&lines[2]),
        [
            json!("WARN"),
            json!("failed"),
            json!(400),
            json!("NetworkDriver.Leave"),
            null,
            json!(endpoint)
        ]
    );
}

#[tokio::test]
async fn text_logs_are_plain_where_there_is_no_terminal() {
    let (folder, socket) = home();
    let mut daemon = Daemon::start(folder.path(), &[]).await;
    let subject = json!({"NetworkID": NETWORK, "EndpointID": ENDPOINT, "SandboxKey": 5});
    Connection::open(&socket).await.call("NetworkDriver.Join", &subject).await;
    let line = daemon.logged("NetworkDriver.Join").await;
    assert!(
        line.contains(" WARN call{method=NetworkDriver.Join network=a0ca6ece2c77 endpoint=c28fd67ae6ee}: failed status=400 duration_ms="),
        "{line}"
    );
    assert!(!line.contains('\u{1b}'), "{line:?}");
}

#[tokio::test]
async fn bodies_are_logged_at_the_debug_level_only() {
    for (level, expected) in [("debug", true), ("info", false)] {
        let (folder, socket) = home();
        let daemon = Daemon::start(folder.path(), &["--log-level", level]).await;
        let secret = json!({"NetworkID": NETWORK, "note": "in the body"});
        Connection::open(&socket).await.call("NetworkDriver.DiscoverNew", &secret).await;
        daemon.signal(Signal::SIGTERM);
        let (_, log) = daemon.end().await;
        assert_eq!(log.contains("in the body"), expected, "{log}");
    }
}

#[tokio::test]
async fn the_environment_stands_in_for_flags() {
    let (folder, _) = home();
    let socket = folder.path().join("by-environment.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnm-cni"));
    command.arg("serve").env_clear().stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    for (name, value) in [
        ("NETCONFPATH", folder.path().join("conf").to_str().unwrap()),
        ("CNI_PATH", "/nowhere:/opt/cni/bin"),
        ("CNM_CNI_STATE_DIR", folder.path().join("state").to_str().unwrap()),
        ("CNM_CNI_RUN_DIR", folder.path().join("run").to_str().unwrap()),
        ("CNM_CNI_SOCKET", socket.to_str().unwrap()),
        ("CNM_CNI_LOG_FORMAT", "json"),
    ] {
        command.env(name, value);
    }
    let mut daemon = Daemon::spawn(command);
    let line: Value = serde_json::from_str(&daemon.logged("listening").await).unwrap();
    assert_eq!(line["socket"].as_str(), socket.to_str());
    assert!(socket.exists());
}

#[tokio::test]
async fn only_root_may_serve() {
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    // The build folder may be closed to others.
    let binary = folder.path().join("cnm-cni");
    std::fs::copy(env!("CARGO_BIN_EXE_cnm-cni"), &binary).unwrap();
    let mut command = Command::new(binary);
    command.arg("serve").arg("--socket").arg(folder.path().join("cni.sock"));
    command.uid(65534).gid(65534).stderr(Stdio::piped());
    let (status, said) = Daemon::spawn(command).end().await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("must run as root") && said.contains("sudo"), "{said}");
}

#[tokio::test]
async fn help_has_every_flag_with_its_variable_and_default() {
    let output = Command::new(env!("CARGO_BIN_EXE_cnm-cni"))
        .args(["serve", "--help"])
        .env_clear()
        .output()
        .await
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for (flag, variable, default) in [
        ("--conf-dir", "NETCONFPATH", "/etc/cni/net.d"),
        ("--cni-path", "CNI_PATH", "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni"),
        ("--state-dir", "CNM_CNI_STATE_DIR", "/var/lib/cnm-cni"),
        ("--run-dir", "CNM_CNI_RUN_DIR", "/run/cnm-cni"),
        ("--socket", "CNM_CNI_SOCKET", "/run/docker/plugins/cni.sock"),
        ("--plugin-timeout", "CNM_CNI_PLUGIN_TIMEOUT", "90"),
        ("--drain-timeout", "CNM_CNI_DRAIN_TIMEOUT", "30"),
        (
            "--log-level",
            "CNM_CNI_LOG_LEVEL",
            "info for serve, error for validate, warn for the others",
        ),
        ("--log-format", "CNM_CNI_LOG_FORMAT", "text"),
    ] {
        let at = help.find(&format!("{flag} <")).unwrap_or_else(|| panic!("no {flag} in\n{help}"));
        let told = help[at..].split("\n      --").next().unwrap();
        // Long lines are folded.
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(&format!("[env: {variable}=]")), "{told}");
        assert!(told.contains(&format!("[default: {default}]")), "{told}");
    }
}

#[tokio::test]
async fn a_driver_may_open_as_many_files_as_it_is_allowed() {
    let (folder, _) = home();
    let driver = serve(folder.path(), &[]);
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=256:4096").arg(driver.as_std().get_program());
    limited.args(driver.as_std().get_args()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut daemon = Daemon::spawn(limited);
    daemon.logged("listening").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("4096"), "{files}");
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.end().await.0.success());
}

/// The fields of a message in the journal's protocol (systemd.journal-fields(7)).
fn fields(message: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = message;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let name = String::from_utf8(rest[..end].to_vec()).unwrap();
        rest = &rest[end + 1..];
        if let Some((name, value)) = name.split_once('=') {
            fields.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap());
        let (value, after) = rest[8..].split_at(length.try_into().unwrap());
        fields.push((name, String::from_utf8_lossy(value).into_owned()));
        rest = &after[1..];
    }
    fields
}

#[test]
fn systemds_journal_gets_each_field_and_nothing_is_there_twice() {
    alone(async {
        sh("mkdir -p /run/systemd/journal");
        let journal = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
        journal.set_read_timeout(Some(PATIENCE)).unwrap();
        let (folder, socket) = home();
        let log = folder.path().join("stderr");
        let stderr = std::fs::File::create(&log).unwrap();
        let found = stderr.metadata().unwrap();
        let stream = format!("{}:{}", found.dev(), found.ino());
        let with = |more: &[&str], stream: &str| {
            let mut command = serve(folder.path(), more);
            command.env("JOURNAL_STREAM", stream).stderr(stderr.try_clone().unwrap());
            command.spawn().unwrap()
        };
        let mut driver = with(&[], &stream);
        let told = |words: &str| loop {
            let mut message = vec![0; 64 << 10];
            let length = journal.recv(&mut message).unwrap();
            let fields = fields(&message[..length]);
            let value = |name: &str| {
                let field = fields.iter().find(|(field, _)| field == name);
                field.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            if value("MESSAGE").starts_with(words) {
                return ["MESSAGE", "PRIORITY", "F_NETWORK", "F_ERROR", "SYSLOG_IDENTIFIER"]
                    .map(value);
            }
        };
        told("listening");
        let unknown = json!({"NetworkID": NETWORK, "EndpointID": ENDPOINT, "Interface": {}});
        let call = "NetworkDriver.CreateEndpoint";
        let refused = Connection::open(&socket).await.call(call, &unknown).await;
        let [message, priority, network, error, identifier] = told("refused");
        assert_eq!((priority.as_str(), identifier.as_str()), ("4", "cnm-cni"));
        assert_eq!((network.as_str(), error.as_str()), (&NETWORK[..12], refused.error()));
        assert!(message.contains(&format!("error={error}")), "{message}");
        driver.kill().await.unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "", "it is in the journal");

        // Another standard error than the journal's, and JSON, are what they are elsewhere.
        for (more, stream) in [(&[][..], "1:1"), (&["--log-format", "json"][..], &stream)] {
            let mut driver = with(more, stream);
            let logged = || std::fs::read_to_string(&log).unwrap().contains("listening");
            until("it logs", logged).await;
            driver.kill().await.unwrap();
            std::fs::write(&log, "").unwrap();
        }
    });
}
