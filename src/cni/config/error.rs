//! What can be wrong with a network configuration, or with looking for one.

use std::io;
use std::path::{Path, PathBuf};

use super::MOST_PLUGINS;
use crate::cni::lenient::{Mismatch, not_json};
use crate::cni::name::InvalidName;
use crate::cni::version::InvalidVersion;
use crate::nearest::nearest;
use crate::trust::Untrusted;

/// Why there is no network configuration to use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON at all.
    #[error("{}", not_json(.0))]
    Syntax(#[from] serde_json::Error),
    /// Something in it is of the wrong kind.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The network's name, or a plugin's type, cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// `cniVersion`, or an entry of `cniVersions`, is no version.
    #[error(transparent)]
    Version(#[from] InvalidVersion),
    /// The network has no `name`.
    #[error("it has no \"name\"")]
    NoName,
    /// A plugin has no `type`.
    #[error("it has no \"type\", the name of the plugin's executable")]
    NoType,
    /// A file for a single plugin has a list of them.
    #[error(
        "it has no \"type\", but a list of \"plugins\": the name of such a file ends in .conflist"
    )]
    List,
    /// There is nothing to run.
    #[error("it has no plugins; list at least one under \"plugins\"")]
    NoPlugins,
    /// More plugins than a chain may have.
    #[error("it has {0} plugins, and may have {MOST_PLUGINS}")]
    TooManyPlugins(usize),
    /// `loadOnlyInlinedPlugins` is true, and `plugins` is absent.
    #[error("\"loadOnlyInlinedPlugins\" is true, but there is no \"plugins\"")]
    NothingInlined,
    /// One of the inlined plugins is at fault.
    #[error("plugins[{index}]: {source}")]
    Plugin {
        /// Its place in `plugins`, from 0.
        index: usize,
        /// What is wrong with it.
        source: Box<ConfigError>,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than root could change a file or folder.
    #[error("{0}, or accept that with --allow-writable")]
    Untrusted(#[from] Untrusted),
    /// A file is at fault.
    #[error("{}{source}", of_file(path, source))]
    InFile {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ConfigError>,
    },
    /// A file repeats the name of a network in another file, which goes before it.
    #[error("{}: its network {name:?} is hidden by the one in {}", file.display(), by.display())]
    Hidden {
        /// The file that is not used.
        file: PathBuf,
        /// The name that both have.
        name: String,
        /// The file that is used.
        by: PathBuf,
    },
    /// No usable file has a network of this name.
    #[error(
        "no network configuration with name {name:?} in {}: {}{}",
        dir.display(),
        instead(name, known),
        passed_over(name, dir, problems)
    )]
    NotFound {
        /// The name that was asked for.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
        /// The names that are there.
        known: Vec<String>,
        /// The files that could not be used: the wanted network may be in one of them.
        problems: Vec<ConfigError>,
    },
    /// The folder has configuration files, and not one of them can be used.
    #[error("no usable network configuration in {}{}", dir.display(), joined(": ", problems))]
    NoneUsable {
        /// Which folder.
        dir: PathBuf,
        /// What is wrong with each file.
        problems: Vec<ConfigError>,
    },
}

impl ConfigError {
    /// Whether others than root could change what it is about.
    #[must_use]
    pub fn is_untrusted(&self) -> bool {
        match self {
            Self::Untrusted(_) => true,
            Self::InFile { source, .. } => source.is_untrusted(),
            _ => false,
        }
    }

    /// The file that it is about.
    fn file(&self) -> Option<&Path> {
        match self {
            Self::InFile { path, .. } | Self::Unreadable { path, .. } => Some(path),
            Self::Hidden { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The same error, with the file that it is in; once is enough.
    pub(in crate::cni) fn in_file(self, path: PathBuf) -> Self {
        match self {
            Self::InFile { .. } | Self::Unreadable { .. } => self,
            source => Self::InFile { path, source: Box::new(source) },
        }
    }
}

/// An untrusted file is named by its own error.
fn of_file(path: &Path, problem: &ConfigError) -> String {
    match problem {
        ConfigError::Untrusted(_) => String::new(),
        _ => format!("{}: ", path.display()),
    }
}

/// What may have been meant; else the first of what is there.
fn instead(name: &str, known: &[String]) -> String {
    const SHOWN: usize = 5;
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    if let Some(nearest) = nearest(name, &names) {
        return format!("did you mean {nearest:?}?");
    }
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len() {
        0 => "there is none".to_owned(),
        1..=SHOWN => format!("there is {shown}"),
        many => format!("there is {shown}, and {} more", many - SHOWN),
    }
}

/// What keeps a file from being used that may have the wanted network: one that is called like it, or the
/// only one. What is wrong with the others is another's business.
fn passed_over(name: &str, dir: &Path, problems: &[ConfigError]) -> String {
    let is_of_the_name = |problem: &&ConfigError| {
        let file = problem.file().and_then(|file| file.strip_prefix(dir).ok());
        file.is_some_and(|file| file.to_string_lossy().contains(name))
    };
    let told = match problems {
        [only] => Some(only),
        several => several.iter().find(is_of_the_name),
    };
    let others = match problems.len() - usize::from(told.is_some()) {
        0 => String::new(),
        1 => "; one more file there cannot be used: see 'cnm-cni validate'".to_owned(),
        many => format!("; {many} files there cannot be used: see 'cnm-cni validate'"),
    };
    told.map(|problem| format!("; also, {problem}")).unwrap_or_default() + &others
}

fn joined(before: &str, problems: &[ConfigError]) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("{before}{}", problems.join("; "))
}
