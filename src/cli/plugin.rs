//! The same program as a plugin of Docker's command line: `docker cni VERB`.
//!
//! Docker runs it as `docker-cni`, with its own flags before the word `cni`; once for each `docker --help`, to
//! get its description; and, from Docker 23 on, for each Tab after `docker cni`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use super::output::write;
use crate::docker::Wanted;

/// How it is called, in its own help.
pub(super) const NAME: &str = "docker cni";

/// Docker's own flags, and what comes after them. What only the logs and the TLS of Docker's command
/// line go by is taken, and passed over: a Unix socket has neither.
#[derive(Debug, Parser)]
#[command(name = NAME, disable_help_flag = true, disable_help_subcommand = true)]
struct Outer {
    #[arg(short = 'H', long)]
    host: Option<String>,
    #[arg(short, long)]
    context: Option<String>,
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true)]
    debug: Option<Option<String>>,
    #[arg(short, long)]
    log_level: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true)]
    tls: Option<Option<String>>,
    #[arg(long, num_args = 0..=1, require_equals = true)]
    tlsverify: Option<Option<String>>,
    #[arg(long)]
    tlscacert: Option<String>,
    #[arg(long)]
    tlscert: Option<String>,
    #[arg(long)]
    tlskey: Option<String>,
    #[command(subcommand)]
    rest: Rest,
}

#[derive(Debug, Subcommand)]
enum Rest {
    #[command(external_subcommand)]
    Words(Vec<OsString>),
}

/// What Docker asks of its plugin.
#[derive(Debug, PartialEq)]
pub(super) enum Call {
    /// Its description.
    Metadata,
    /// What the last of these words may become; the first is the program. `with_help`: and what each is.
    Completion { words: Vec<OsString>, with_help: bool },
    /// A verb, with the arguments as `cnm-cni` has them.
    Verb { arguments: Vec<OsString>, outer: Wanted },
}

/// Whether Docker's command line runs this program.
pub(super) fn is_plugin(program: Option<&OsStr>) -> bool {
    program.map(Path::new).and_then(Path::file_name).is_some_and(|name| name == "docker-cni")
}

/// Reads the arguments from Docker's command line.
///
/// # Errors
/// There is nothing, or a flag that Docker itself does not have.
pub(super) fn read(arguments: Vec<OsString>) -> Result<Call, clap::Error> {
    let Outer { host, context, config, rest: Rest::Words(words), .. } =
        Outer::try_parse_from(arguments)?;
    let mut words = words;
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it == word);
    if is(0, "docker-cli-plugin-metadata") {
        return Ok(Call::Metadata);
    }
    // The two verbs of cobra, the library of Docker's command line.
    let with_help = is(0, "__complete");
    if with_help || is(0, "__completeNoDesc") {
        // Docker's own flags may stand before the word `cni` here, too: they are in the words of the shell.
        let own = words.iter().position(|word| word == "cni").unwrap_or(0);
        words.drain(..=own);
        words.insert(0, NAME.into());
        return Ok(Call::Completion { words, with_help });
    }
    // `docker help cni VERB`, and else `docker cni VERB`.
    let named = if is(0, "help") { 1 } else { 0 };
    if is(named, "cni") {
        words.remove(named);
    }
    words.insert(0, NAME.into());
    Ok(Call::Verb { arguments: words, outer: Wanted { host, context, config } })
}

/// Prints the description for Docker.
pub(super) fn tell_metadata() -> anyhow::Result<()> {
    let metadata = serde_json::json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "cnm-cni",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": super::ABOUT,
    });
    write(&format!("{metadata}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(line: &str) -> Call {
        read(line.split(' ').map(OsString::from).collect()).unwrap()
    }

    fn verb(line: &str, outer: Wanted) -> Call {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let arguments = std::iter::once(NAME).chain(words).map(OsString::from).collect();
        Call::Verb { arguments, outer }
    }

    #[test]
    fn dockers_own_flags_are_not_the_verbs() {
        assert_eq!(called("docker-cni docker-cli-plugin-metadata"), Call::Metadata);
        assert_eq!(called("docker-cni cni"), verb("", Wanted::default()));
        assert_eq!(called("docker-cni cni check -x web"), verb("check -x web", Wanted::default()));
        assert_eq!(called("docker-cni help cni create"), verb("help create", Wanted::default()));
        assert_eq!(called("docker-cni cni cni add"), verb("cni add", Wanted::default()));
        let outer = Wanted {
            host: Some("unix:///a.sock".into()),
            context: None,
            config: Some("/etc/docker-cli".into()),
        };
        let flags = "-D --tls=false --log-level info --config /etc/docker-cli -H unix:///a.sock";
        let line = format!("docker-cni {flags} cni create web -o a=b");
        assert_eq!(called(&line), verb("create web -o a=b", outer));
        let outer = Wanted { context: Some("lab".into()), ..Wanted::default() };
        assert_eq!(called("docker-cni --context=lab cni check"), verb("check", outer.clone()));
        assert_eq!(called("docker-cni -c lab cni check"), verb("check", outer));
    }

    #[test]
    fn the_words_to_complete_are_those_after_its_own_name() {
        for (verb, with_help) in [("__complete", true), ("__completeNoDesc", false)] {
            for flags in ["", "--context lab ", "-D "] {
                let words = [NAME, "cni", ""].map(OsString::from).into();
                let line = format!("docker-cni {verb} {flags}cni cni ");
                assert_eq!(called(&line), Call::Completion { words, with_help }, "{line}");
            }
        }
    }

    #[test]
    fn it_is_the_plugin_when_it_is_called_so() {
        assert!(is_plugin(Some("/usr/libexec/docker/cli-plugins/docker-cni".as_ref())));
        assert!(!is_plugin(Some("/usr/bin/cnm-cni".as_ref())) && !is_plugin(None));
    }
}
