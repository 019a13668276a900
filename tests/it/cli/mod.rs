//! The command line, as a user has it: arguments and variables in; output and status out.

mod cni;
mod completions;
mod documents;
mod endless;
mod events;
mod explain;
mod progress;
mod status;
mod usage;
mod validate;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cni::Bench;

/// The program. `CNM_CNI_BINARY` is another build of it, as `make test-arm64` has it.
fn program() -> PathBuf {
    std::env::var_os("CNM_CNI_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_cnm-cni").into(), PathBuf::from)
}

/// Configuration files, plugins, and a place for what is kept.
struct Desk {
    dir: TempDir,
    bench: Bench,
}

impl Desk {
    /// A desk with the fake plugin under each of `types`, and no network.
    fn with(types: &[&str]) -> Self {
        let desk = Self { dir: TempDir::new().unwrap(), bench: Bench::with(types) };
        std::fs::create_dir(desk.path("conf")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a list into `conf/NAME.conflist`. Its plugins write to the desk's log.
    fn network(&self, name: &str, version: &str, plugins: Value) {
        let mut list = json!({"cniVersion": version, "name": name, "plugins": plugins});
        for plugin in list["plugins"].as_array_mut().unwrap() {
            plugin["fake"]["log"] = json!(self.bench.log());
        }
        self.write(&format!("conf/{name}.conflist"), &list.to_string());
    }

    fn write(&self, name: &str, content: &str) {
        let file = self.path(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    /// Adds a plugin that is a script of its own.
    fn script(&self, name: &str, script: &str) {
        let file = self.bench.bin().join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// The program with these arguments, and nothing in its environment but the folders.
    fn command(&self, args: &[&str]) -> Command {
        self.command_of(&program(), args)
    }

    fn command_of(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("NETCONFPATH", self.path("conf"))
            .env("CNI_PATH", self.bench.bin());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::by(&mut self.command(args))
    }
}

/// What a program said, and how it ended.
#[derive(Debug)]
struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    fn by(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Self {
            status: status.code().unwrap(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Its standard output, of a program that succeeded.
    fn output(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.stdout
    }

    /// Its standard error, of a program that failed and printed nothing else.
    fn error(self) -> String {
        assert_eq!((self.status, self.stdout.as_str()), (1, ""), "{self:?}");
        self.stderr
    }
}
