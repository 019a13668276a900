//! One HTTP request over a Unix socket, and an answer that may have no end.

use std::os::unix::net::SocketAddr;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyperlocal::{UnixClientExt, Uri};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is not valid for a socket.
    #[error("no socket can have that path: {0}")]
    Path(#[source] std::io::Error),
    /// The library takes text alone.
    #[error("its path is not UTF-8")]
    NotText,
    /// The request's path is no path of a URL.
    #[error("the request cannot be written")]
    Request(#[from] hyper::http::Error),
    /// No process answers there, with the kernel's reason.
    #[error("{0}")]
    Unanswered(String),
    /// The answer is incomplete.
    #[error("it went away before it had answered")]
    CutOff(#[source] hyper::Error),
}

/// Sends one request, a body with JSON if there is any, and waits for the whole answer.
///
/// # Errors
/// The socket does not exist, no process listens there, or the process closes the connection.
pub async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Response<Bytes>, Error> {
    let (head, body) = begin(socket, method, path, body).await?.into_parts();
    let body = body.collect().await.map_err(Error::CutOff)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// The same, and waits only for the head of the answer. The connection ends with the returned body.
///
/// # Errors
/// The socket does not exist, no process listens there, or the process closes the connection.
pub async fn begin(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Response<Incoming>, Error> {
    // The library takes any text for a path, and its own form of it for a host.
    SocketAddr::from_pathname(socket).map_err(Error::Path)?;
    let uri = Uri::new(socket.to_str().ok_or(Error::NotText)?, path);
    let mut request = Request::builder().method(method).uri(uri).header(HOST, "localhost");
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body)))?;
    Client::unix().request(request).await.map_err(|error| Error::Unanswered(innermost(&error)))
}

/// The library's own message says less than its cause, such as `Permission denied (os error 13)`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Answers one call on a socket with `answer`; returns what was asked for, and the answer.
    async fn called(method: Method, body: &str, answer: &str) -> (String, Response<Bytes>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("a socket.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        let body = body.as_bytes().to_vec();
        let end = if body.is_empty() { b"\r\n\r\n".to_vec() } else { body.clone() };
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(&end) {
                let mut piece = [0; 1024];
                let length = stream.read(&mut piece).unwrap();
                assert!(length > 0, "it ends with {:?}", String::from_utf8_lossy(&asked));
                asked.extend(&piece[..length]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let answer = exchange(&socket, method, "/some/path", body).await.unwrap();
        (server.join().unwrap(), answer)
    }

    #[tokio::test]
    async fn a_call_names_a_host_that_every_server_takes() {
        for (method, body) in [(Method::GET, ""), (Method::POST, r#"{"a": 1}"#)] {
            let (asked, answer) = called(method.clone(), body, r#"{"b": 2}"#).await;
            let (head, sent) = asked.split_once("\r\n\r\n").unwrap();
            let mut lines = head.lines();
            assert_eq!(lines.next(), Some(format!("{method} /some/path HTTP/1.1").as_str()));
            let hosts: Vec<_> =
                lines.filter(|line| line.to_ascii_lowercase().starts_with("host:")).collect();
            assert_eq!(hosts, ["host: localhost"]);
            assert_eq!((sent, &answer.body()[..]), (body, &br#"{"b": 2}"#[..]));
        }
    }

    #[tokio::test]
    async fn a_path_that_can_be_no_socket_is_an_error() {
        for path in ["/nowhere/cni.sock", &format!("/{}", "x".repeat(70_000))] {
            let asked = exchange(Path::new(path), Method::GET, "/", Vec::new()).await;
            assert!(asked.is_err(), "{path}");
        }
    }
}
