//! One run of one executable: started, fed, listened to, and gone when this is over. CNI plugins
//! are run so, and the host's own programs ([`host`]).
//!
//! The process leads a process group of its own. Whatever ends the run early (its deadline,
//! too much output, the caller that loses interest) ends the whole group, since plugins run
//! other plugins, and those may hang or hold the pipes open. The group is only ever killed
//! while its leader has not been reaped: until then no other process can have its id.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use std::{fs, io};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest};
use tokio::process::{Child, ChildStdin, Command};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{crash, netns};

pub(crate) mod host;

/// Where programs are looked for when this process has no `PATH`.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of standard error is kept, in bytes; the rest is read and dropped.
const STDERR_KEPT: usize = 64 << 10;

/// How long a program's children may hold its pipes open once the program itself has exited.
const LINGER: Duration = Duration::from_secs(1);

/// How long a killed process may take to go. One that is stuck in the kernel does not go,
/// and is not waited for.
const KILLED: Duration = Duration::from_secs(5);

/// How long a process that has ended stays in the process table. Its last thread tells of the end first, and then takes
/// its own entries below `/proc` away. Whoever reaps the process in between takes away those of the whole process, meets
/// the thread's, and looks again and again until they are gone: milliseconds with the processor busy, more if that
/// keeps the thread from running. A plugin in Go has such entries for each namespace that it has entered.
const REST: Duration = Duration::from_millis(50);

/// How often an executable that is being written to is tried, and the first pause between
/// two tries; each pause doubles: 1.5 s in all.
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// What to run.
#[derive(Debug)]
pub(crate) struct Process<'a> {
    /// Its name, and what it gets as its own name.
    pub(crate) program: &'a Path,
    /// The file that is run: the same, or a descriptor of it.
    pub(crate) file: &'a Path,
    pub(crate) arguments: &'a [&'a str],
    /// The whole environment: nothing is inherited.
    pub(crate) env: &'a [(OsString, OsString)],
    pub(crate) stdin: &'a [u8],
    /// How long it may take, from its start until its pipes are closed and it is gone.
    pub(crate) deadline: Duration,
    /// How many bytes it may write to standard output.
    pub(crate) max_stdout: usize,
    /// Path of the network namespace that it runs in; none for that of this process.
    pub(crate) netns: Option<&'a Path>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) outcome: Result<ExitStatus, Cut>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Why there is no exit status that counts.
#[derive(Debug)]
pub(crate) enum Cut {
    /// It could not be started.
    Unstarted(io::Error),
    /// Its pipes failed.
    Pipe(io::Error),
    /// It wrote more than it may; it was killed.
    TooMuchOutput,
    /// It was still there at its deadline; it was killed.
    Deadline,
}

impl Process<'_> {
    /// Runs it to its end. Dropping the future kills it with all its children.
    pub(crate) async fn run(&self) -> Run {
        let mut run = Run { outcome: Err(Cut::Deadline), stdout: Vec::new(), stderr: Vec::new() };
        run.outcome = match self.start().await {
            Ok(child) => self.attend(child, &mut run.stdout, &mut run.stderr).await,
            Err(error) => Err(Cut::Unstarted(error)),
        };
        run
    }

    fn name(&self) -> &OsStr {
        self.program.file_name().unwrap_or_default()
    }

    /// Starts it. An executable that is just being replaced is busy for a moment.
    async fn start(&self) -> io::Result<Child> {
        let mut pause = BUSY_PAUSE;
        for _ in 1..BUSY_TRIES {
            match self.spawn().await {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    sleep(pause).await;
                    pause *= 2;
                }
                started => return started,
            }
        }
        self.spawn().await
    }

    /// A child begins in the network namespace of the thread that starts it.
    async fn spawn(&self) -> io::Result<Child> {
        let mut command = self.command();
        let Some(netns) = self.netns else { return command.spawn() };
        let runtime = Handle::current();
        let spawned = netns::run_in(netns, move || {
            let _here = runtime.enter();
            command.spawn()
        });
        spawned.await.map_err(io::Error::other)?
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.file);
        command
            .arg0(self.program)
            .args(self.arguments)
            .env_clear()
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            // Makes tokio reap what is dropped; the group is killed by `Group`.
            .kill_on_drop(true);
        command
    }

    async fn attend(
        &self,
        mut child: Child,
        stdout: &mut Vec<u8>,
        stderr: &mut Vec<u8>,
    ) -> Result<ExitStatus, Cut> {
        let deadline = Instant::now() + self.deadline;
        crash::point(format_args!("{}: runs", self.name().display()));
        let mut group = Group::led_by(&child);
        spare_no_more(&child);
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let talk = async {
            tokio::try_join!(
                feed(input, self.stdin),
                read_up_to(self.max_stdout, output, stdout),
                read_start(STDERR_KEPT, errors, stderr),
            )
        };
        let talked = tokio::select! {
            talked = talk => talked.map(|_| ()),
            () = group.outlived_by_its_pipes() => {
                tracing::warn!(
                    program = %self.program.display(),
                    "the program has exited, and what it started holds its output open: it is not waited \
                     for, and killed unless it has left the program's process group"
                );
                group.kill();
                Ok(())
            }
            () = tokio::time::sleep_until(deadline) => Err(Cut::Deadline),
        };
        let ended = match talked {
            Ok(()) => match timeout_at(deadline, end_of(&mut child)).await {
                Ok(status) => status.map_err(Cut::Pipe),
                Err(_) => Err(Cut::Deadline),
            },
            Err(cut) => Err(cut),
        };
        if ended.is_err() {
            group.kill();
            // Whatever it says now, the reason is known.
            let _ = timeout(KILLED, end_of(&mut child)).await;
        }
        group.release();
        reap_later(child);
        ended
    }
}

/// Waits until the process has ended, and leaves it to be reaped. A kernel before 5.3 cannot tell; there it is reaped.
async fn end_of(child: &mut Child) -> io::Result<ExitStatus> {
    let Some(id) = id_of(child) else { return child.wait().await };
    let Ok(pidfd) = pidfd_open(id, PidfdFlags::empty()) else { return child.wait().await };
    // SAFETY: the `AsyncFd` owns the descriptor, which is open until it is dropped.
    #[allow(unsafe_code, reason = "tokio has no safe way to watch a descriptor")]
    let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
    loop {
        let mut ready = pidfd.readable().await?;
        match exit_status(id) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => ready.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The exit status of a child that has ended; it is not reaped.
fn exit_status(child: Pid) -> rustix::io::Result<Option<ExitStatus>> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(child), look)?.map(|ended| {
        // As `wait` of the C library has it.
        let dumped = if ended.dumped() { 0x80 } else { 0 };
        let signal = ended.terminating_signal().map(|signal| signal | dumped);
        ExitStatus::from_raw(signal.unwrap_or(ended.exit_status().unwrap_or_default() << 8))
    }))
}

/// Its id, until it has been reaped.
fn id_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Reaps it when it has rested. If the runtime ends before, it is reaped then.
fn reap_later(mut child: Child) {
    tokio::spawn(async move {
        sleep(REST).await;
        // Its status is known.
        let _ = child.wait().await;
    });
}

/// A service manager may have the kernel spare this process when memory is short. That is not for
/// what it runs.
fn spare_no_more(child: &Child) {
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if own.starts_with('-')
        && let Some(id) = child.id()
    {
        // One that has ended needs none.
        let _ = fs::write(format!("/proc/{id}/oom_score_adj"), "0");
    }
}

/// A process group, killed when it is dropped before [`Group::release`].
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn led_by(child: &Child) -> Self {
        Self { leader: id_of(child) }
    }

    fn kill(&self) {
        if let Some(leader) = self.leader {
            // It fails only if no process is left to kill.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }

    /// The leader was reaped: another process may get its id.
    fn release(&mut self) {
        self.leader = None;
    }

    /// Ends once the leader has been dead for a while; it is not reaped.
    async fn outlived_by_its_pipes(&self) {
        let Some(leader) = self.leader else { return std::future::pending().await };
        loop {
            sleep(LINGER).await;
            match exit_status(leader) {
                Ok(None) | Err(Errno::INTR) => {}
                Ok(Some(_)) | Err(_) => return sleep(LINGER).await,
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes all of `input`. A program need not read it.
async fn feed(pipe: Option<ChildStdin>, input: &[u8]) -> Result<(), Cut> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    match pipe.write_all(input).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Cut::Pipe(error)),
        _ => Ok(()),
    }
}

async fn read_up_to(
    limit: usize,
    pipe: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
) -> Result<(), Cut> {
    let Some(pipe) = pipe else { return Ok(()) };
    // One more than allowed, to distinguish the limit from the end.
    pipe.take(limit as u64 + 1).read_to_end(into).await.map_err(Cut::Pipe)?;
    if into.len() > limit {
        into.truncate(limit);
        return Err(Cut::TooMuchOutput);
    }
    Ok(())
}

async fn read_start(
    limit: usize,
    pipe: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
) -> Result<(), Cut> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    (&mut pipe).take(limit as u64).read_to_end(into).await.map_err(Cut::Pipe)?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await.map_err(Cut::Pipe)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::unistd::geteuid;

    use super::*;

    fn shell<'a>(arguments: &'a [&'a str], stdin: &'a [u8]) -> Process<'a> {
        let shell = Path::new("/bin/sh");
        Process {
            program: shell,
            file: shell,
            arguments,
            env: &[],
            stdin,
            deadline: Duration::from_secs(10),
            max_stdout: 100,
            netns: None,
        }
    }

    #[tokio::test]
    async fn how_it_ended_is_told_as_by_the_c_library() {
        for (script, code, signal) in [
            ("exit 0", Some(0), None),
            ("exit 3", Some(3), None),
            ("exit 255", Some(255), None),
            ("kill -KILL $$", None, Some(9)),
            ("ulimit -c 0; kill -ABRT $$", None, Some(6)),
            ("kill -34 $$", None, Some(34)),
        ] {
            let arguments = ["-c", script];
            let run = shell(&arguments, b"").run().await;
            let status = run.outcome.unwrap();
            assert_eq!((status.code(), status.signal()), (code, signal), "{script}");
        }
    }

    #[tokio::test]
    async fn one_that_has_ended_is_reaped_when_its_threads_are_gone() {
        let run = shell(&["-c", "echo $$"], b"").run().await;
        assert!(run.outcome.unwrap().success());
        let stat = format!("/proc/{}/stat", String::from_utf8(run.stdout).unwrap().trim());
        let state = fs::read_to_string(&stat).unwrap();
        assert!(state.contains(") Z "), "{state}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while Path::new(&stat).exists() {
            assert!(Instant::now() < deadline, "it is not reaped");
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_is_run_is_not_spared_when_memory_is_short() {
        if !geteuid().is_root() {
            return;
        }
        let before = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        // For the whole process; no other test looks at it.
        if fs::write("/proc/self/oom_score_adj", "-5").is_err() {
            return;
        }
        // The input comes once it has been seen to.
        let arguments = ["-c", "read go; cat /proc/self/oom_score_adj"];
        let run = shell(&arguments, b"go\n").run().await;
        fs::write("/proc/self/oom_score_adj", before).unwrap();
        assert_eq!(run.stdout, b"0\n");
    }
}
