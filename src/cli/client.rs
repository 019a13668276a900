//! Asking the running driver: one call over its socket.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let answer = runtime.block_on(self.post(method, body))?;
        if let Ok(Refusal { err }) = serde_json::from_slice(&answer) {
            bail!(err);
        }
        serde_json::from_slice(&answer)
            .context("the driver's answer is not understood; is it of another version?")
    }

    async fn post(&self, method: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
        let stream = UnixStream::connect(&self.socket).await.with_context(|| {
            format!(
                "no driver answers on {}: is 'cnm-cni serve' running, and are you root?",
                self.socket.display()
            )
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::post(format!("/{method}"))
            .header("host", "cnm-cni")
            .body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            Ok::<_, hyper::Error>(response.into_body().collect().await?.to_bytes())
        };
        tokio::select! {
            // The answer first: the connection ends with it.
            biased;
            answer = answer => answer.context("the driver went away before it answered"),
            ended = connection => Err(match ended {
                Err(error) => anyhow!(error).context("the connection to the driver broke"),
                Ok(()) => anyhow!("the driver closed the connection before it answered"),
            }),
        }
    }
}
