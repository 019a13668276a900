//! Asking the running driver: one call over its socket. And asking Docker which endpoints a
//! container has, which only a tool may do: Docker waits for its drivers.

use std::collections::HashMap;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyperlocal::{UnixClientExt, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Where the driver listens.
#[derive(Debug, clap::Args)]
pub(super) struct Socket {
    /// The driver's socket, as for 'cnm-cni serve'
    #[arg(long, value_name = "FILE", env = "CNM_CNI_SOCKET")]
    #[arg(default_value = "/run/docker/plugins/cni.sock")]
    socket: PathBuf,
}

/// How the driver refuses a call.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Err")]
    err: String,
}

impl Socket {
    /// Calls the driver's `method` and returns its answer, however long that takes.
    ///
    /// # Errors
    /// No driver listens, or it refused, with its reason.
    pub(super) fn ask<Answer: DeserializeOwned>(
        &self,
        method: &str,
        request: &impl Serialize,
    ) -> anyhow::Result<Answer> {
        let body = serde_json::to_vec(request).context("cannot write the request")?;
        let path = format!("/{method}");
        let answer = exchange(&self.socket, Method::POST, &path, body).with_context(|| {
            format!(
                "no driver answers on {}: is 'cnm-cni serve' running, and are you root?",
                self.socket.display()
            )
        })?;
        let answer = answer.into_body();
        if let Ok(Refusal { err }) = serde_json::from_slice(&answer) {
            bail!(err);
        }
        serde_json::from_slice(&answer)
            .context("the driver's answer is not understood; is it of another version?")
    }
}

/// What Docker says of a container; the rest is left out.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    network_settings: NetworkSettings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    networks: HashMap<String, Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "EndpointID")]
    id: String,
}

/// The endpoints of the container that Docker knows by this name, or beginning of an id; none
/// if it knows none, or is not there.
pub(super) fn endpoints_of(container: &str) -> Vec<String> {
    const DOCKER: &str = "/run/docker.sock";
    // Anything else is no name of a container, and may mean something in a path.
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !container.chars().all(is_name) {
        return Vec::new();
    }
    let path = format!("/containers/{container}/json");
    let answer = exchange(Path::new(DOCKER), Method::GET, &path, Vec::new());
    let container: Option<Container> = answer
        .ok()
        .filter(|answer| answer.status().is_success())
        .and_then(|answer| serde_json::from_slice(answer.body()).ok());
    let networks = container.map(|container| container.network_settings.networks);
    let ids = networks.into_iter().flatten().map(|(_, endpoint)| endpoint.id);
    ids.filter(|id| !id.is_empty()).collect()
}

/// One request over a Unix socket.
fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<Response<Bytes>> {
    // The library takes any text for a path, and its own form of it for a host.
    SocketAddr::from_pathname(socket)?;
    let uri = Uri::new(socket.to_str().context("its path is not UTF-8")?, path);
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(HOST, "localhost")
        .body(Full::new(Bytes::from(body)))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let (head, body) = Client::unix().request(request).await?.into_parts();
        let body = body.collect().await.context("it went away before it answered")?;
        Ok(Response::from_parts(head, body.to_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Answers one call on a socket with `answer`; returns what was asked for, and the answer.
    fn called(method: Method, body: &str, answer: &str) -> (String, Response<Bytes>) {
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
        let answer = exchange(&socket, method, "/some/path", body).unwrap();
        (server.join().unwrap(), answer)
    }

    #[test]
    fn a_call_names_a_host_that_every_server_takes() {
        for (method, body) in [(Method::GET, ""), (Method::POST, r#"{"a": 1}"#)] {
            let (asked, answer) = called(method.clone(), body, r#"{"b": 2}"#);
            let (head, sent) = asked.split_once("\r\n\r\n").unwrap();
            let mut lines = head.lines();
            assert_eq!(lines.next(), Some(format!("{method} /some/path HTTP/1.1").as_str()));
            let hosts: Vec<_> =
                lines.filter(|line| line.to_ascii_lowercase().starts_with("host:")).collect();
            assert_eq!(hosts, ["host: localhost"]);
            assert_eq!((sent, &answer.body()[..]), (body, &br#"{"b": 2}"#[..]));
        }
    }

    #[test]
    fn a_path_that_can_be_no_socket_is_an_error() {
        for path in ["/nowhere/cni.sock", &format!("/{}", "x".repeat(70_000))] {
            assert!(exchange(Path::new(path), Method::GET, "/", Vec::new()).is_err(), "{path}");
        }
    }
}
