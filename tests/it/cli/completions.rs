//! `cnm-cni completions`: what a shell completes.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use super::{Said, program};

/// What bash completes for a command line, of which the last word is under way. The
/// variables are the only ones that the program has.
fn completed(line: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let words: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "PATH=\"$FOLDER:$PATH\"; source <(cnm-cni completions bash); \
         complete -p cnm-cni >/dev/null || exit 1; COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; \
         _clap_complete_cnm_cni cnm-cni {} ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        line.len() - 1,
        words.last().unwrap(),
    );
    let program = program();
    let folder = program.parent().unwrap();
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", &script]).env_clear().env("PATH", "/usr/bin:/bin");
    let said = Said::by(command.env("FOLDER", folder).envs(variables.iter().copied()));
    assert_eq!(said.status, 0, "{said:?}");
    let replies = said.stdout.lines().map(|line| line.trim_end().to_owned());
    replies.filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_completes_verbs_and_flags() {
    let verbs = completed(&["cnm-cni", "re"], &[]);
    assert_eq!(verbs, ["reload"]);
    let flags = completed(&["cnm-cni", "graph", "--for"], &[]);
    assert_eq!(flags, ["--format"]);
    let formats = completed(&["cnm-cni", "graph", "--format", "s"], &[]);
    assert_eq!(formats, ["svg"]);
}

#[test]
fn conflists_are_completed_from_the_folder() {
    let folder = TempDir::new().unwrap();
    let conflist = r#"{"cniVersion": "1.0.0", "name": "front", "plugins": [{"type": "bridge"}]}"#;
    fs::write(folder.path().join("10-front.conflist"), conflist).unwrap();
    let path = folder.path().to_str().unwrap();
    let variables = [
        ("NETCONFPATH", path),
        ("CNM_CNI_STATE_DIR", path),
        ("CNM_CNI_SOCKET", "/nonexistent"),
        ("DOCKER_HOST", "unix:///nonexistent"),
    ];
    let conflists = completed(&["cnm-cni", "pools", "f"], &variables);
    assert_eq!(conflists, ["front"]);
    let of_create = completed(&["cnm-cni", "create", "web", "--conflist", "f"], &variables);
    assert_eq!(of_create, ["front"]);
    // Nobody tells of a container, and nothing is said of that.
    assert_eq!(completed(&["cnm-cni", "show", "x"], &variables), [""; 0]);
}

/// A Docker and a driver that take calls and never answer. How long they are waited for stands beside the code
/// that does.
#[test]
fn who_never_answers_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let listeners = ["docker.sock", "cni.sock"].map(|name| UnixListener::bind(path(name)).unwrap());
    let docker = format!("unix://{}", path("docker.sock"));
    let driver = path("cni.sock");
    let variables = [("DOCKER_HOST", docker.as_str()), ("CNM_CNI_SOCKET", driver.as_str())];
    for line in [["cnm-cni", "show", "x"], ["cnm-cni", "net", "x"], ["cnm-cni", "pools", "x"]] {
        assert_eq!(completed(&line, &variables), [""; 0], "{line:?}");
    }
    drop(listeners);
}

/// The program as Docker's command line runs it for its own completion, and nothing else in its variables.
fn docker_completed(verb: &str, line: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let plugin = folder.path().join("docker-cni");
    std::os::unix::fs::symlink(program(), &plugin).unwrap();
    let mut command = Command::new(plugin);
    command.arg(verb).args(line).env_clear().envs(variables.iter().copied());
    let said = Said::by(&mut command);
    assert_eq!(said.stderr, "");
    said.output().lines().map(str::to_owned).collect()
}

#[test]
fn docker_is_answered_as_its_own_plugins_answer() {
    let all = docker_completed("__complete", &["cni", ""], &[]);
    for verb in ["ls", "show", "doctor", "create"] {
        let described = |line: &String| line.split_once('\t').is_some_and(|(it, _)| it == verb);
        assert!(all.iter().any(described), "{verb}: {all:?}");
    }
    assert_eq!(all.last().unwrap(), ":4");
    assert_eq!(docker_completed("__complete", &["cni", "nothing-like-it"], &[]), [":4"]);
    let bare = |line: &[&str]| docker_completed("__completeNoDesc", line, &[]);
    assert_eq!(bare(&["cni", "re"]), ["reload", ":4"]);
    assert_eq!(bare(&["--context", "lab", "cni", "re"]), ["reload", ":4"]);
    assert_eq!(bare(&["cni", "graph", "--format", "s"]), ["svg", ":4"]);
    // Of this, the scripts complete what follows the sign.
    assert_eq!(bare(&["cni", "graph", "--format=s"]), ["svg", ":4"]);
    // Of a folder the name goes on.
    assert_eq!(bare(&["cni", "ls", "--state-dir", "/us"]), ["/usr/", ":6"]);
}

/// A Docker with a network of the driver, a container on it, and one elsewhere.
fn answer_as_docker(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let length = std::io::Read::read(&mut stream, &mut asked).unwrap();
            let body = match asked[..length].starts_with(b"GET /networks") {
                true => r#"[{"Id": "a1b2", "Name": "web"}]"#,
                false => {
                    r#"[{"Id": "c1", "Names": ["/shop-db-1"], "State": "running",
                         "NetworkSettings": {"Networks": {"web": {"NetworkID": "a1b2"}}}},
                        {"Id": "c2", "Names": ["/shop-other"], "State": "running"}]"#
                }
            };
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        }
    });
}

#[test]
fn containers_and_networks_are_those_that_docker_tells() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("docker.sock");
    answer_as_docker(&socket);
    let docker = format!("unix://{}", socket.display());
    let variables = [("DOCKER_HOST", docker.as_str()), ("CNM_CNI_SOCKET", "/nonexistent")];
    assert_eq!(completed(&["cnm-cni", "doctor", "sh"], &variables), ["shop-db-1"]);
    assert_eq!(completed(&["cnm-cni", "ls", "--network", "w"], &variables), ["web"]);
    let show = docker_completed("__complete", &["cni", "show", ""], &variables);
    assert_eq!(show, ["shop-db-1\trunning", ":4"]);
    let network = docker_completed("__completeNoDesc", &["cni", "net", ""], &variables);
    assert_eq!(network, ["web", ":4"]);
}

#[test]
fn there_is_a_script_for_each_shell() {
    for (shell, words) in
        [("bash", "complete -o"), ("zsh", "#compdef cnm-cni"), ("fish", "complete --keep-order")]
    {
        let said = Said::by(Command::new(program()).args(["completions", shell]));
        assert!(said.output().contains(words), "{shell}");
    }
}
