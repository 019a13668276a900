//! The host's own programs, as `iptables`: found by name, and run within the same bounds as plugins.
//!
//! They get a clean environment: where programs are, and a language whose output can be read.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::{Cut, DEFAULT_PATH, Process};
use crate::trust::{Trust, Untrusted};

/// Longer than any of them waits for a lock of its own.
const DEADLINE: Duration = Duration::from_secs(30);

/// How much they may say. A node of a large cluster has some ten megabytes of rules.
const MAX_STDOUT: usize = 64 << 20;

/// How much of a failed program's standard error is in the error, in characters.
const MOST_SHOWN: usize = 1024;

/// A program that could not be run to a good end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// Others than root could change it. It was not run.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It was there, and could not be started.
    #[error("cannot be started: {0}")]
    Unstarted(std::io::Error),
    /// Its pipes failed.
    #[error("its output cannot be read: {0}")]
    Pipe(std::io::Error),
    /// It ended with a failure.
    #[error("{}", if stderr.is_empty() { status.to_string() } else { stderr.clone() })]
    Exit {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error, cut.
        stderr: String,
    },
    /// It wrote more than it may; it was killed with its children.
    #[error("wrote more than {MAX_STDOUT} bytes, and was killed")]
    TooMuchOutput,
    /// It was still there at its deadline; it was killed with its children.
    #[error("had not ended after {} s, and was killed", .0.as_secs())]
    Deadline(Duration),
}

/// Runs the program of that name with `arguments`, and gives what it wrote to standard output.
/// None where the host has no such program.
///
/// # Errors
/// It fails, or goes beyond its bounds.
pub(crate) async fn run(
    name: &str,
    arguments: &[&str],
    stdin: &[u8],
) -> Result<Option<Vec<u8>>, Failed> {
    run_within(DEADLINE, None, name, arguments, stdin).await
}

/// The same in the network namespace at `netns`.
///
/// # Errors
/// There is no such namespace, or as [`run`].
pub(crate) async fn run_in(
    netns: &Path,
    name: &str,
    arguments: &[&str],
    stdin: &[u8],
) -> Result<Option<Vec<u8>>, Failed> {
    run_within(DEADLINE, Some(netns), name, arguments, stdin).await
}

/// Whether the host has a program of that name.
pub(crate) fn is_there(name: &str) -> bool {
    find(name, &path()).is_some()
}

fn path() -> OsString {
    env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into())
}

/// The same, with less time.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_within(
    deadline: Duration,
    netns: Option<&Path>,
    name: &str,
    arguments: &[&str],
    stdin: &[u8],
) -> Result<Option<Vec<u8>>, Failed> {
    let path = path();
    let Some(program) = find(name, &path) else { return Ok(None) };
    Trust::Root.judge(&program)?;
    let env = [(OsString::from("PATH"), path), ("LC_ALL".into(), "C".into())];
    let process = Process {
        program: &program,
        file: &program,
        arguments,
        env: &env,
        stdin,
        deadline,
        max_stdout: MAX_STDOUT,
        netns,
    };
    let run = process.run().await;
    match run.outcome {
        Ok(status) if status.success() => Ok(Some(run.stdout)),
        Ok(status) => {
            let stderr =
                String::from_utf8_lossy(&run.stderr).trim().chars().take(MOST_SHOWN).collect();
            Err(Failed::Exit { status, stderr })
        }
        Err(Cut::Unstarted(error)) => Err(Failed::Unstarted(error)),
        Err(Cut::Pipe(error)) => Err(Failed::Pipe(error)),
        Err(Cut::TooMuchOutput) => Err(Failed::TooMuchOutput),
        Err(Cut::Deadline) => Err(Failed::Deadline(deadline)),
    }
}

/// The first file of this name that can be executed. What `PATH` has relative to the current
/// folder is skipped: it is not known which folder that is.
fn find(name: &str, path: &OsString) -> Option<PathBuf> {
    let folders = env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(name)).find(|file| {
        file.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::netns;
    use crate::netns::tests::Pinned;

    async fn shell(script: &str, stdin: &str) -> Result<Option<Vec<u8>>, Failed> {
        run_within(Duration::from_millis(500), None, "sh", &["-c", script], stdin.as_bytes()).await
    }

    #[tokio::test]
    async fn a_program_reads_its_input_and_its_output_is_read() {
        assert_eq!(shell("cat", "rules").await.unwrap().unwrap(), b"rules");
        assert!(run("no-such-program", &[], b"").await.unwrap().is_none());
        let error = shell("echo 'no chain' >&2; exit 3", "").await.unwrap_err();
        assert_eq!(error.to_string(), "no chain");
        assert!(matches!(error, Failed::Exit { status, .. } if status.code() == Some(3)));
    }

    #[tokio::test]
    async fn it_runs_in_the_namespace_that_is_named_and_this_process_stays_in_its_own() {
        let pinned = Pinned::new().await;
        let seen = async |netns: Option<&Path>| {
            let arguments = ["-c", "readlink /proc/self/ns/net"];
            run_within(DEADLINE, netns, "sh", &arguments, b"").await.unwrap().unwrap()
        };
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let there = netns::identity(&pinned.path).unwrap().unwrap().ino;
        let named = format!("net:[{there}]\n");
        assert_eq!(seen(Some(&pinned.path)).await, named.as_bytes());
        assert_eq!(seen(None).await, format!("{}\n", ours.display()).as_bytes());
        let error = run_in(Path::new("/nowhere"), "sh", &[], b"").await.unwrap_err();
        assert!(error.to_string().contains("no network namespace at /nowhere"), "{error}");
    }

    #[tokio::test]
    async fn it_gets_a_clean_environment() {
        let env = shell("cat /proc/self/environ", "").await.unwrap().unwrap();
        let env = String::from_utf8(env).unwrap();
        let mut keys: Vec<_> =
            env.split_terminator('\0').map(|it| it.split('=').next().unwrap()).collect();
        // The shell's own.
        keys.retain(|key| !["PWD", "OLDPWD", "SHLVL", "_"].contains(key));
        keys.sort_unstable();
        assert_eq!(keys, ["LC_ALL", "PATH"]);
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! >{}; wait", pid.display());
        let error = shell(&script, "").await.unwrap_err();
        assert!(matches!(error, Failed::Deadline(_)), "{error}");
        let child = std::fs::read_to_string(pid).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < deadline, "its child lives on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn one_that_writes_without_end_is_killed() {
        let deadline = Duration::from_secs(60);
        let error = run_within(deadline, None, "cat", &["/dev/zero"], b"").await.unwrap_err();
        assert!(matches!(error, Failed::TooMuchOutput), "{error}");
    }

    #[test]
    fn a_program_of_the_current_folder_is_not_run() {
        assert_eq!(find("Cargo.toml", &".::./".into()), None);
        assert!(find("sh", &":/bin".into()).unwrap().is_absolute());
    }
}
