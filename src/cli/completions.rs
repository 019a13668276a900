//! `cnm-cni completions`: scripts that have a shell complete this program's command line.
//!
//! The scripts know nothing by themselves: they run this program, with [`VARIABLE`] set and the words that are
//! there so far. So verbs and flags are those of the program that is installed, and containers and networks
//! those that there are now ([`candidates`](super::operator::candidates)).
//!
//! For `docker cni` the scripts are Docker's: they run `docker`, which runs this program ([`for_docker`]).

use std::env::{current_dir, var_os};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, ValueEnum};
use clap_complete::engine::complete;
use clap_complete::env::{EnvCompleter, Shells};

use super::output::write;

/// Names the shell that asks. Not the library's usual variable: it would turn the driver into a completer.
const VARIABLE: &str = "CNM_CNI_COMPLETE";

const HELP: &str = "\
Examples:
  source <(cnm-cni completions bash)                        # in this shell
  cnm-cni completions bash >/etc/bash_completion.d/cnm-cni
  cnm-cni completions zsh >/usr/local/share/zsh/site-functions/_cnm-cni
  cnm-cni completions fish >~/.config/fish/completions/cnm-cni.fish

The package and 'make install' have put them into place.

Exit status: 0.";

/// Print a script that has a shell complete verbs, flags, containers and networks
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// A shell that there is a script for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub(super) const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    /// The file's name in the folder where the shell looks for it.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Bash => "cnm-cni.bash",
            Self::Zsh => "_cnm-cni",
            Self::Fish => "cnm-cni.fish",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    /// The script.
    ///
    /// # Errors
    /// The library knows no such shell.
    pub(super) fn script(self) -> anyhow::Result<String> {
        const PROGRAM: &str = "cnm-cni";
        let mut script = Vec::new();
        completer(self.name())?.write_registration(
            VARIABLE,
            PROGRAM,
            PROGRAM,
            PROGRAM,
            &mut script,
        )?;
        Ok(String::from_utf8(script)?)
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    write(&args.shell.script()?)
}

/// Answers a script, if one asks: `cnm-cni -- WORD…`.
pub(super) fn answer(
    command: impl FnOnce() -> Command,
    arguments: &[OsString],
) -> Option<ExitCode> {
    let shell = var_os(VARIABLE).filter(|shell| !shell.is_empty())?;
    let words = arguments.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    let complete = || -> anyhow::Result<()> {
        let mut answer = Vec::new();
        let folder = current_dir().ok();
        let completer = completer(&shell.to_string_lossy())?;
        let folder = folder.as_deref().map(Path::new);
        completer.write_complete(&mut command(), words, folder, &mut answer)?;
        write(&String::from_utf8_lossy(&answer))
    };
    // A message would stand in the middle of what the user types.
    Some(if complete().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the last of `words` may become, as Docker's scripts read it: a candidate a line, with what it is after a
/// tab if they want that; and at the end a number of flags for the shell.
///
/// The form is that of cobra, the library of Docker's command line:
/// <https://github.com/spf13/cobra/blob/main/site/content/completions/_index.md>.
pub(super) fn for_docker(
    mut command: Command,
    words: Vec<OsString>,
    with_help: bool,
) -> anyhow::Result<()> {
    const NO_SPACE: u8 = 2;
    const NO_FILES: u8 = 4;
    let last = words.len().saturating_sub(1);
    // Of `--flag=value` the scripts complete what follows the sign.
    let begun = words.get(last).map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let flag = begun.split_once('=').filter(|(flag, _)| flag.starts_with('-'));
    let flag = flag.map(|(flag, _)| format!("{flag}="));
    let folder = current_dir().ok();
    let candidates = complete(&mut command, words, last, folder.as_deref())?;
    let (mut answer, mut directive) = (String::new(), NO_FILES);
    for candidate in candidates {
        let value = candidate.get_value().to_string_lossy();
        // As with Docker's own verbs, flags are shown to who has begun one.
        if value.starts_with('-') && !begun.starts_with('-') {
            continue;
        }
        let value = flag.as_deref().and_then(|flag| value.strip_prefix(flag)).unwrap_or(&value);
        let help = candidate.get_help().filter(|_| with_help).map(ToString::to_string);
        let help = help.as_deref().and_then(|help| help.lines().next());
        answer += &match help {
            Some(help) => format!("{value}\t{help}\n"),
            None => format!("{value}\n"),
        };
        // More follows on the name of a folder.
        directive |= if value.ends_with('/') { NO_SPACE } else { 0 };
    }
    write(&format!("{answer}:{directive}\n"))
}

fn completer(shell: &str) -> anyhow::Result<&'static dyn EnvCompleter> {
    const BUILT_IN: Shells<'static> = Shells::builtins();
    let known = BUILT_IN.0.iter().find(|completer| completer.is(shell));
    known.copied().with_context(|| format!("there is no completion for shell {shell:?}"))
}
