//! Asking the running driver: one call over its socket. And asking Docker which endpoints a
//! container has, which only a tool may do: Docker waits for its drivers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

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
        let request = Request::post(format!("/{method}"))
            .header("host", "cnm-cni")
            .body(Full::new(Bytes::from(body)))?;
        let answer = exchange(&self.socket, request).with_context(|| {
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

/// What Docker tells about a container; the rest is left out.
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
    let request = Request::get(format!("/containers/{container}/json"))
        .header("host", "docker")
        .body(Full::default());
    let container: Option<Container> = request
        .ok()
        .and_then(|request| exchange(Path::new(DOCKER), request).ok())
        .filter(|answer| answer.status().is_success())
        .and_then(|answer| serde_json::from_slice(answer.body()).ok());
    let networks = container.map(|container| container.network_settings.networks);
    let ids = networks.into_iter().flatten().map(|(_, endpoint)| endpoint.id);
    ids.filter(|id| !id.is_empty()).collect()
}

/// One request over a Unix socket.
fn exchange(socket: &Path, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answer = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>(Response::from_parts(head, body.collect().await?.to_bytes()))
        };
        tokio::select! {
            // The answer first: the connection ends with it.
            biased;
            answer = answer => answer.context("it went away before it answered"),
            ended = connection => Err(match ended {
                Err(error) => anyhow!(error).context("the connection broke"),
                Ok(()) => anyhow!("it closed the connection before it answered"),
            }),
        }
    })
}
