//! What is seen on a terminal while something takes long.

use std::io::{Read, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::{Said, program};

/// A driver without networks that finds no garbage, and answers once it is told to.
fn slow_driver(socket: &Path, told: Receiver<()>) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let nothing =
            r#"{"version": 1, "networks": [], "attachments": [], "conflists": [], "problems": []}"#;
        let mut slow = Some(told);
        for answer in ["[]", nothing] {
            let (mut stream, _) = listener.accept().unwrap();
            let length = stream.read(&mut [0; 4096]).unwrap();
            assert!(length > 0);
            if let Some(told) = slow.take() {
                told.recv().unwrap();
            }
            let length = answer.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}").unwrap();
        }
    });
}

#[test]
fn on_a_terminal_it_says_what_it_does_and_takes_that_away() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("cni.sock");
    let (tell, told) = channel();
    slow_driver(&socket, told);
    // A terminal of its own, with both outputs on it.
    let line = format!("{} gc --socket {}", program().display(), socket.display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let mut shown = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut terminal = shown.stdout.take().unwrap();
    let mut text = String::new();
    while !text.contains("collecting … 1 s") {
        let mut piece = [0; 256];
        let length = terminal.read(&mut piece).unwrap();
        assert!(length > 0, "it ended with {text:?}");
        text += &String::from_utf8_lossy(&piece[..length]);
    }
    tell.send(()).unwrap();
    terminal.read_to_string(&mut text).unwrap();
    let end = text.trim_end();
    assert!(end.ends_with("\r\u{1b}[KNo garbage."), "{text:?}");
    assert!(shown.wait().unwrap().success());
}

#[test]
fn a_program_that_reads_it_gets_nothing_of_that() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("cni.sock");
    let (tell, told) = channel();
    slow_driver(&socket, told);
    let slow = thread::spawn(move || {
        // Longer than a terminal would wait for its line.
        thread::sleep(Duration::from_millis(1500));
        tell.send(()).unwrap();
    });
    let said = Said::by(Command::new(program()).args(["gc", "--socket"]).arg(&socket));
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("No garbage.\n", ""));
    slow.join().unwrap();
}
