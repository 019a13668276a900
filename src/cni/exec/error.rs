//! Why an operation on a network failed.
//!
//! The wording begins as libcni's does, so that what is known about a plugin's errors from
//! kubelet's log is found here too.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::cni::attachment::InvalidAttachment;
use crate::cni::result::InvalidResult;
use crate::cni::{Verb, Version};
use crate::plain;
use crate::trust::Untrusted;

/// Why an operation on a network failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The attachment's parameters cannot be handed to plugins. Nothing was run.
    #[error("network {network:?}: {source}")]
    Attachment {
        /// The network.
        network: String,
        /// What is wrong.
        source: InvalidAttachment,
    },
    /// A plugin was looked for, and is not there.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Others than root could change a plugin, or a folder where plugins are looked for.
    #[error("{0}, or accept that with --allow-writable")]
    Untrusted(#[from] Untrusted),
    /// A plugin failed. None after it was run.
    #[error(transparent)]
    Plugin(#[from] Box<PluginError>),
    /// Several plugins failed; only GC and an undo go on after a failure.
    #[error("{}", several(.0))]
    Several(Vec<Error>),
    /// The network's version is from before CHECK.
    #[error("configuration version \"{0}\" does not support the CHECK command")]
    NoCheck(Version),
    /// The stored result does not fit the network's version.
    #[error("network {network:?}: the result of its ADD: {source}")]
    PrevResult {
        /// The network.
        network: String,
        /// What is wrong.
        source: InvalidResult,
    },
}

/// A plugin that did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("plugin {} failed ({}): {failure}", self.who(), verb.in_words())]
pub struct PluginError {
    /// The plugin's type.
    pub plugin: String,
    /// The network that it was run for; none when it was only asked for its versions.
    pub network: Option<String>,
    /// What was asked of it.
    pub verb: Verb,
    /// Its place in the chain, from 0.
    pub position: usize,
    /// What went wrong.
    #[source]
    pub failure: Failure,
    /// The start of what it wrote to standard error.
    pub stderr: String,
}

/// No folder of the plugin path has an executable of a plugin's name.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to find plugin {plugin:?} in path [{}]{}; \
     install it there, or add its folder with --cni-path",
    paths(searched),
    not_executable(unusable)
)]
pub struct NotFound {
    /// The plugin's type.
    pub plugin: String,
    /// The folders that were searched.
    pub searched: Vec<PathBuf>,
    /// What has the name, and cannot be executed.
    pub unusable: Vec<PathBuf>,
}

/// There is no executable of a plugin's name that may be run.
#[derive(Debug)]
pub(in crate::cni) enum NoProgram {
    NotFound(NotFound),
    Untrusted(Untrusted),
}

impl From<NoProgram> for Error {
    fn from(problem: NoProgram) -> Self {
        match problem {
            NoProgram::NotFound(problem) => Self::NotFound(problem),
            NoProgram::Untrusted(problem) => Self::Untrusted(problem),
        }
    }
}

impl From<NoProgram> for Failure {
    fn from(problem: NoProgram) -> Self {
        match problem {
            NoProgram::NotFound(problem) => Self::NotFound(problem),
            NoProgram::Untrusted(problem) => Self::Untrusted(problem),
        }
    }
}

/// What went wrong with a plugin.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no such executable.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Others than root could change it, or another one that it runs. It was not run.
    #[error("{0}, or accept that with --allow-writable")]
    Untrusted(#[from] Untrusted),
    /// It could not be started.
    #[error("cannot start {}: {source}{}", program.display(), remedy(source))]
    Unstarted {
        /// The executable.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It reported an error, as the specification has it (SPEC.md section 5, "Error").
    #[error("{}", reported(*code, msg, details))]
    Reported {
        /// The kind of error: below 100 as the specification says, else the plugin's own.
        code: u64,
        /// What happened, briefly.
        msg: String,
        /// What happened, at length; may be empty.
        details: String,
    },
    /// It failed without an error message.
    #[error("netplugin failed{}: {}", said(stderr), in_words(*status))]
    Silent {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// It failed with something that is no error message.
    #[error("netplugin failed but error parsing its diagnostic message {stdout:?}: {problem}")]
    Garbled {
        /// The start of what it wrote to standard output.
        stdout: String,
        /// Why that is no error message.
        problem: String,
    },
    /// It did not end in time, and was killed together with its children.
    #[error("it did not end within {after:?}, and was killed")]
    Deadline {
        /// The time that it had.
        after: Duration,
    },
    /// It wrote too much to standard output, and was killed together with its children.
    #[error("it wrote more than {limit} bytes to standard output, and was killed")]
    TooMuchOutput {
        /// What it may write, in bytes.
        limit: usize,
    },
    /// It succeeded with something that is no result.
    #[error("its result cannot be used: {0}")]
    Result(#[source] InvalidResult),
    /// It succeeded with something that is no JSON, or more than that.
    #[error("its result cannot be used: {0}")]
    NotJson(String),
    /// It did not answer VERSION properly.
    #[error("decoding version info: {0}")]
    VersionInfo(String),
    /// The pipes to it failed.
    #[error("lost the connection to the plugin: {0}")]
    Pipe(#[source] io::Error),
    /// What it is to be sent could not be written down.
    #[error("cannot write its configuration: {0}")]
    Request(#[source] serde_json::Error),
}

/// Codes that mean something to a runtime.
pub(in crate::cni) mod code {
    /// Nothing is known of the container: no DEL is needed.
    pub(in crate::cni) const UNKNOWN_CONTAINER: u64 = 3;
    /// A passing condition: the runtime should try again.
    pub(in crate::cni) const TRY_AGAIN: u64 = 11;
}

impl Error {
    /// Whether an ADD that failed so is to be followed by DEL: always, unless nothing was
    /// run, or the first plugin of the chain knows that there is nothing to clean up.
    #[must_use]
    pub fn needs_del(&self) -> bool {
        match self {
            Self::Plugin(error) => match &error.failure {
                // ADD finds and judges all plugins before it runs any.
                Failure::NotFound(_) | Failure::Untrusted(_) => false,
                Failure::Unstarted { .. }
                | Failure::Reported { code: code::UNKNOWN_CONTAINER, .. } => error.position > 0,
                _ => true,
            },
            Self::Several(errors) => errors.iter().any(Self::needs_del),
            Self::Attachment { .. }
            | Self::NotFound(_)
            | Self::Untrusted(_)
            | Self::NoCheck(_)
            | Self::PrevResult { .. } => false,
        }
    }

    /// The code that a plugin reported.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Plugin(error) => error.code(),
            _ => None,
        }
    }

    /// What a plugin has to do with the failure.
    #[must_use]
    pub fn plugin(&self) -> Option<&PluginError> {
        match self {
            Self::Plugin(error) => Some(error),
            _ => None,
        }
    }
}

impl PluginError {
    /// The code that the plugin reported.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        match self.failure {
            Failure::Reported { code, .. } => Some(code),
            _ => None,
        }
    }

    fn who(&self) -> String {
        let network = self.network.iter().map(|network| format!(" name={network:?}"));
        std::iter::once(format!("type={:?}", self.plugin)).chain(network).collect()
    }
}

fn several(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn not_executable(unusable: &[PathBuf]) -> String {
    match unusable {
        [] => String::new(),
        unusable => format!(" ({} cannot be executed)", paths(unusable)),
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::ExecutableFileBusy => "; another process has it open for writing",
        // It was found a moment ago.
        io::ErrorKind::NotFound => "; the interpreter or loader that it names is missing",
        _ if source.raw_os_error() == Some(nix::libc::ENOEXEC) => {
            "; it is no program for this machine"
        }
        _ => "",
    }
}

fn reported(code: u64, msg: &str, details: &str) -> String {
    match (msg, details) {
        ("", "") => format!("error code {code}, without a message"),
        (msg, "") => msg.to_owned(),
        (msg, details) => format!("{msg}; {details}"),
    }
}

fn said(stderr: &str) -> String {
    match stderr {
        "" => " with no error message".to_owned(),
        stderr => format!(": {:?}", plain::cut(stderr)),
    }
}
