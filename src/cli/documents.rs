//! `cnm-cni documents`: man pages, from the command line's own definition, and shell completions.
//!
//! It is a verb, not another program, because another program would need a second build of everything, and
//! because a binary alone should have these too. It is hidden, because `make install` and the package use
//! it for the user.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Command;

use super::completions::Shell;
use super::man;

/// Write man pages and completions for bash, zsh and fish into a folder
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// Folder to write them into; it is made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes those of `command`, the whole command line; files that are there are replaced.
pub(super) fn run(args: &Args, command: &Command) -> anyhow::Result<()> {
    fs::create_dir_all(&args.folder).and_then(|()| write_to(&args.folder, command)).with_context(
        || format!("cannot write man pages and completions into {}", args.folder.display()),
    )
}

fn write_to(folder: &Path, command: &Command) -> std::io::Result<()> {
    for shell in Shell::ALL {
        fs::write(folder.join(shell.file()), shell.script().map_err(std::io::Error::other)?)?;
    }
    // 'cnm-cni help serve' is the page of 'serve' again.
    let command = (command.clone())
        .disable_help_subcommand(true)
        .mut_subcommands(|verb| verb.disable_help_subcommand(true));
    man::write_to(folder, command)
}
