//! Where Docker listens, found in the same way as by Docker's command line.
//!
//! In this order: the user's flags, `DOCKER_HOST`, `DOCKER_CONTEXT`, the context that `docker context use`
//! chose, the usual path.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use crate::whole;

const USUAL: &str = "/var/run/docker.sock";
/// The context without a file: `DOCKER_HOST`, or the usual path.
const DEFAULT: &str = "default";

/// Which Docker the user wants. What is not given is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `docker --host`, as `unix:///run/docker.sock`.
    pub host: Option<String>,
    /// `docker --context`.
    pub context: Option<String>,
    /// `docker --config`: the folder of its configuration.
    pub config: Option<PathBuf>,
}

/// The environment; an empty variable counts as unset.
#[derive(Debug, Default)]
struct Surroundings {
    /// `DOCKER_HOST`.
    host: Option<String>,
    /// `DOCKER_CONTEXT`.
    context: Option<String>,
    /// `DOCKER_CONFIG`, or `.docker` in the user's home.
    config: Option<PathBuf>,
}

/// The part of `config.json` that matters here.
#[derive(Default, Deserialize)]
struct Config {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

/// The part of a context's `meta.json` that matters here.
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Endpoints", default)]
    endpoints: BTreeMap<String, MetaEndpoint>,
}

#[derive(Deserialize)]
struct MetaEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
}

/// The path of Docker's socket.
pub(super) fn socket(wanted: &Wanted) -> Result<PathBuf> {
    let said = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let home = || Some(std::env::home_dir()?.join(".docker"));
    let surroundings = Surroundings {
        host: said("DOCKER_HOST"),
        context: said("DOCKER_CONTEXT"),
        config: said("DOCKER_CONFIG").map(PathBuf::from).or_else(home),
    };
    socket_among(wanted, &surroundings)
}

fn socket_among(wanted: &Wanted, around: &Surroundings) -> Result<PathBuf> {
    let config = wanted.config.as_deref().or(around.config.as_deref());
    let (context, named_by) = match (&wanted.host, &wanted.context) {
        (Some(_), Some(_)) => return Err(Error::HostAndContext),
        (Some(host), None) => return path(host, "the command line"),
        (None, Some(context)) => (context.clone(), "the command line"),
        (None, None) => match (&around.host, &around.context) {
            (Some(host), _) => return path(host, "DOCKER_HOST"),
            (None, Some(context)) => (context.clone(), "DOCKER_CONTEXT"),
            (None, None) => (current_context(config)?, "'docker context use'"),
        },
    };
    match (context.as_str(), &around.host) {
        (DEFAULT | "", Some(host)) => path(host, "DOCKER_HOST"),
        (DEFAULT | "", None) => Ok(USUAL.into()),
        (name, _) => of_context(name, named_by, config.unwrap_or(Path::new(""))),
    }
}

/// The context that `docker context use` chose; empty if none.
fn current_context(config: Option<&Path>) -> Result<String> {
    let Some(config) = config else { return Ok(String::new()) };
    let read: Option<Config> = json(&config.join("config.json"))?;
    Ok(read.unwrap_or_default().current_context)
}

/// The socket of a context.
fn of_context(name: &str, named_by: &str, config: &Path) -> Result<PathBuf> {
    let digest = Sha256::digest(name.as_bytes());
    let folder: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = config.join("contexts/meta").join(folder).join("meta.json");
    let Some(mut meta): Option<Meta> = json(&file)? else {
        let (name, named_by) = (name.to_owned(), named_by.to_owned());
        return Err(Error::NoContext { name, named_by, path: file });
    };
    match meta.endpoints.remove("docker") {
        Some(MetaEndpoint { host }) if !host.is_empty() => {
            path(&host, &format!("the Docker context {name:?}"))
        }
        _ => Err(Error::NoHost { path: file }),
    }
}

/// The path in `unix://PATH`.
fn path(host: &str, named_by: &str) -> Result<PathBuf> {
    match host.trim().strip_prefix("unix://") {
        Some("") => Ok(USUAL.into()),
        Some(path) => Ok(path.into()),
        None => Err(Error::NotHere { host: host.to_owned(), named_by: named_by.to_owned() }),
    }
}

/// The content of a file; none if it does not exist.
fn json<T: DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    let text = match whole::read(file, whole::SMALL) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(Error::Unreadable { path: file.to_owned(), source }),
    };
    let read = serde_json::from_slice(&text);
    read.map(Some).map_err(|source| Error::NotUnderstood { path: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn owned(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// A configuration of Docker's with the context "lab", which `config.json` names.
    fn configured(host: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), r#"{"currentContext": "lab"}"#).unwrap();
        // printf lab | sha256sum
        let digest = "a51146d38077ff992eba84cf1d5e9b249073503eb74868699016153b031a38f7";
        let meta = folder.path().join("contexts/meta").join(digest);
        fs::create_dir_all(&meta).unwrap();
        let text = format!(r#"{{"Name": "lab", "Endpoints": {{"docker": {{"Host": "{host}"}}}}}}"#);
        fs::write(meta.join("meta.json"), text).unwrap();
        folder
    }

    #[test]
    fn docker_is_where_its_own_command_line_looks_for_it() {
        let folder = configured("unix:///lab.sock");
        let config = || Some(folder.path().to_owned());
        let wants = |host: Option<&str>, context: Option<&str>| Wanted {
            host: host.map(str::to_owned),
            context: context.map(str::to_owned),
            config: None,
        };
        let nothing = || Surroundings { config: config(), ..Surroundings::default() };
        let host = || Surroundings { host: owned("unix:///env.sock"), ..nothing() };
        let context = || Surroundings { context: owned("default"), ..nothing() };
        let none = Surroundings::default;
        for (wanted, around, socket) in [
            (wants(None, None), none(), USUAL),
            (wants(None, None), nothing(), "/lab.sock"),
            (wants(None, None), context(), USUAL),
            (wants(None, None), host(), "/env.sock"),
            (wants(None, Some("lab")), host(), "/lab.sock"),
            (wants(None, Some("default")), host(), "/env.sock"),
            (wants(Some("unix:///own.sock"), None), host(), "/own.sock"),
            (wants(Some("unix://"), None), host(), USUAL),
            (Wanted { config: config(), ..Wanted::default() }, none(), "/lab.sock"),
        ] {
            let found = socket_among(&wanted, &around).unwrap();
            assert_eq!(found, Path::new(socket), "{wanted:?} {around:?}");
        }
    }

    #[test]
    fn what_is_no_socket_of_this_machine_is_told_with_who_names_it() {
        let folder = configured("tcp://192.0.2.1:2376");
        let around = || Surroundings { config: Some(folder.path().into()), ..Default::default() };
        let refused =
            |wanted, around| socket_among(&wanted, &around).expect_err("found").to_string();
        let said = refused(Wanted::default(), around());
        assert!(said.starts_with("the Docker context \"lab\" says that Docker is at \"tcp://192."));
        let host = Surroundings { host: owned("ssh://far"), ..around() };
        let said = refused(Wanted::default(), host);
        assert!(said.starts_with("DOCKER_HOST says that Docker is at \"ssh://far\"; "), "{said}");
        let wanted = Wanted { context: owned("../x"), ..Wanted::default() };
        let said = refused(wanted, around());
        assert!(
            said.contains("no Docker context \"../x\", which the command line names"),
            "{said}"
        );
        let both = Wanted { host: owned("unix://"), context: owned("lab"), config: None };
        assert!(matches!(socket_among(&both, &around()), Err(Error::HostAndContext)));
        fs::write(folder.path().join("config.json"), "{").unwrap();
        let said = refused(Wanted::default(), around());
        assert!(said.contains("config.json: EOF"), "{said}");
    }
}
