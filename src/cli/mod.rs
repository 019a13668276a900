//! The command line: arguments and output. One file per verb.
//!
//! The only room that prints, and the only one whose errors are of `anyhow`: here errors are only shown.

mod activation;
mod client;
mod cni;
mod completions;
mod compose;
mod create;
mod documents;
mod explain;
mod folders;
mod heap;
mod host_root;
mod journald;
mod logging;
mod man;
mod network_options;
mod new_network;
mod operator;
mod output;
mod plugin;
#[cfg(test)]
mod printed;
mod progress;
mod seconds;
mod serve;
mod table;
mod time;
mod time_zone;
mod validate;
mod watch;

use std::env::{args_os, var_os};
use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::docker::Wanted;

const ABOUT: &str = "Docker networks out of CNI plugins";

const LONG_ABOUT: &str = "\
Docker networks out of CNI plugins.

cnm-cni is a Docker network driver. A container on one of its networks is attached by the \
CNI plugins of this machine, with the configuration that Kubernetes, containerd or CRI-O \
use here; Docker shows its address, resolves its name, and publishes its ports.";

const EXAMPLE: &str = "\
Examples:
  cnm-cni serve                       # the driver, on a Unix socket
  docker network create -d cni --ipam-driver null -o conflist=k8s web
  docker run --network web -p 8080:80 nginx
  cnm-cni                             # how things stand, as 'cnm-cni status'
  cnm-cni doctor                      # why it does not work, and what helps

Without -o conflist=NAME the first configuration in /etc/cni/net.d is taken, and without \
any there, a built-in bridge. 'cnm-cni validate' shows what is there, and whether it works; \
'cnm-cni cni' runs it by hand.

See 'cnm-cni serve --help' for folders, time limits and logs.

Exit status: 0 for success; 1 if something failed, or a check found a problem; 2 if the command line \
is not understood. The help of a verb has more.";

#[derive(Debug, Parser)]
#[command(name = "cnm-cni", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLE)]
struct Cli {
    /// Without one: how things stand.
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    log: logging::Args,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::Args),
    Create(create::Args),
    Explain(explain::Args),
    Validate(validate::Args),
    Cni(cni::Args),
    #[command(flatten)]
    Operator(operator::Verb),
    Completions(completions::Args),
    Documents(documents::Args),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = args_os().collect();
    if let Some(ended) = completions::answer(Cli::command, &arguments) {
        return ended;
    }
    let program = arguments.first().map(OsString::as_os_str);
    let as_cnitool = cni::is_cnitool(program);
    // The flags of `docker` itself; empty if `docker` does not run this program.
    let mut outer = Wanted::default();
    if as_cnitool {
        arguments = cni::from_cnitool(arguments.into_iter());
    } else if plugin::is_plugin(program) {
        match plugin::read(arguments) {
            Ok(plugin::Call::Metadata) => {
                return ended(plugin::tell_metadata().map(|()| ExitCode::SUCCESS));
            }
            Ok(plugin::Call::Completion { words, with_help }) => {
                let told = completions::for_docker(Cli::command(), words, with_help);
                return ended(told.map(|()| ExitCode::SUCCESS));
            }
            Ok(plugin::Call::Verb { arguments: words, outer: told }) => {
                (arguments, outer) = (words, told);
            }
            Err(usage) => {
                let _ = usage.print();
                return ExitCode::from(2);
            }
        }
    }
    let (verb, log) = match read(arguments) {
        Ok(read) => read,
        Err(usage) => {
            // The terminal is gone, so nobody reads the error.
            let _ = usage.print();
            return match usage.exit_code() {
                0 => ExitCode::SUCCESS,
                _ if as_cnitool => ExitCode::FAILURE,
                _ => ExitCode::from(2),
            };
        }
    };
    logging::start(&log, verb.log_level());
    let outcome = match verb {
        Verb::Serve(args) => serve::run(args).map(|()| ExitCode::SUCCESS),
        Verb::Create(args) => create::run(&args, &outer).map(|()| ExitCode::SUCCESS),
        Verb::Explain(args) => explain::run(&args),
        Verb::Operator(verb) => verb.run(&outer),
        Verb::Completions(args) => completions::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Documents(args) => documents::run(&args, &Cli::command()).map(|()| ExitCode::SUCCESS),
        Verb::Validate(args) => validate::run(args),
        Verb::Cni(args) => cni::run(args),
    };
    ended(outcome)
}

/// The verb, and the flags for logs. Without a verb it is `status`.
fn read(mut arguments: Vec<OsString>) -> Result<(Verb, logging::Args), clap::Error> {
    let mut matches = deaf_to_empty_variables(Cli::command()).try_get_matches_from(&arguments)?;
    match Cli::from_arg_matches_mut(&mut matches)? {
        Cli { verb: Some(verb), log } => Ok((verb, log)),
        Cli { verb: None, .. } => {
            arguments.insert(arguments.len().min(1), "status".into());
            read(arguments)
        }
    }
}

/// The exit status of an outcome; an error is shown.
fn ended(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        show(&error);
        ExitCode::FAILURE
    })
}

impl Verb {
    /// The default log level: a daemon logs what it does, while a tool has its output.
    fn log_level(&self) -> logging::Level {
        match self {
            Self::Serve(_) => logging::Level::Info,
            Self::Validate(_) | Self::Explain(_) | Self::Create(_) => logging::Level::Error,
            Self::Operator(_) | Self::Cni(_) | Self::Completions(_) | Self::Documents(_) => {
                logging::Level::Warn
            }
        }
    }
}

/// An empty variable counts as unset, as with libcni's tools: a file of settings may contain a variable
/// without a value.
fn deaf_to_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| match arg.get_env() {
            Some(name) if is_empty(name) => arg.env(None::<&'static str>),
            _ => arg,
        })
        .mut_subcommands(deaf_to_empty_variables)
}

/// Prints the error and what caused it, a line each.
fn show(error: &anyhow::Error) {
    let mut lines = output::line(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        lines += &output::line(&format!("  caused by: {cause}"));
    }
    output::complain(&lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Lines that begin with a space stand in columns, and have to fit; all others are paragraphs of one line
    /// each, which clap wraps.
    #[test]
    fn the_help_of_every_verb_fits_80_columns() {
        fn look_at(command: &Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let mut before = "";
            for line in help.lines() {
                let name = command.get_name();
                let is_column = line.starts_with(' ');
                assert!(!is_column || line.chars().count() <= 80, "{name}: {line}");
                let goes_on = !is_column && !line.is_empty() && !before.is_empty();
                assert!(!goes_on, "{name}: a paragraph of two lines: {before}\n{line}");
                before = line;
            }
            command.get_subcommands().for_each(look_at);
        }
        look_at(&Cli::command());
    }
}
