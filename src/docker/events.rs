//! What happens in Docker: objects of JSON, one after the other, without an end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;

use super::error::{Error, Result};
use super::types::null_as_default;
use crate::http;

/// No event is near this size, in bytes.
const LONGEST: usize = 1 << 20;

/// What happens.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    socket: PathBuf,
    /// What has come and is not read yet.
    rest: Vec<u8>,
}

/// An event.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// `container` or `network`.
    #[serde(rename = "Type", default)]
    pub of: String,
    /// `create`, `connect` and others.
    #[serde(default)]
    pub action: String,
    /// What it happened to.
    #[serde(default)]
    pub actor: Actor,
}

/// What an event happened to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name, and the labels of a container; the container that was connected to a network.
    #[serde(rename = "Attributes", deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
}

impl Events {
    pub(super) fn of(body: Incoming, socket: PathBuf) -> Self {
        Self { body, socket, rest: Vec::new() }
    }

    /// Waits for the next one; none once Docker has ended.
    ///
    /// # Errors
    /// The connection is lost, or what comes is not Docker's.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| Error::Unreachable {
                socket: self.socket.clone(),
                cause: http::Error::CutOff(error),
            })?;
            if let Some(data) = frame.data_ref() {
                self.rest.extend(data);
            }
        }
    }

    /// The first whole event of what has come.
    fn take(&mut self) -> Result<Option<Event>> {
        let mut events = serde_json::Deserializer::from_slice(&self.rest).into_iter();
        let failed = |source| Error::Answer { socket: self.socket.clone(), source };
        match events.next() {
            None => {
                self.rest.clear();
                Ok(None)
            }
            Some(Ok(event)) => {
                let read = events.byte_offset();
                self.rest.drain(..read);
                Ok(Some(event))
            }
            Some(Err(error)) if error.is_eof() && self.rest.len() < LONGEST => Ok(None),
            Some(Err(error)) => Err(failed(error)),
        }
    }
}
