//! Why Docker is not asked, or does not answer.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;

use crate::http;

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why Docker is not asked, or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two things that exclude each other.
    #[error("both a host and a context of Docker are given; say one of them")]
    HostAndContext,
    /// Docker is somewhere else.
    #[error(
        "{named_by} says that Docker is at {host:?}; this driver serves the Docker of its own machine: \
         run the command there, or name a Unix socket, as unix:///var/run/docker.sock"
    )]
    NotHere {
        /// Where Docker is said to be.
        host: String,
        /// The flag, variable or file that says so.
        named_by: String,
    },
    /// The context is not in the store.
    #[error(
        "there is no Docker context {name:?}, which {named_by} names: no {}; 'docker context ls' \
         lists them", path.display()
    )]
    NoContext {
        /// Its name.
        name: String,
        /// The flag, variable or file that names it.
        named_by: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// A context without an endpoint for Docker.
    #[error("the Docker context of {} tells no host", path.display())]
    NoHost {
        /// Its file.
        path: PathBuf,
    },
    /// A file of Docker's command line cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of Docker's command line is not what it should be.
    #[error("{}: {source}", path.display())]
    NotUnderstood {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// No process answers.
    #[error(
        "no Docker answers on {}: {cause}; does it run, and may you ask it?", socket.display()
    )]
    Unreachable {
        /// Docker's socket.
        socket: PathBuf,
        /// Why.
        cause: http::Error,
    },
    /// It takes too long.
    #[error("Docker has not answered on {} within {} s", socket.display(), limit.as_secs())]
    TooSlow {
        /// Docker's socket.
        socket: PathBuf,
        /// How long it was given.
        limit: Duration,
    },
    /// The answer is not Docker's.
    #[error("the answer on {} is not understood: {source}", socket.display())]
    Answer {
        /// Docker's socket.
        socket: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Docker refuses, in its own words.
    #[error("{message}")]
    Refused {
        /// As HTTP has it.
        status: StatusCode,
        /// Why.
        message: String,
    },
}
