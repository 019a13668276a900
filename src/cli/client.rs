//! Asks the running driver, by one call over its socket. Also asks Docker, which only a tool may do: Docker
//! waits for its drivers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::docker::{Docker, Wanted};
use crate::http::exchange;

/// Where the driver listens.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Socket {
    /// The driver's socket, as for 'cnm-cni serve'
    #[arg(long, value_name = "FILE", env = "CNM_CNI_SOCKET")]
    #[arg(default_value = "/run/docker/plugins/cni.sock")]
    socket: PathBuf,

    /// How long an answer may take; none for as long as it takes.
    #[arg(skip)]
    limit: Option<Duration>,
}

/// Where Docker listens.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DockerArgs {
    /// Docker's socket, as unix:///run/docker.sock [default: where 'docker' finds it, by DOCKER_HOST,
    /// DOCKER_CONTEXT, its current context, or at unix:///var/run/docker.sock]
    #[arg(long, value_name = "HOST")]
    docker: Option<String>,
}

/// No driver answers.
#[derive(Debug, thiserror::Error)]
#[error("no driver answers on {}: is 'cnm-cni serve' running, and are you root?", socket.display())]
pub(super) struct NoDriver {
    socket: PathBuf,
}

/// The driver has not answered in time.
#[derive(Debug, thiserror::Error)]
#[error("the driver on {} has not answered within {limit:?}", socket.display())]
struct TooSlow {
    socket: PathBuf,
    limit: Duration,
}

/// The body of the driver's refusal.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Err")]
    err: String,
}

impl Socket {
    /// The same, where an answer may take no longer than this.
    pub(super) fn within(&self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self.clone() }
    }

    /// Calls the driver's `method` and returns its answer.
    ///
    /// # Errors
    /// No driver listens, it takes too long, or it refused, with its reason.
    pub(super) fn ask<Answer: DeserializeOwned>(
        &self,
        method: &str,
        request: &impl Serialize,
    ) -> anyhow::Result<Answer> {
        let body = serde_json::to_vec(request).context("cannot write the request")?;
        let path = format!("/{method}");
        let call = exchange(&self.socket, Method::POST, &path, body);
        let answer = answer_of(async {
            match self.limit {
                None => Ok(call.await),
                Some(limit) => timeout(limit, call).await.map_err(|_| limit),
            }
        })?;
        let answer = answer.map_err(|limit| TooSlow { socket: self.socket.clone(), limit })?;
        let answer = answer.with_context(|| NoDriver { socket: self.socket.clone() })?;
        let answer = answer.into_body();
        if let Ok(Refusal { err }) = serde_json::from_slice(&answer) {
            bail!(err);
        }
        serde_json::from_slice(&answer)
            .context("the driver's answer is not understood; is it of another version?")
    }
}

impl DockerArgs {
    /// Whether the user has named a socket.
    pub(super) fn is_named(&self) -> bool {
        self.docker.is_some()
    }

    /// The Docker that the user means; `outer` has the flags of `docker` itself, before `cni`.
    ///
    /// # Errors
    /// It is not on this machine, or the file that says where it is cannot be read.
    pub(super) fn find(&self, outer: &Wanted) -> Result<Docker, crate::docker::Error> {
        match &self.docker {
            None => Docker::find(outer),
            Some(host) => {
                let config = outer.config.clone();
                Docker::find(&Wanted { host: Some(host.clone()), context: None, config })
            }
        }
    }
}

/// Waits for an answer, on a runtime of its own.
///
/// # Errors
/// The runtime cannot start.
pub(super) fn answer_of<F: Future>(call: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(call))
}
